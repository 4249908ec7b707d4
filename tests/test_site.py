"""`make docs`: the site builds without a warning, its links hold, and its pages load nothing from outside."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from .conftest import ROOT

pytestmark = pytest.mark.slow

LOADING = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "srcset")}


class Page(HTMLParser):
    """The links, the loaded resources and the anchors of one page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.anchors: set[str] = {""}
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            elif (tag, name) in LOADING and value:
                self.loaded.add(value)
            elif (tag, name) == ("a", "href") and value:
                self.links.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocstrings", reason="needs MkDocs: pip install 'glic-deploy[docs]'")
    pytest.importorskip("material", reason="needs MkDocs' theme: pip install 'glic-deploy[docs]'")
    path = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run([sys.executable, ROOT / "docs" / "build.py", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}


def test_every_page_is_there(pages: dict[Path, Page], site: Path) -> None:
    named = {str(path.relative_to(site)) for path in pages}
    assert {"index.html", "docs/index.html", "docs/architecture.html", "CONTRIBUTING.html"} <= named
    assert {f"docs/{path.stem}.html" for path in (ROOT / "docs").glob("*.md")} - {"docs/README.html"} <= named
    reference = (site / "api" / "glic_deploy.html").read_text()
    for name in ("Codec.encode", "Codec.decode", "Limits", "BitstreamError"):
        assert f'id="glic_deploy.{name}"' in reference


def test_links_hold(pages: dict[Path, Page]) -> None:
    for page in pages.values():
        for link in page.links | page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
            assert target.exists(), f"{page.path.name} links to {link}"
            if target in pages and parts.fragment:
                assert unquote(parts.fragment) in pages[target].anchors, f"{page.path.name} links to {link}"


def test_nothing_is_loaded_from_outside(pages: dict[Path, Page], site: Path) -> None:
    for page in pages.values():
        assert not [link for link in page.loaded if urlsplit(link).netloc]
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//", sheet.read_text())
