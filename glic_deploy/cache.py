"""The directory where glic_deploy keeps what it can make again: passed checks, trials, compiled models."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def directory() -> Path:
    """`glic-deploy` under GLIC_CACHE, else under XDG_CACHE_HOME, else under ~/.cache."""
    base = os.environ.get("GLIC_CACHE") or os.environ.get("XDG_CACHE_HOME")
    return Path(base) / "glic-deploy" if base else Path.home() / ".cache" / "glic-deploy"


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
