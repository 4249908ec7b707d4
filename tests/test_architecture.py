"""docs/architecture.md names only what exists, and imports point the way that it says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()
PATHS = sorted(set(re.findall(r"\b(?:glic_deploy|export|plugins_cpp|docs|tests|benchmarks)/[\w./]*\w", PAGE)))
CODE_SPANS = set(re.findall(r"`([^`\n]+)`", PAGE))

# The package or module, and what it must not import, directly and at any depth of its own code.
FORBIDDEN = {
    "glic_deploy": ("export", "torch", "benchmarks", "tests"),
    "export": ("benchmarks", "tests"),
    "glic_deploy/backends": tuple(
        f"glic_deploy.{name}" for name in ("cli", "codec", "container", "engine", "entropy", "qualities", "tiles")
    ),
    "glic_deploy/entropy": tuple(
        f"glic_deploy.{name}" for name in ("backends", "bundle", "cli", "codec", "container", "engine", "tiles")
    ),
    "glic_deploy/bundle_codec.py": tuple(f"glic_deploy.{name}" for name in ("cli", "codec", "qualities", "tiles")),
    "glic_deploy/container.py": tuple(f"glic_deploy.{name}" for name in ("backends", "bundle", "codec", "engine")),
}

PYTORCH_MODULE = ROOT / "glic_deploy" / "compressai.py"
"""The one module of the runtime that needs PyTorch, which no other module imports."""


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it, with what follows `from package import`."""
    package = list(path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", PATHS)
def test_every_path_exists(path: str) -> None:
    if re.search(r"/[A-Z]+(\.py)?$", path):
        return  # NAME stands for what is to be added
    assert (ROOT / path).exists()


def test_the_page_names_paths() -> None:
    assert len(PATHS) > 50


@pytest.mark.parametrize(
    "name", sorted(span for span in CODE_SPANS if re.fullmatch(r"[A-Z][A-Za-z_]+|[a-z_]{4,}", span))
)
def test_every_name_is_in_the_code(name: str) -> None:
    """Classes, functions, tables and graphs that the page names stand in a source file."""
    word = re.compile(rf"\b{name}\b")
    sources = (path for folder in ("glic_deploy", "export") for path in (ROOT / folder).rglob("*.py"))
    assert any(word.search(path.read_text()) for path in sources)


@pytest.mark.parametrize("part", FORBIDDEN)
def test_dependencies_point_one_way(part: str) -> None:
    files = [ROOT / part] if part.endswith(".py") else sorted((ROOT / part).rglob("*.py"))
    assert files
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in imports(file)
        for forbidden in FORBIDDEN[part]
        if not (file == PYTORCH_MODULE and forbidden == "torch")
        if name == forbidden or name.startswith(f"{forbidden}.")
    ]
    assert not wrong
