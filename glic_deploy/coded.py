"""Read the bytes of `.glic` files from buffers, paths and open files."""

from __future__ import annotations

import io
import os
from typing import IO, TypeAlias, cast

from . import container
from .arguments import path_text
from .errors import BitstreamError, LimitError
from .files import read_bounded, too_large_for_glic
from .limits import Limits

CodedFile: TypeAlias = bytes | bytearray | memoryview | str | os.PathLike[str] | IO[bytes]
"""A source of a `.glic` file. Arrays with the buffer protocol, of numpy or another library, are accepted too."""


def read_coded(source: CodedFile, limits: Limits) -> memoryview:
    """Return the bytes of a `.glic` file, one-dimensional; a view of `source` if it is a contiguous buffer.

    Args:
        source: a buffer with any elements and strides; a path; or a binary file, which is read from its current
            position to its end.
        limits: a source that is larger than any file within these limits is refused before it is read or copied.

    Raises LimitError if the file is too large, BitstreamError for another type of `source`, OSError if reading fails.
    """
    if isinstance(source, (str, os.PathLike)):
        return _read_path(path_text("the path of the file", source, "a text that is not empty", BitstreamError), limits)
    try:
        view = memoryview(cast(container.Buffer, source))
        if view.nbytes > limits.max_file_bytes:  # a view with strides may have few bytes in memory, but is copied below
            raise too_large_for_glic("the data", limits.max_file_bytes)
        return container.flat(view)
    except LimitError:
        raise
    except (TypeError, ValueError, BufferError) as error:
        if not hasattr(source, "read") or isinstance(source, io.TextIOBase):
            raise _not_coded(source) from error
    stream = cast(IO[bytes], source)
    try:
        return memoryview(read_bounded(stream, limits.max_file_bytes, str(getattr(stream, "name", "the file"))))
    except TypeError as error:  # the stream returns text
        raise _not_coded(source) from error


def _not_coded(source: object) -> BitstreamError:
    remedy = "open the file with mode 'rb'" if hasattr(source, "read") else "pass one of these"
    return BitstreamError(
        f"got a {type(source).__name__}, expected the bytes of a .glic file, its path, or an open binary file; {remedy}"
    )


def _read_path(path: str, limits: Limits) -> memoryview:
    try:
        stream = open(path, "rb")  # noqa: SIM115  closed below
    except ValueError as error:  # a null character, or a character that cannot be encoded
        raise BitstreamError(f"{path!r} cannot be the path of a file: {error}; check it") from error
    with stream:
        return memoryview(read_bounded(stream, limits.max_file_bytes, path))
