"""The bytes of `.glic` files, from whatever holds them: buffers, paths, open files."""

from __future__ import annotations

import io
import os
from typing import IO, TypeAlias, cast

from . import container
from .errors import BitstreamError
from .files import read_bounded
from .limits import Limits

CodedFile: TypeAlias = bytes | bytearray | memoryview | str | os.PathLike[str] | IO[bytes]
"""What holds a `.glic` file. An array of numpy or another library does too, if it has the buffer protocol."""


def read_coded(source: CodedFile, limits: Limits) -> memoryview:
    """The bytes of a `.glic` file, one-dimensional; a view of `source` if that is a contiguous buffer.

    Args:
        source: a buffer, whatever its elements and strides; a path; or a binary file, which is read from where it
            stands to its end.
        limits: a path or file that holds more bytes than any file within these limits has is refused before it is in
            memory.

    Raises LimitError for that, BitstreamError for a `source` that is none of these, OSError when the file system
    refuses to read.
    """
    if isinstance(source, (str, os.PathLike)):
        return _read_path(os.fspath(source), limits)
    try:
        return container.flat(cast(container.Buffer, source))
    except (TypeError, ValueError, BufferError) as error:
        if not hasattr(source, "read") or isinstance(source, io.TextIOBase):
            remedy = "open the file with mode 'rb'" if hasattr(source, "read") else "pass one of these"
            raise BitstreamError(
                f"got a {type(source).__name__}, expected the bytes of a .glic file, its path, or an open binary file; "
                f"{remedy}"
            ) from error
    stream = cast(IO[bytes], source)
    return memoryview(read_bounded(stream, limits.max_file_bytes, str(getattr(stream, "name", "the file"))))


def _read_path(path: str, limits: Limits) -> memoryview:
    try:
        stream = open(path, "rb")  # noqa: SIM115  closed below
    except ValueError as error:  # a null character, or what cannot be encoded as a name
        raise BitstreamError(f"{path!r} cannot be the path of a file: {error}; check it") from error
    with stream:
        return memoryview(read_bounded(stream, limits.max_file_bytes, path))
