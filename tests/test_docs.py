"""The commands and programs in the documentation run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from glic_deploy.image import load_image, save_image

from .conftest import PHOTOS, ROOT
from .test_qualities import add_bundle

RAY = "needs Ray: pip install 'glic-deploy[ray]'"
COMPRESSAI = ROOT / ".venv-compressai" / "bin" / "python"
"""The interpreter that has CompressAI, of `make compressai-env`."""


def blocks(page: str, tag: str = "") -> Iterator[tuple[str, str]]:
    """Fenced blocks of a page that are to be run: their language and what to run.

    tag: what follows the language, such as the environment that a block needs.
    """
    text = (ROOT / "docs" / f"{page}.md").read_text()
    for language, body in re.findall(rf"^```(console|python){tag}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language == "console":
            body = "\n".join(line[2:] for line in body.splitlines() if line.startswith("$ "))
        yield language, body


@pytest.fixture
def workplace(tmp_path: Path, engine: Path) -> Path:
    """A folder with photos/, engine/ and engines/, and the `glic` command of this checkout."""
    photo = load_image(PHOTOS / "kodim23.png")
    (tmp_path / "photos").mkdir()
    for number, name in enumerate("ab"):
        save_image(photo[:96, 100 * number :][:, :128], tmp_path / "photos" / f"{name}.png")
    (tmp_path / "engine").symlink_to(engine)
    engines = engine.parent / f"engines of {tmp_path.name}"
    for number, name in enumerate(("0.0018", "0.0130"), 1):
        add_bundle(engine, engines / name, number)
    (tmp_path / "engines").symlink_to(engines)
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "glic"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m glic_deploy "$@"\n')
    command.chmod(0o755)
    return tmp_path


def run_page(page: str, workplace: Path, tag: str = "", python: str | Path = sys.executable) -> None:
    environment = {
        **os.environ,
        "PATH": f"{workplace / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
    }
    for language, body in blocks(page, tag):
        command = ["bash", "-euc", body] if language == "console" else [python, "-c", body]
        done = subprocess.run(command, cwd=workplace, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, f"{body}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", ["compressai", "many", "pillow", "qualities", "tiles"])
def test_page(page: str, workplace: Path) -> None:
    if page in ("compressai", "pillow"):
        pytest.importorskip("torch", reason="needs torch, of the export extra")
    run_page(page, workplace)


@pytest.mark.slow
def test_distributed_page(workplace: Path) -> None:
    pytest.importorskip("ray", reason=RAY)
    run_page("distributed", workplace)


@pytest.mark.slow
def test_compressai_page(workplace: Path) -> None:
    if not COMPRESSAI.exists():
        pytest.skip("needs CompressAI: make compressai-env")
    for path in (workplace / "photos").iterdir():  # MS-SSIM needs sides of more than 160 pixels
        save_image(load_image(PHOTOS / "kodim23.png")[:192, :256], path)
    run_page("compressai", workplace, tag=" compressai", python=COMPRESSAI)
