"""Read files within limits, and write files and directories atomically."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

from .errors import LimitError
from .limits import DEFAULT_LIMITS

try:
    import fcntl
except ImportError:  # On Windows temporary files are not locked, and sweep() keeps them.
    fcntl = None  # type: ignore[assignment]

_BLOCK = 1 << 20
_LARGE_FILE = 64 << 20

# A file name has at most 255 bytes, on encrypted file systems 143. The affixes of the hidden name take 20.
_NAME_BYTES = 100
_TEMPORARY = re.compile(r"\..*\.glic-[0-9a-f]{8}\.part", re.DOTALL)


_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux's renameat2; macOS has the same number for renamex_np

# Writing


class _Unfinished:
    """Record the temporary files and directories that this process is writing, to remove them if the program ends."""

    def __init__(self) -> None:
        self._paths: set[Path] = set()
        self._lock = threading.Lock()
        self._ended = False

    @contextlib.contextmanager
    def removed(self, path: Path) -> Iterator[None]:
        """Remove `path` if the block raises. Raises InterruptedError after `end` was called."""
        with self._lock:
            if self._ended:
                _remove(path)
                raise InterruptedError(f"{path} is not written, the program is ending")
            self._paths.add(path)
        try:
            yield
        except BaseException:
            _remove(path)
            raise
        finally:
            with self._lock:
                self._paths.discard(path)

    def end(self) -> None:
        with self._lock:
            self._ended = True
            for path in self._paths:
                _remove(path)


_unfinished = _Unfinished()


def abandon() -> None:
    """Remove unfinished files and refuse to write more, for a program that ends while threads are writing."""
    _unfinished.end()


@contextlib.contextmanager
def atomic_writer(path: str | os.PathLike[str], *, replace: bool = True) -> Iterator[BinaryIO]:
    """Open a binary file that appears under `path` as a whole when the block ends, and not at all if it raises.

    The file is written beside its target under a hidden name, synced, then renamed over the target. Symbolic links are
    followed. A target that is not a regular file (a pipe, a device) cannot be replaced and is written directly.

    replace: False raises FileExistsError if a file that is not empty has appeared under `path` in the meantime.

    Raises OSError.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        with open(target, "wb") as special:
            yield special
        return
    try:
        partial, stream = _create_beside(target)
    except OSError as error:
        error.filename = os.fspath(path)  # the name that the user knows, not the hidden one
        raise
    with _unfinished.removed(partial), stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
        if not replace and target.exists() and target.stat().st_size:
            raise FileExistsError(errno.EEXIST, "exists already and is not replaced", os.fspath(path))
        if fcntl is None:
            stream.close()  # Windows renames no open file
        os.replace(partial, target)  # before closing, which releases the lock


def atomic_write(path: str | os.PathLike[str], data: bytes | bytearray | memoryview) -> None:
    """Write `data` to `path` as `atomic_writer` does."""
    with atomic_writer(path) as stream:
        stream.write(data)


@contextlib.contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Create a temporary directory that replaces `path` if the block succeeds and is deleted if it raises.

    An existing directory is replaced: the caller must check first that this is allowed. Temporary directories that dead
    writers left beside `path` are deleted. Raises OSError.
    """
    target = Path(path).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{_shortened(target.name)}.glic-"
    for left in target.parent.iterdir():
        if left.name.startswith(prefix) and _TEMPORARY.fullmatch(left.name) and left.is_dir():
            _delete_abandoned(left)
    # The lock is on a directory around the new one, so that the caller may lock the new directory for other reasons.
    holder = target.with_name(f"{prefix}{secrets.token_hex(4)}.part")
    holder.mkdir(mode=0o700)
    with _locked_directory(holder), _unfinished.removed(holder):
        temporary = holder / target.name
        temporary.mkdir()
        yield temporary
        _put_in_place(temporary, target)
        shutil.rmtree(holder, ignore_errors=True)


def _put_in_place(new: Path, target: Path) -> None:
    """Rename a directory over another one, in one step if the system can exchange the two."""
    if not target.exists():
        os.rename(new, target)
    elif not _exchange(new, target):
        replaced = new.parent.with_name(f"{new.parent.name}.old")
        os.rename(target, replaced)
        try:
            os.rename(new, target)
        except BaseException:
            os.rename(replaced, target)
            raise
        shutil.rmtree(replaced)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step. Returns False if the system or the file system cannot do this."""
    names = os.fsencode(one), os.fsencode(other)
    try:
        system = ctypes.CDLL(None)
        if sys.platform == "darwin":
            return bool(system.renamex_np(*names, _RENAME_EXCHANGE) == 0)
        return bool(system.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)
    except (OSError, AttributeError, TypeError):  # TypeError: Windows has no library of the process
        return False


@contextlib.contextmanager
def _locked_directory(directory: Path) -> Iterator[bool]:
    """Lock a directory during the block. Yields False if another process holds the lock or there are no locks."""
    if fcntl is None:
        yield False
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield lock(descriptor, where_unsupported=False)
    finally:
        os.close(descriptor)


def _delete_abandoned(directory: Path) -> None:
    """Delete a temporary directory whose writer died."""
    with contextlib.suppress(OSError), _locked_directory(directory) as alone:
        if alone:
            shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def temporary_directory(prefix: str) -> Iterator[Path]:
    """Create a directory for the block; it is removed at the end of the block, or when `abandon` is called."""
    directory = Path(tempfile.mkdtemp(prefix=prefix))
    with _unfinished.removed(directory):
        yield directory
        _remove(directory)


def sweep(folder: str | os.PathLike[str]) -> int:
    """Delete the temporary files in `folder` whose writers died. Returns their number.

    A writer holds a lock on its temporary file, and the system releases the lock when the writer ends. Files that
    cannot be examined are kept.
    """
    swept = 0
    try:
        entries = os.scandir(folder)
        names = [entry.name for entry in entries if _TEMPORARY.fullmatch(entry.name) and entry.is_file()]
    except OSError:
        return 0
    for name in names:
        path = Path(folder, name)
        with contextlib.suppress(OSError), open(path, "rb") as stream:
            if lock(stream, where_unsupported=False):
                path.unlink()
                swept += 1
    return swept


def _create_beside(target: Path) -> tuple[Path, BinaryIO]:
    """Create a file in the target's folder under a hidden name, and lock it."""
    while True:
        partial = target.with_name(f".{_shortened(target.name)}.glic-{secrets.token_hex(4)}.part")
        stream = open(partial, "xb")  # noqa: SIM115  closed by the writer
        if lock(stream, where_unsupported=True) and os.fstat(stream.fileno()).st_nlink:
            return partial, stream
        stream.close()  # another process deleted the file before it was locked


def lock(stream: BinaryIO | int, *, where_unsupported: bool) -> bool:
    """Lock a file until it is closed.

    Returns False if another process holds the lock, `where_unsupported` if there are no locks.
    """
    if fcntl is None:
        return where_unsupported
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return where_unsupported
    return True


def _shortened(name: str) -> str:
    """Return the start of a file name, at most _NAME_BYTES bytes."""
    return os.fsencode(name)[:_NAME_BYTES].decode(errors="ignore")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


# Reading


def read_bounded(stream: IO[bytes], max_bytes: int, name: str) -> bytes:
    """Read a whole `.glic` file or pipe. Raises LimitError, before reading all, if it has more than `max_bytes`.

    A regular file is read according to its size, everything else in blocks, so that memory is proportional to the data.
    """
    size = regular_size(stream)
    data = read_up_to(stream, max_bytes + 1) if size is None or size <= max_bytes else None
    if data is None or len(data) > max_bytes:
        raise too_large_for_glic(name, max_bytes)
    return data


def too_large_for_glic(name: str, max_bytes: int) -> LimitError:
    """Return the error for a `.glic` file of more than `max_bytes`."""
    return LimitError(
        f"{name}: more than {max_bytes:,} bytes, which no .glic file within the limits has; "
        "raise --max-pixels, Limits(max_pixels=...), if it really is one"
    )


def read_up_to(stream: IO[bytes], most: int) -> bytes:
    """Read the rest of a stream, at most `most` bytes. The memory is proportional to the data."""
    data = io.BytesIO(stream.read(min(most, regular_size(stream) or 0)))
    data.seek(0, io.SEEK_END)
    while data.tell() < most and (block := stream.read(min(_BLOCK, most - data.tell()))):
        data.write(block)
    return data.getvalue()


def open_ahead(path: str | os.PathLike[str], max_bytes: int = DEFAULT_LIMITS.max_image_bytes) -> BinaryIO:
    """Open a file and preload it unless it is large, so that later reads do not block on the disk.

    Pipes and devices are read on demand, at most `max_bytes` (see `seekable`). Raises OSError, and LimitError for a
    larger file.
    """
    stream = open(path, "rb")  # noqa: SIM115  closed by the reader
    try:
        size = regular_size(stream)
        if size is None or size > max_bytes:
            return seekable(stream, max_bytes)
        if size > _LARGE_FILE:
            return stream
        with stream:
            return _InMemory(stream.read(size), os.fspath(path))
    except BaseException:
        stream.close()
        raise


def seekable(stream: IO[bytes], max_bytes: int) -> BinaryIO:
    """Return `stream` itself if it can seek, else a seekable wrapper of it.

    The wrapper keeps the data that was read, reads on demand only, and raises LimitError beyond `max_bytes`. For a
    larger regular file, this call raises LimitError.
    """
    size = regular_size(stream)
    if size is not None and size > max_bytes:
        raise _too_large(max_bytes)
    if size is not None or (_descriptor(stream) is None and _can_seek(stream)):
        return cast(BinaryIO, stream)
    return cast(BinaryIO, _Kept(stream, max_bytes))


def regular_size(stream: IO[bytes]) -> int | None:
    """Return the bytes from the current position of a regular file to its end; None for other streams."""
    descriptor = _descriptor(stream)
    if descriptor is None:
        return None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        return None
    return max(0, status.st_size - stream.tell())


class _InMemory(io.BytesIO):
    """Hold the bytes of a file, with the file's name."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


class _Kept(io.BufferedIOBase):
    """Make a stream seekable by keeping the data that was read, at most `max_bytes`."""

    def __init__(self, stream: IO[bytes], max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._kept = io.BytesIO()
        self._size = 0
        self.name = getattr(stream, "name", "the stream")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._kept.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            self._read_up_to(None)
        return self._kept.seek(offset, whence)

    def read(self, size: int | None = -1) -> bytes:
        self._read_up_to(None if size is None or size < 0 else self._kept.tell() + size)
        return self._kept.read(size)

    def read1(self, size: int = -1) -> bytes:
        return self.read(size)

    def close(self) -> None:
        self._stream.close()
        super().close()

    def _read_up_to(self, end: int | None) -> None:
        """Read and keep the stream up to the position `end`; None: to its end."""
        position = self._kept.seek(0, io.SEEK_CUR)
        self._kept.seek(self._size)
        while end is None or self._size < end:
            block = self._stream.read(_BLOCK if end is None else min(_BLOCK, end - self._size))
            if not block:
                break
            if self._size + len(block) > self._max_bytes:
                raise _too_large(self._max_bytes)
            self._size += self._kept.write(block)
        self._kept.seek(position)


def _too_large(max_bytes: int) -> LimitError:
    return LimitError(
        f"more than {max_bytes:,} bytes, which an image file within the limits is not expected to have; raise "
        "--max-pixels, Limits(max_pixels=...), if it really is one"
    )


def _descriptor(stream: IO[bytes]) -> int | None:
    try:
        return stream.fileno()
    except (AttributeError, OSError, ValueError):  # not a file of the operating system
        return None


def _can_seek(stream: IO[bytes]) -> bool:
    try:
        return stream.seekable()
    except (AttributeError, ValueError):
        return False
