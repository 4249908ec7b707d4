"""The documentation pages hold together: links, index, versions, and the modules and targets that they name."""

from __future__ import annotations

import re

import pytest

import glic_deploy
from glic_deploy import bundle, container

from .conftest import ROOT
from .pages import anchors, blocks, links, pages, prose

COMMAND = re.compile(r"(glic|python -m|pip|make|docker|cmake|pytest) ")
MOST_COLUMNS = 120


@pytest.mark.parametrize("page", pages())
def test_every_command_stands_in_a_block_that_is_run(page: str) -> None:
    """No block without a language, and no indented block, holds a command."""
    plain = [line for block in blocks(page) if block.language in ("", "sh", "bash") for line in block.body.splitlines()]
    indented = [line[4:] for line in prose((ROOT / page).read_text()).splitlines() if re.match(r" {4}\S", line)]
    assert [line for line in plain + indented if COMMAND.match(line)] == []


@pytest.mark.parametrize("page", [page for page in pages() if not page.startswith("plugins_cpp/")])
def test_lines_of_prose_are_short(page: str) -> None:
    """Prose fits 120 columns. Blocks and the rows of tables may be wider."""
    lines = prose((ROOT / page).read_text()).splitlines()
    wide = [line for line in lines if len(line) > MOST_COLUMNS and not line.startswith("|")]
    assert not wide, f"{page} has lines of more than {MOST_COLUMNS} characters; wrap them: {wide}"


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
    from glic_deploy.ops import VERSION as OPS

    rows = [
        line.split("|")[1:4] for line in (ROOT / "docs" / "versioning.md").read_text().splitlines()[:20] if "|" in line
    ]
    now = {thing.strip(): number.strip() for thing, _, number in rows}
    assert now["the package"] == glic_deploy.__version__
    assert now["the `.glic` file"] == str(container.VERSION)
    assert now["the engine bundle"] == str(bundle.FORMAT)
    assert now["the native ops"] == str(OPS)
