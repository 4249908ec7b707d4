"""The directory where glic_deploy keeps what it can make again: passed checks, trials, compiled models."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .files import atomic_write
from .notices import PROCESS


def directory() -> Path:
    """`glic-deploy` under GLIC_CACHE, else under XDG_CACHE_HOME, else under ~/.cache."""
    base = os.environ.get("GLIC_CACHE") or os.environ.get("XDG_CACHE_HOME")
    return Path(base) / "glic-deploy" if base else Path.home() / ".cache" / "glic-deploy"


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
    if root.exists():
        shutil.rmtree(root)
    return freed


def prune(path: Path, limit: int) -> None:
    """Delete the files under a directory that were used longest ago, until the rest has at most `limit` bytes."""
    files = sorted((file for file in path.rglob("*") if file.is_file()), key=_last_use, reverse=True)
    kept = 0
    for file in files:
        kept += _size(file)
        if kept > limit:
            file.unlink(missing_ok=True)


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
