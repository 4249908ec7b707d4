"""The directory where glic_deploy keeps what it can make again: passed checks, trials, compiled models."""

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
    """`glic-deploy` under GLIC_CACHE, else under XDG_CACHE_HOME, else under ~/.cache: the user's own, and private.

    The directory is made where that is possible, for its owner alone. One of another user, who could have put anything
    into it, and what is no directory at all, are not used: a warning is logged, and a temporary directory takes their
    place until the process ends. Raises nothing.
    """
    root = _place()
    with contextlib.suppress(OSError):
        root.parent.mkdir(parents=True, exist_ok=True)
        root.mkdir(mode=0o700, exist_ok=True)
    fault = _fault(root)
    return root if fault is None else Path(_instead_of(str(root), fault))


def fetch(name: str) -> bytes | None:
    """What was stored under a name such as `precision/0a1b`; None where nothing was, or it cannot be read."""
    try:
        return (directory() / name).read_bytes()
    except OSError:
        return None


def store(name: str, data: bytes, *, limit: int | None = None) -> None:
    """Keep `data` under a name. Where that fails, a notice says so, and `data` will have to be made again.

    limit: bytes that the files in its folder may take; those that were used longest ago are deleted first.
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
    """Say that the cache cannot be written."""
    PROCESS.add(
        f"the cache {directory()} cannot be written ({error.strerror}), so checks and compilations are repeated at "
        "every start; set GLIC_CACHE to a folder that can be written"
    )


def size(path: Path) -> int:
    """Bytes of the files under a directory; 0 where there is none."""
    return sum(_size(file) for file in path.rglob("*") if file.is_file())


def clear() -> int:
    """Delete the whole cache. Returns the bytes that it had. Raises OSError where that is not allowed."""
    root = directory()
    freed = size(root)
    for entry in root.iterdir() if root.exists() else ():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    return freed


def prune(path: Path, limit: int) -> None:
    """Delete the files under a directory that were used longest ago, until the rest has at most `limit` bytes.

    What cannot be deleted stays.
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
    except RuntimeError:  # a user without a home
        return Path(tempfile.gettempdir()) / f"glic-deploy-{os.getuid()}"


def _fault(root: Path) -> str | None:
    """Why a directory is not to be used; None for one that is ours, which is made private, and for one that is absent.

    Where nothing can be made, users of the cache do without.
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
    """A temporary directory for this process, told about once."""
    PROCESS.add(
        f"the cache {root} {fault} and is not used: checks and compiled models are made again at each start; delete "
        "it, or set GLIC_CACHE to a directory of yours"
    )
    try:
        temporary = tempfile.mkdtemp(prefix="glic-cache-")
    except OSError:
        return os.path.join(os.devnull, "cache")  # where nothing is and nothing can be made
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return temporary


def _size(file: Path) -> int:
    try:
        return file.lstat().st_size
    except OSError:  # another process deleted it meanwhile
        return 0


def _last_use(file: Path) -> float:
    try:
        status = file.stat()
    except OSError:
        return 0.0
    return max(status.st_atime, status.st_mtime)
