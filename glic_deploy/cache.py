"""The cache directory of glic_deploy, with reproducible results: passed checks, trials, plans, compiled models."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import stat
import tempfile
from pathlib import Path

from .files import atomic_write
from .notices import PROCESS


def directory() -> Path:
    """Return the cache directory: `glic-deploy` under GLIC_CACHE, else under XDG_CACHE_HOME, else under ~/.cache.

    The directory is created if possible, readable by its owner alone. If the path belongs to another user, who could
    have written anything into it, or is not a directory, then a warning is logged and a temporary directory is used
    until the process ends. Raises nothing.
    """
    root = _place()
    with contextlib.suppress(OSError):
        root.parent.mkdir(parents=True, exist_ok=True)
        root.mkdir(mode=0o700, exist_ok=True)
    fault = _fault(root)
    return root if fault is None else Path(_instead_of(str(root), fault))


def fetch(name: str) -> bytes | None:
    """Return the data stored under a name such as `precision/0a1b`; None if there is none or reading fails."""
    try:
        return (directory() / name).read_bytes()
    except OSError:
        return None


def store(name: str, data: bytes, *, limit: int | None = None) -> None:
    """Store `data` under a name. If writing fails, a notice is logged.

    limit: the most bytes of all files in the same folder; the least recently used files are deleted.
    """
    path = directory() / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
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
    """Delete all entries of the cache. Returns the number of freed bytes. Raises OSError if deleting fails."""
    root = directory()
    freed = size(root)
    for entry in root.iterdir() if root.exists() else ():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
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
    if base:
        return Path(base) / "glic-deploy"
    try:
        return Path.home() / ".cache" / "glic-deploy"
    except RuntimeError:  # the user has no home directory
        return Path(tempfile.gettempdir()) / f"glic-deploy-{os.getuid()}"


def _fault(root: Path) -> str | None:
    """Return why a directory must not be used; None if it may be used or does not exist.

    A directory of this user is made private. If a missing directory cannot be created, nothing is cached.
    """
    try:
        status = root.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"cannot be looked at ({error.strerror})"
    if not stat.S_ISDIR(status.st_mode):
        return "is no directory"
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        return f"belongs to the user with the number {status.st_uid}, not to this one"
    if status.st_mode & 0o077:
        with contextlib.suppress(OSError):
            root.chmod(0o700)
    return None


@functools.cache
def _instead_of(root: str, fault: str) -> str:
    """Return a temporary directory for this process, and add a notice about it."""
    PROCESS.add(
        f"the cache {root} {fault} and is not used: checks and compiled models are made again at each start; delete "
        "it, or set GLIC_CACHE to a directory of yours"
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
