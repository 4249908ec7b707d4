"""The commands and programs in the documentation run as they stand; its links hold; its index is complete."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import glic_deploy
from glic_deploy import bundle, container
from glic_deploy.image import load_image, save_image

from .conftest import PHOTOS, ROOT, SAMPLE_CHECKPOINT
from .pages import Block, anchors, blocks, links, pages, prose, runnable
from .test_qualities import add_bundle

# What a page needs beyond the packages that every test has: the module, and what to type.
NEEDS = {
    "docs/distributed.md": ("ray", "needs Ray: pip install 'glic-deploy[ray]'"),
    "docs/openvino.md": ("openvino", "needs OpenVINO: pip install 'glic-deploy[openvino]'"),
    "docs/pillow.md": ("torch", "needs torch, of the export extra"),
}
# tests/test_uses.py types the first two blocks of README.md in an empty folder.
TESTED_ELSEWHERE = {("README.md", 1), ("README.md", 2)}
# Pages whose commands are still in blocks without a language. A page that leaves this list stays checked.
NOT_YET_CHECKED = {"docs/cli.md", "docs/gpu.md", "docs/qualities.md"}

BLOCKS = [block for page in pages() for block in runnable(page) if (page, block.number) not in TESTED_ELSEWHERE]
COMMAND = re.compile(r"(glic|python -m|pip|make|docker|cmake|pytest) ")


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


@pytest.mark.parametrize("page", [page for page in pages() if page not in NOT_YET_CHECKED])
def test_every_command_stands_in_a_block_that_is_run(page: str) -> None:
    """No block without a language, and no indented block, holds a command."""
    plain = [line for block in blocks(page) if block.language in ("", "sh", "bash") for line in block.body.splitlines()]
    indented = [line[4:] for line in prose((ROOT / page).read_text()).splitlines() if re.match(r" {4}\S", line)]
    assert [line for line in plain + indented if COMMAND.match(line)] == []


@pytest.mark.parametrize("page", pages())
def test_modules_and_make_targets_exist(page: str) -> None:
    """What the page tells to type with `python -m` and `make` is there."""
    text = (ROOT / page).read_text()
    makefile = (ROOT / "Makefile").read_text()
    targets = set(" ".join(re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)).split())
    for module in re.findall(r"python -m ((?:export|benchmarks|glic_deploy)[\w.]*)", text):
        path = ROOT / module.rstrip(".").replace(".", "/")
        assert path.with_suffix(".py").exists() or path.is_dir(), f"{page} names the module {module}"
    for target in re.findall(r"(?:`|^\$ )make ([a-z][\w-]+)", text, re.MULTILINE):
        assert target in targets, f"{page} names the target {target}"


@pytest.mark.parametrize("page", pages())
def test_links_hold(page: str) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), f"{page} links to {link}, which does not exist"
        assert path.resolve().is_relative_to(ROOT), f"{page} links to {link}, outside the repository"
        assert not anchor or anchor in anchors(path), f"{page} links to {link}, whose heading does not exist"


def test_the_index_lists_every_page() -> None:
    listed = links("docs/README.md")
    assert len(listed) == len(set(listed)), "docs/README.md lists a page twice"
    unlisted = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"} - set(listed)
    assert not unlisted, f"docs/README.md does not list {', '.join(sorted(unlisted))}"


def test_the_versions_page_has_the_present_numbers() -> None:
    from export.ops.translation import VERSION as OPS

    rows = [
        line.split("|")[1:4] for line in (ROOT / "docs" / "versioning.md").read_text().splitlines()[:20] if "|" in line
    ]
    now = {thing.strip(): number.strip() for thing, _, number in rows}
    assert now["the package"] == glic_deploy.__version__
    assert now["the `.glic` file"] == str(container.VERSION)
    assert now["the engine bundle"] == str(bundle.FORMAT)
    assert now["the native ops"] == str(OPS)
