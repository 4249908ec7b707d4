"""What the programs of this folder share: where things are, and how commands are run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out"
WHEELS = OUT / "wheels"
"""Where `make wheels` leaves the wheels and the source distribution."""


class ReleaseError(Exception):
    """A step of the release failed; the message says what to do."""


def run(command: Sequence[str | Path], *, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    """Run a command and return its standard output. Raises ReleaseError, with the end of all output, if it fails.

    env: the whole environment; None for the present one.
    """
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}".strip()
        raise ReleaseError(f"exit code {done.returncode} of: {' '.join(map(str, command))}\n{said}")
    return done.stdout


def tool(name: str) -> Path:
    """Return a command of the environment that runs this program. Raises ReleaseError if it is missing."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        raise ReleaseError(f"{path} is missing: run this through make, which installs it, for example `make wheels`")
    return path


def mebibytes(size: int) -> str:
    return f"{size / 2**20:.2f} MiB"


def built(machine: str, package: str = "glic_deploy", folder: Path = WHEELS) -> Path:
    """Return the wheel for x86_64 or aarch64 that `make wheels` built. Raises ReleaseError unless there is one."""
    return _only(folder, f"{package}-*_{machine}.whl")


def sdist(folder: Path = WHEELS) -> Path:
    """Return the source distribution that `make wheels` built. Raises ReleaseError unless there is one."""
    return _only(folder, "glic_deploy-*.tar.gz")


def view_wheel(folder: Path = WHEELS) -> Path:
    """Return the wheel of the page of `glic view`. Raises ReleaseError unless there is one."""
    return _only(folder, "glic_deploy_view-*-py3-none-any.whl")


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise ReleaseError(f"{folder} has {len(found)} files {pattern}, expected 1: rm -r {folder}; make wheels")
    return found[0]
