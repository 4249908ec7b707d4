"""Check all that must hold before a tag, in order, and print what is found: `make release-check`.

A failed check does not stop the others. The exit code is 1 if any failed.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from . import trial, versions
from .commands import OUT, ROOT, ReleaseError, built, run, sdist

_RELEASE_PYTHON = ROOT / ".venv-release" / "bin" / "python"
_BUNDLE = OUT / "sample"

Check = Callable[[], str]
"""Returns what it found. Raises ReleaseError."""


def _none(problems: Iterable[str], found: str) -> str:
    """Return `found` if there are no problems. Raises ReleaseError with all of them."""
    if text := "\n".join(problems):
        raise ReleaseError(text)
    return found


def changelog() -> str:
    text = versions.notes((ROOT / "CHANGELOG.md").read_text(), versions.version())
    if text is None:
        raise ReleaseError(
            f"CHANGELOG.md has no entry of {versions.version()}: below ## [Unreleased], write the heading "
            f"## [{versions.version()}] - {time.strftime('%Y-%m-%d')}"
        )
    return f"{len(text.splitlines())} lines"


def clean() -> str:
    changed = run(["git", "status", "--porcelain"]).splitlines()
    return _none(changed, f"revision {run(['git', 'rev-parse', '--short=12', 'HEAD']).strip()}, nothing uncommitted")


def files_of_releases() -> str:
    from tests import releases

    found = releases.problems(releases.FOLDER, releases.RELEASES, (ROOT / "CHANGELOG.md").read_text())
    if versions.version() not in releases.RELEASES:
        found.append(f"{versions.version()} has no files in {releases.FOLDER}: python -m tests.releases add")
    return _none(found, f"{len(releases.RELEASES)} releases")


def linters() -> str:
    python = Path(sys.executable).parent
    run([python / "ruff", "check", "."])
    run([python / "ruff", "format", "--check", "."])
    return run([python / "mypy"]).strip()


def workflows() -> str:
    tool = _RELEASE_PYTHON.with_name("check-jsonschema")
    files = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    run([tool, "--builtin-schema", "vendor.github-workflows", *files])
    return f"{len(files)} workflows fit GitHub's schema"


def container() -> str:
    run([_RELEASE_PYTHON.with_name("hadolint"), ROOT / "Dockerfile"])
    return "hadolint names nothing in Dockerfile"


def wheels() -> str:
    return run([_RELEASE_PYTHON, "-m", "release.wheels", "--check"]).strip()


def wheel_installs() -> str:
    wheel = built(platform.machine())
    lines = list(trial.on_this_machine(trial.available(), wheel, _BUNDLE))
    return "\n".join(lines)


def source_builds() -> str:
    """Build the source distribution as one does without a network, with the tools of the release's environment."""
    source, tools = sdist(), _RELEASE_PYTHON.parent
    environment = os.environ | {"PIP_FIND_LINKS": "", "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    offline = ("--no-index", "--no-deps", "--no-build-isolation")
    with tempfile.TemporaryDirectory() as folder:
        run([tools / "pip", "wheel", "-q", *offline, "--wheel-dir", folder, source], env=environment)
        (wheel,) = Path(folder).glob("*.whl")
        return f"{source.name} becomes {wheel.name}"


def tests(*arguments: str) -> Check:
    def check() -> str:
        return run([sys.executable, "-m", "pytest", "-q", "--no-header", *arguments]).strip().splitlines()[-1]

    return check


def checks(tag: str | None) -> dict[str, Check]:
    """Return all checks by name, in order."""
    return {
        "versions agree": lambda: _none(versions.problems(tag), f"{versions.version()} everywhere"),
        "the changelog has the entry": changelog,
        "the checkout is clean": clean,
        "files of all releases are kept": files_of_releases,
        "linters and types": linters,
        "workflows": workflows,
        "the container's recipe": container,
        "wheels": wheels,
        "the source distribution builds offline": source_builds,
        "the wheel installs and codes": wheel_installs,
        "files of earlier versions decode": tests(
            "tests/test_conformance_corpus.py", "tests/test_golden_files.py", "tests/test_format.py"
        ),
        "pages name what exists": tests("tests/test_pages.py", "tests/test_architecture.py"),
        "the site builds and its links hold": tests("-m", "slow", "tests/test_site.py"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tag", help="the tag of the release, such as v0.1.0")
    args = parser.parse_args()
    failed = []
    for name, check in checks(args.tag or None).items():
        start = time.perf_counter()
        try:
            mark, found = "  ok", check()
        except (ReleaseError, OSError, subprocess.SubprocessError) as error:
            mark, found = "  !!", str(error)
            failed.append(name)
        print(f"{mark}  {name} ({time.perf_counter() - start:.0f} s)", flush=True)
        print("\n".join(f"      {line}" for line in found.splitlines()), flush=True)
    print(f"not ready for a tag: {'; '.join(failed)}" if failed else f"ready: git tag v{versions.version()}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
