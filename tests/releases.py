"""The files of earlier releases in tests/data/releases: `python -m tests.releases add` adds those of this version.

README.md in that folder says when to do so.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
from pathlib import Path

import glic_deploy

from .conformance_check import FOLDER as CONFORMANCE
from .conftest import DATA, ROOT

FOLDER = DATA / "releases"
RELEASES: dict[str, str] = {}
"""The digest of the folder of each release. An entry never changes and is never removed."""


def digest(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of all files of a folder."""
    content = "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.relative_to(folder).as_posix()}\n"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )
    return hashlib.sha256(content.encode()).hexdigest()


def released(changelog: str) -> set[str]:
    """Return the versions that a changelog lists as released."""
    return set(re.findall(r"^## \[(\d[^\]]*)\]", changelog, re.MULTILINE))


def problems(folder: Path, releases: dict[str, str], changelog: str) -> list[str]:
    """Return what is wrong with the files of the releases."""
    there = {path.name for path in folder.iterdir() if path.is_dir()}
    found = [
        f"{version} is released and has no files: {folder / 'README.md'}" for version in released(changelog) - there
    ]
    found += [f"{version} has files and is not in RELEASES" for version in there - releases.keys()]
    found += [f"the files of {version} are gone" for version in releases.keys() - there]
    for version in sorted(there & releases.keys()):
        if digest(folder / version) != releases[version]:
            found.append(f"a file of {version} was changed, added or removed: get it back from the version control")
    return found


def add(version: str, folder: Path = FOLDER) -> str:
    """Copy the conformance files to the folder of a release. Returns its line in `RELEASES`."""
    shutil.copytree(CONFORMANCE, folder / version)
    return f'"{version}": "{digest(folder / version)}",'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("add",))
    parser.parse_args()
    print(f"to add to RELEASES in {Path(__file__).relative_to(ROOT)}:\n{add(glic_deploy.__version__)}")


if __name__ == "__main__":
    main()
