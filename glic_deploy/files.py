"""Writing files and directories so that nobody ever sees half of one."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

from .errors import LimitError

_LARGE_FILE = 64 << 20


@contextlib.contextmanager
def atomic_writer(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file that appears under `path`, whole, when the block ends, and not at all when the block raises.

    It is written beside its target under a hidden name, synced, then renamed over it; a symbolic link is followed. What
    exists and is no regular file (a pipe, a device) cannot be replaced and is written to directly. Raises OSError.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        with open(target, "wb") as stream:
            yield stream
        return
    partial = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        stream = open(partial, "xb")  # noqa: SIM115
    except OSError as error:
        error.filename = os.fspath(path)  # the user asked for this name, not for the hidden one
        raise
    try:
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def atomic_write(path: str | os.PathLike[str], data: bytes | bytearray | memoryview) -> None:
    """Write `data` to `path` as `atomic_writer` does."""
    with atomic_writer(path) as stream:
        stream.write(data)


@contextlib.contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary directory that takes the place of `path` when the block succeeds and vanishes when it does not.

    What is there already is replaced, so the caller checks first that it may be. Raises OSError.
    """
    target = Path(path).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        if target.exists():
            replaced = temporary.with_name(f"{temporary.name}.old")
            os.rename(target, replaced)
            os.rename(temporary, target)
            shutil.rmtree(replaced)
        else:
            os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _InMemory(io.BytesIO):
    """A file's bytes, which still know where they come from."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def open_ahead(path: str) -> BinaryIO:
    """A file to read, already in memory unless it is large: so that who reads it later does not wait for the disk."""
    stream = open(path, "rb")  # noqa: SIM115  closed by who reads it
    if _size(stream) > _LARGE_FILE:
        return stream
    with stream:
        return _InMemory(stream.read(), path)


def read_bounded(stream: IO[bytes], max_bytes: int, name: str) -> bytes:
    """All of a `.glic` file or pipe; LimitError, before it is in memory, when it has more than `max_bytes`."""
    data = stream.read(max_bytes + 1) if _size(stream) <= max_bytes else None
    if data is None or len(data) > max_bytes:
        raise LimitError(
            f"{name}: more than {max_bytes:,} bytes, which no .glic file within the limits has; "
            "raise --max-pixels, Limits(max_pixels=...), if it really is one"
        )
    return data


def _size(stream: IO[bytes]) -> int:
    """Bytes that the file is known to have; 0 for a pipe."""
    try:
        return os.fstat(stream.fileno()).st_size
    except OSError:  # io.UnsupportedOperation too: no file of the system
        return 0
