"""Builds the documentation as a site: `python docs/build.py [SITE]` writes `out/site`. Any warning is an error.

The pages are copied to a folder as they lie in the repository, so that their links hold in the site too. The order of
the navigation is that of docs/README.md. The pages of the native code follow, then the API reference: one page for each
public module, made from its docstrings.
"""

from __future__ import annotations

import logging
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("*.md", "LICENSE", "docs/**/*", "examples/*", "samples/README.md", "plugins_cpp/**/README.md")
PAGES += ("tests/data/conformance/README.md", "tests/data/releases/README.md", "glic_deploy/ops.json")  # linked to
API = (
    "glic_deploy",
    "glic_deploy.image",
    "glic_deploy.pillow",
    "glic_deploy.distributed",
    "glic_deploy.qualities",
    "glic_deploy.tiles",
    "glic_deploy.container",
    "glic_deploy.bundle",
    "glic_deploy.entropy.rans",
    "glic_deploy.entropy.passes",
    "glic_deploy.conformance",
    "glic_deploy.backends.base",
    "glic_deploy.backends.declarations",
    "export.to_onnx",
    "export.to_trt",
    "export.checkpoint",
)

Section = dict[str, Any]


def copy_pages(target: Path) -> None:
    """Copy all pages, and the files that they link to."""
    for pattern in PAGES:
        for source in ROOT.glob(pattern):
            if source.is_file() and "__pycache__" not in source.parts:
                copy = target / source.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, copy)


def write_api(target: Path) -> list[Section]:
    """Write a page for each module of `API`, which mkdocstrings fills; returns the pages' navigation."""
    (target / "api").mkdir()
    for module in API:
        (target / "api" / f"{module}.md").write_text(f"# `{module}`\n\n::: {module}\n")
    return [{module: f"api/{module}.md"} for module in API]


def guide() -> list[Section]:
    """The sections of docs/README.md, each with its links."""
    sections: list[Section] = []
    for line in (ROOT / "docs" / "README.md").read_text().splitlines():
        if line.startswith("## "):
            pages: list[Section] = []
            sections.append({line.removeprefix("## "): pages})
        elif link := re.match(r"- \[(.+?)\]\(([^)]+)\)", line):
            title, page = link.groups()
            path = (ROOT / "docs" / page).resolve().relative_to(ROOT)
            pages.append({title.replace("`", ""): str(path)})
    return sections


def main() -> int:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    site = Path(*(sys.argv[1:] or [ROOT / "out" / "site"])).resolve()
    with tempfile.TemporaryDirectory() as directory:
        pages = Path(directory)
        copy_pages(pages)
        native = [{path.parent.name: str(path.relative_to(ROOT))} for path in ROOT.glob("plugins_cpp/**/README.md")]
        nav = [
            {"glic-deploy": "README.md"},
            {"Documentation": "docs/README.md"},
            *guide(),
            {"Native code": sorted(native, key=str)},
            {"API": write_api(pages)},
        ]
        config = load_config(str(ROOT / "mkdocs.yml"), docs_dir=directory, site_dir=str(site), nav=nav, strict=True)
        config.plugins.on_startup(command="build", dirty=False)
        try:
            build(config)
        except Abort as error:
            print(f"docs/build.py: {error}; mend what the warnings name", file=sys.stderr)
            return 1
    print(site / "index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
