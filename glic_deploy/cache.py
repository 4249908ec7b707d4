"""The cache directory of glic_deploy, with reproducible results: passed checks, trials, plans, compiled models."""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import hashlib
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from .bundle.files import open_regular, read_exactly, size_of
from .files import atomic_write
from .notices import PROCESS

FOLDERS = ("conformance", "precision", "openvino", "plans", "web")
"""The folders of the cache. An entry's name begins with one of them."""

MARKER = "CACHEDIR.TAG"
"""The file that marks the directory as this package's cache, and as a cache for backup programs."""

_MARK = (
    b"Signature: 8a477f597d28d172789f06886806bc55\n"
    b"# This directory is the cache of glic-deploy. To delete its entries, run: glic doctor --clear-cache\n"
)
_LARGEST = 1 << 30  # bytes of an entry
_DIGEST = hashlib.sha256().digest_size


def directory() -> Path:
    """Return the cache directory: `glic-deploy` under GLIC_CACHE, else XDG_CACHE_HOME, else the user's caches.

    These are ~/.cache on Linux, ~/Library/Caches on macOS and LOCALAPPDATA on Windows.

    The directory is created if possible, with a marker file, readable by its owner alone. If the path belongs to
    another user, who could have written anything into it, or is not a directory, or contains files but no marker, then
    a warning is logged and a temporary directory is used until the process ends. Raises nothing.
    """
    root = _place()
    with contextlib.suppress(OSError):
        root.parent.mkdir(parents=True, exist_ok=True)
        root.mkdir(mode=0o700, exist_ok=True)
    fault = _fault(root)
    return root if fault is None else Path(_instead_of(str(root), fault))


def fetch(name: str) -> bytes | None:
    """Return the data stored under a name such as `precision/0a1b`.

    Returns None if there is none, if reading fails, and for anything but a regular file of at most 1 GiB.
    """
    try:
        return _read(directory() / name, _LARGEST)
    except OSError:
        return None


def holds(name: str) -> bool:
    """Return whether there is an entry of this name. Its data may be damaged: see `unsealed`."""
    try:
        return stat.S_ISREG((directory() / name).lstat().st_mode)
    except OSError:
        return False


def sealed(data: bytes) -> bytes:
    """Return `data` with its SHA-256 in front, for `store`."""
    return hashlib.sha256(data).digest() + data


def unsealed(stored: bytes | None) -> memoryview | None:
    """Return the data of a `sealed` entry without a copy; None if there is none or its digest is wrong."""
    view = memoryview(stored or b"")
    digest, data = view[:_DIGEST], view[_DIGEST:]
    return data if hashlib.sha256(data).digest() == digest else None


def store(name: str, data: bytes, *, limit: int | None = None) -> None:
    """Store `data` under a name. If writing fails, a notice is logged.

    limit: the most bytes of all files in the same folder; the least recently used files are deleted.
    """
    path = directory() / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _delete_irregular(path)
        atomic_write(path, data)
        if limit is not None:
            prune(path.parent, limit)
    except OSError as error:
        warn_unwritable(error)


def warn_unwritable(error: OSError) -> None:
    """Add a notice that the cache cannot be written."""
    PROCESS.add(
        f"the cache {directory()} cannot be written ({error.strerror}), so checks and compilations are repeated at "
        "every start; set GLIC_CACHE to a folder that can be written"
    )


def size(path: Path) -> int:
    """Return the bytes of all files under a directory; 0 if the directory does not exist."""
    return sum(_size(file) for file in path.rglob("*") if file.is_file())


def clear() -> int:
    """Delete all entries of the cache. Returns the number of freed bytes. Raises OSError if deleting fails.

    Nothing is deleted but the folders of this package. The marker remains: otherwise a process that stores an entry at
    the same time would leave a directory that no process uses.
    """
    freed = 0
    for path in (directory() / name for name in FOLDERS):
        if path.is_dir() and not path.is_symlink():
            freed += size(path)
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return freed


def prune(path: Path, limit: int) -> None:
    """Delete the least recently used files under a directory until the others have at most `limit` bytes.

    Files that cannot be deleted are kept.
    """
    files = sorted((file for file in path.rglob("*") if file.is_file()), key=_last_use, reverse=True)
    kept = 0
    for file in files:
        kept += _size(file)
        if kept > limit:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)


def _place() -> Path:
    base = os.environ.get("GLIC_CACHE") or os.environ.get("XDG_CACHE_HOME")
    if not base and sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    if base:
        return Path(base) / "glic-deploy"
    try:
        return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "glic-deploy"
    except RuntimeError:  # the user has no home directory
        user = os.getuid() if hasattr(os, "getuid") else "cache"  # the temporary folder of Windows is the user's own
        return Path(tempfile.gettempdir()) / f"glic-deploy-{user}"


def _fault(root: Path) -> str | None:
    """Return why a directory must not be used; None if it may be used or does not exist.

    A cache of this user is made private. If a missing directory cannot be created, nothing is cached.
    """
    try:
        status = root.lstat()
        if stat.S_ISLNK(status.st_mode):
            return "is a symbolic link"
        if not stat.S_ISDIR(status.st_mode):
            return "is no directory"
        if hasattr(os, "getuid") and status.st_uid != os.getuid():
            return f"belongs to the user with the number {status.st_uid}, not to this one"
        if not _is_cache(root):
            return f"contains files but not the {MARKER} of a cache of glic-deploy"
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"cannot be opened as a cache ({error.strerror})"
    if status.st_mode & 0o077:
        with contextlib.suppress(OSError):
            root.chmod(0o700)
    return None


def _is_cache(root: Path) -> bool:
    """Return whether a directory is a cache of this package. An empty directory becomes one. Raises OSError.

    The names are listed before the marker is read, because every process writes the marker before any entry.
    """
    entries = set(os.listdir(root)) - {MARKER}
    try:
        mark = _read(root / MARKER, len(_MARK))
    except FileNotFoundError:
        mark = b""
    if mark == _MARK:
        return True
    if entries or not _MARK.startswith(mark):
        return False
    _write_mark(root / MARKER)
    return True


def _write_mark(path: Path) -> None:
    """Write the marker in place: a temporary file in the directory would look like a foreign one to other processes."""
    safe = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"))  # what the system has of these
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | safe, 0o600)
    try:
        os.write(descriptor, _MARK)
    finally:
        os.close(descriptor)


def _delete_irregular(path: Path) -> None:
    """Delete a link, a pipe or a device: `atomic_write` would write through it, or wait for a reader of the pipe."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            path.unlink()


def _read(path: Path, most: int) -> bytes:
    """Return the bytes of a regular file. Raises OSError, without blocking, for others and for more than `most`."""
    with open_regular(path) as stream:
        size = size_of(stream)
        if size > most:
            raise OSError(errno.EFBIG, f"it has more than {most:,} bytes")
        return read_exactly(stream, size)


@functools.cache
def _instead_of(root: str, fault: str) -> str:
    """Return a temporary directory for this process, and add a notice about it."""
    PROCESS.add(
        f"the cache {root} {fault} and is not used: checks and compiled models are made again at each start; move "
        "or delete it, or set GLIC_CACHE to another directory of yours"
    )
    try:
        temporary = tempfile.mkdtemp(prefix="glic-cache-")
    except OSError:
        return os.path.join(os.devnull, "cache")  # a path where nothing can exist
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return temporary


def _size(file: Path) -> int:
    try:
        return file.lstat().st_size
    except OSError:  # another process deleted the file
        return 0


def _last_use(file: Path) -> float:
    try:
        status = file.stat()
    except OSError:
        return 0.0
    return max(status.st_atime, status.st_mtime)
