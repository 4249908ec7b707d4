"""Pages of mapped files that leave memory: they are read again where they are needed."""

from __future__ import annotations

import mmap
import re
import sys
from pathlib import Path

import pytest

from glic_deploy.backends.mapped_files import forget_pages

SIZE = 8 << 20


def file_pages() -> int:
    """The bytes of mapped files in this process's memory."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.findall(r"RssFile:\s+(\d+)", status)[0])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="pages are taken out of memory on Linux alone")
def test_pages_leave_memory_and_come_back(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in side", tmp_path / "in side 2"
    maps = []
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "weights.bin").write_bytes(bytes(range(256)) * (SIZE // 256))
        with (folder / "weights.bin").open("rb") as file:
            maps.append(mmap.mmap(file.fileno(), SIZE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ))
    before = [bytes(mapped) for mapped in maps]
    held = file_pages()
    forget_pages(inside)
    assert held - SIZE - (1 << 20) < file_pages() < held - SIZE + (1 << 20)  # those of the one folder
    assert [bytes(mapped) for mapped in maps] == before
    for mapped in maps:
        mapped.close()
