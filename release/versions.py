"""Compare the places that name the version of the package. `python -m release.versions` prints the release's notes.

The number stands in glic_deploy/__init__.py; pyproject.toml reads it from there.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from .commands import ROOT, WHEELS


def version() -> str:
    """Return the version of the package."""
    (found,) = re.findall(r'^__version__ = "(.+)"$', (ROOT / "glic_deploy" / "__init__.py").read_text(), re.MULTILINE)
    return str(found)


def notes(changelog: str, release: str) -> str | None:
    """Return what a changelog says of a release, without its heading; None if it has no entry with a date."""
    heading = rf"^## \[{re.escape(release)}\] - \d{{4}}-\d\d-\d\d\n"
    entry = re.search(rf"{heading}(.*?)(?=^## \[|^\[|\Z)", changelog, re.MULTILINE | re.DOTALL)
    return entry[1].strip() if entry else None


def problems(tag: str | None = None, wheels: Path = WHEELS) -> Iterator[str]:
    """Yield each place with another version than the package's. tag: of the release, such as `v0.1.0`."""
    here = version()
    if tag is not None and tag != f"v{here}":
        yield f"the tag is {tag}, expected v{here}: correct the tag, or glic_deploy/__init__.py"
    row = re.search(r"^\| the package \|.*?\| (\S+) \|", (ROOT / "docs" / "versioning.md").read_text(), re.MULTILINE)
    if row is None or row[1] != here:
        yield f"docs/versioning.md names the version {row and row[1]}, expected {here}"
    built = [path for path in wheels.glob("*") if path.suffix in (".whl", ".gz")]
    for path in built:
        if not re.match(rf"glic_deploy(_cuda|_view)?-{re.escape(here)}[-.]", path.name):
            yield f"{path.name} is of another version than {here}: rm -r {wheels}; make wheels wheel-cuda"
    if not built:
        yield f"{wheels} is empty: make wheels wheel-cuda"


if __name__ == "__main__":
    text = notes((ROOT / "CHANGELOG.md").read_text(), version())
    sys.exit(f"CHANGELOG.md has no entry ## [{version()}] - YYYY-MM-DD") if text is None else print(text)
