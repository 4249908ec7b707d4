"""The commands and programs in the documentation run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from glic_deploy.image import load_image
from glic_deploy.saving import save_image

from .conftest import PHOTOS, ROOT, SAMPLE_CHECKPOINT
from .pages import Block, blocks, pages, runnable
from .test_qualities import add_bundle

COMPRESSAI = ROOT / ".venv-compressai" / "bin" / "python"
"""The interpreter that has CompressAI, of `make compressai-env`."""

# What a page needs beyond the packages that every test has: the module, and what to type.
NEEDS = {
    "docs/compressai.md": ("torch", "needs torch, of the export extra"),
    "docs/distributed.md": ("ray", "needs Ray: pip install 'glic-deploy[ray]'"),
    "docs/openvino.md": ("openvino", "needs OpenVINO: pip install 'glic-deploy[openvino]'"),
    "docs/pillow.md": ("torch", "needs torch, of the export extra"),
}
# tests/test_uses.py types the first two blocks of README.md in an empty folder.
TESTED_ELSEWHERE = {("README.md", 1), ("README.md", 2)}

BLOCKS = [block for page in pages() for block in runnable(page) if (page, block.number) not in TESTED_ELSEWHERE]


def pages_with(*marks: str) -> list[str]:
    """The pages that have a block with one of these marks; "" is none."""
    return list(dict.fromkeys(block.page for block in BLOCKS if block.mark in marks))


@pytest.fixture
def workplace(tmp_path: Path, engine: Path) -> Path:
    """A folder with photos/, engine/, engines/ and glic.pth, and the `glic` and `python` commands of this checkout."""
    photo = load_image(PHOTOS / "kodim23.png")
    (tmp_path / "photos").mkdir()
    for number, name in enumerate("ab"):
        save_image(photo[:96, 100 * number :][:, :128], tmp_path / "photos" / f"{name}.png")
    (tmp_path / "engine").symlink_to(engine)
    engines = engine.parent / f"engines of {tmp_path.name}"
    for number, name in enumerate(("0.0018", "0.0130"), 1):
        add_bundle(engine, engines / name, number)
    (tmp_path / "engines").symlink_to(engines)
    (tmp_path / "glic.pth").symlink_to(SAMPLE_CHECKPOINT)
    (tmp_path / "bin").mkdir()
    for name, arguments in (("glic", "-m glic_deploy"), ("python", "")):
        command = tmp_path / "bin" / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        command.chmod(0o755)
    return tmp_path


def run_blocks(page: str, marks: tuple[str, ...], workplace: Path) -> None:
    """Run the blocks of a page with these marks, in order, in one folder. `make` is asked what it would do."""
    if page in NEEDS:
        pytest.importorskip(NEEDS[page][0], reason=NEEDS[page][1])
    environment = {
        **os.environ,
        "PATH": f"{workplace / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
        "MAKEFLAGS": "",
    }
    for block in BLOCKS:
        if block.page != page or block.mark not in marks:
            continue
        body = block.body
        if block.language == "console":
            body = re.sub(r"^make ", f"make -n -C '{ROOT}' ", body, flags=re.MULTILINE)
        command = ["bash", "-euc", body] if block.language == "console" else [sys.executable, "-c", body]
        done = subprocess.run(command, cwd=workplace, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{page}, block {block.number}:\n{body}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", pages_with(""))
def test_page(page: str, workplace: Path) -> None:
    run_blocks(page, ("",), workplace)


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("slow"))
def test_page_with_its_slow_blocks(page: str, workplace: Path) -> None:
    run_blocks(page, ("", "slow"), workplace)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.mark == "not run"], ids=lambda b: b.page)
def test_block_that_is_not_run(block: Block) -> None:
    pytest.skip(f"{block.page}, block {block.number}: {block.reason}")


@pytest.mark.slow
def test_blocks_for_compressai(workplace: Path) -> None:
    if not COMPRESSAI.exists():
        pytest.skip("needs CompressAI: make compressai-env")
    for path in (workplace / "photos").iterdir():  # MS-SSIM needs sides of more than 160 pixels
        save_image(load_image(PHOTOS / "kodim23.png")[:192, :256], path)
    for block in blocks("docs/compressai.md"):
        if block.language == "python compressai":
            command = [COMPRESSAI, "-c", block.body]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            done = subprocess.run(command, cwd=workplace, env=environment, capture_output=True, text=True, timeout=600)
            assert done.returncode == 0, f"{block.body}\n{done.stdout}\n{done.stderr}"
