"""Opens and reads regular files of a bundle only, because a pipe or a device could block or never end."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_BLOCK = 1 << 20
# Windows has only the last of these, which keeps line ends as they are.
_READ = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; symbolic links are followed. Raises OSError, without blocking, for others."""
    _require_regular(os.stat(path))  # opening a device may have side effects
    descriptor = os.open(path, _READ)
    try:
        _require_regular(os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def size_of(stream: BinaryIO) -> int:
    """Return the number of bytes of an open file."""
    return os.fstat(stream.fileno()).st_size


def read_exactly(stream: BinaryIO, size: int) -> bytes:
    """Return the next `size` bytes. Raises OSError if the file is shorter."""
    data = stream.read(size) or b""
    if len(data) != size:
        raise OSError(errno.EIO, f"it ended after {len(data):,} of {size:,} bytes")
    return data


def digest_of(stream: BinaryIO, size: int) -> str:
    """Return the SHA-256 of the next `size` bytes. Raises OSError if the file is shorter."""
    digest = hashlib.sha256()
    for count in _blocks(size):
        digest.update(read_exactly(stream, count))
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a regular file, as 64 hexadecimal digits. Raises OSError."""
    with open_regular(path) as stream:
        return digest_of(stream, size_of(stream))


def _blocks(size: int) -> Iterator[int]:
    for start in range(0, size, _BLOCK):
        yield min(_BLOCK, size - start)


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
