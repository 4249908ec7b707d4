"""Install a wheel into an empty environment, without a compiler, and code a photograph there.

`python -m release.trial --bundle out/sample` tries the wheel of this machine in an environment of the Pythons given, or
of all that are on the PATH; `--machine bookworm-arm64` tries the wheel of that machine's processor on it.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .commands import ROOT, ReleaseError, built, mebibytes, run
from .machines import ARCHITECTURES, Machine

PYTHONS = tuple(f"python3.{minor}" for minor in range(10, 15))
_OLDEST = (10, 11)  # minor versions of Python for which the oldest packages have wheels
_PHOTO = ROOT / "samples" / "photos" / "kodim23.png"
_EMULATED_SIDE = 256  # pixels of the photograph's side that an emulated machine codes

Run = Callable[[Sequence[str]], str]
"""Runs the environment's Python with arguments and returns the standard output. Raises ReleaseError."""


def code(python: Run, bundle: Path, photo: Path, folder: Path) -> str:
    """Run `glic doctor`, `glic encode` and `glic decode`. Returns a line about the result; raises ReleaseError."""
    glic = ("-m", "glic_deploy")
    doctor = python([*glic, "doctor", "--engine", str(bundle)])
    if "conformance values reproduced bit for bit" not in doctor:
        raise ReleaseError(f"glic doctor does not report the conformance of {bundle}:\n{doctor}")
    coded, decoded = folder / "photo.glic", folder / "decoded.png"
    python([*glic, "encode", str(photo), str(coded), "--engine", str(bundle), "--overwrite"])
    python([*glic, "verify", str(coded), "--engine", str(bundle)])
    python([*glic, "decode", str(coded), str(decoded), "--engine", str(bundle), "--overwrite"])
    where = python(["-c", _VERSIONS])
    return f"{where.strip()}: {photo.name} in {coded.stat().st_size:,} bytes, decoded in {decoded.stat().st_size:,}"


_VERSIONS = """
import platform
from importlib import metadata
from glic_deploy import machine
print(f"Python {platform.python_version()} on {platform.machine()}", end="")
for name in ("numpy", "pillow", "google-crc32c", "onnxruntime"):
    print(f", {name} {metadata.version(name)}", end="")
kernels, instructions = machine.describe()["kernels"], machine.cpu()["instructions"]
for name, isa in kernels.items():
    print(f", {name} {isa}", end="")
assert "avx2" not in instructions or not {"portable", "scalar"} & {*kernels.values()}, "the libraries do not use AVX2"
"""


def empty(python: str, folder: Path, requirements: Sequence[str]) -> Run:
    """Make an environment with nothing but `requirements`, and return how to run its Python, with nothing else on PATH.

    Raises ReleaseError if pip cannot install them.
    """
    run([python, "-m", "venv", folder])
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GLIC_"))}
    environment |= {"PATH": str(folder / "bin"), "GLIC_CACHE": str(folder / "cache")}

    def run_there(arguments: Sequence[str]) -> str:
        return run([folder / "bin" / "python", *arguments], cwd=folder, env=environment)

    if compiler := shutil.which("cc", path=environment["PATH"]):
        raise ReleaseError(f"the empty environment has a compiler, {compiler}")
    run_there(["-m", "pip", "install", "-q", "--only-binary", ":all:", *requirements])
    return run_there


def lower_bounds() -> list[str]:
    """Return the oldest versions that pyproject.toml allows of what coding needs, as requirements."""
    text = (ROOT / "pyproject.toml").read_text()
    lines = re.findall(r"^(?:dependencies|cpu) = \[(.+)\]$", text, re.MULTILINE)
    bounds = re.findall(r'"([\w-]+)>=([\w.]+)"', ",".join(lines))
    return [f"{name}=={version}" for name, version in bounds]


def installed_size(folder: Path) -> str:
    """Return the sizes of the packages in an environment, the largest first."""
    (packages,) = (folder / "lib").glob("python3*/site-packages")
    sizes = {
        path.name: sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        for path in packages.iterdir()
        if path.is_dir() and not path.name.startswith(("pip", "setuptools", "_distutils", "pkg_resources"))
    }
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:6]
    return f"{mebibytes(sum(sizes.values()))} installed: " + ", ".join(f"{n} {mebibytes(s)}" for n, s in largest)


def on_this_machine(pythons: Sequence[str], wheel: Path, bundle: Path) -> Iterator[str]:
    """Try a wheel with each Python, and once with the oldest packages. Yields lines; raises ReleaseError."""
    newest = [f"{wheel}[cpu]"]
    trials = [(python, newest) for python in pythons]
    oldest = next((python for python in pythons if minor_version(python) in _OLDEST), None)
    if oldest:
        trials.append((oldest, [*newest, *lower_bounds()]))
    for python, requirements in trials:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            yield code(empty(python, folder / "venv", requirements), bundle, _PHOTO, folder)
            yield f"  {installed_size(folder / 'venv')}"
    if not oldest:
        yield "the oldest packages: not tried, since they have no wheels for these Pythons; put python3.11 on the PATH"


def minor_version(python: str) -> int:
    """Return 11 for a Python 3.11. Raises ReleaseError if the program does not run."""
    return int(run([python, "-c", "import sys; print(sys.version_info.minor)"]))


def on(machine: Machine, wheel: Path, bundle: Path) -> None:
    """Try a wheel on a machine, on a part of the photograph if it is emulated. Raises ReleaseError."""
    from PIL import Image  # late: on this machine, a trial runs with a Python that has no packages

    machine.make()
    machine.install(wheel)
    with tempfile.TemporaryDirectory() as name:
        folder, photo = Path(name), _PHOTO
        if machine.emulated:
            photo = folder / _PHOTO.name
            Image.open(_PHOTO).crop((0, 0, _EMULATED_SIDE, _EMULATED_SIDE)).save(photo)
        print(code(machine.run_python, bundle, photo, folder), flush=True)


def available() -> list[str]:
    """Return the Pythons on the PATH that the package supports and that run, this one first."""
    found = {f"python3.{sys.version_info.minor}": sys.executable}
    for name in PYTHONS:
        path = shutil.which(name)
        if path and name not in found and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0:
            found[name] = path
    return list(found.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--python", action="append", help="of the empty environment; may be repeated")
    parser.add_argument("--machine", help="for example bookworm-arm64")
    args = parser.parse_args()
    bundle = args.bundle.resolve()
    try:
        if args.machine:
            machine = Machine.named(args.machine)
            on(machine, built(ARCHITECTURES[machine.architecture]), bundle)
        else:
            for line in on_this_machine(args.python or available(), built(platform.machine()), bundle):
                print(line, flush=True)
    except ReleaseError as error:
        print(f"trial: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
