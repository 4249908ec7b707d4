"""Reads the bytes of `.glic` files from buffers, paths and open files."""

from __future__ import annotations

import io
import os
from typing import IO, TypeAlias, cast

from . import container
from .errors import BitstreamError
from .files import read_bounded
from .limits import Limits

CodedFile: TypeAlias = bytes | bytearray | memoryview | str | os.PathLike[str] | IO[bytes]
"""A source of a `.glic` file. Arrays with the buffer protocol, of numpy or another library, are accepted too."""


def read_coded(source: CodedFile, limits: Limits) -> memoryview:
    """Return the bytes of a `.glic` file, one-dimensional; a view of `source` if it is a contiguous buffer.

    Args:
        source: a buffer with any elements and strides; a path; or a binary file, which is read from its current
            position to its end.
        limits: paths and files that are larger than any file within these limits are refused before they are read.

    Raises LimitError if the file is too large, BitstreamError for another type of `source`, OSError if reading fails.
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
    except ValueError as error:  # a null character, or a character that cannot be encoded
        raise BitstreamError(f"{path!r} cannot be the path of a file: {error}; check it") from error
    with stream:
        return memoryview(read_bounded(stream, limits.max_file_bytes, path))
