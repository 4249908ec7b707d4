"""Take the pages of mapped files out of a process's memory, after what they hold was copied."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

_MAPS = Path("/proc/self/maps")
_MADV_DONTNEED = 4


def forget_pages(folder: Path) -> None:
    """Take the pages of private mappings of files in a folder out of memory, on Linux; elsewhere, do nothing.

    The system reads a page again if it is needed again. So the files must not have changed since they were mapped, and
    no value may have been written to the mappings: it would be lost. onnxruntime maps the weights of a graph in this
    way, and only reads them.
    """
    if not sys.platform.startswith("linux"):
        return
    start = f"{folder.resolve()}/"
    try:
        mappings = _MAPS.read_text().splitlines()
    except OSError:
        return  # without /proc the pages stay, which costs memory alone
    libc = ctypes.CDLL(None)
    for mapping in mappings:
        addresses, permissions, *_, path = mapping.split(maxsplit=5)
        if permissions.endswith("p") and path.startswith(start):
            first, last = (int(address, 16) for address in addresses.split("-"))
            libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), _MADV_DONTNEED)
