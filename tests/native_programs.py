"""Build the programs of tests/native, for this machine, ARM64 or Bochs, and run them, on an emulator if need be."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from .conftest import ROOT

ARM64 = platform.machine() in ("aarch64", "arm64")
TOOLCHAINS = ("host", "g++ for ARM64", "zig for ARM64")
BOCHS = "g++ for Bochs"
"""The toolchain of release/avx512.py: no vector registers from 16 on, since Bochs refuses gathers with these."""
# Processors of the emulator, and the instruction sets that the integer kernels have on each, from the slowest on.
PROCESSORS = {
    "cortex-a53": ("neon",),
    "cortex-a76": ("neon", "neondotprod"),
    "max": ("neon", "neondotprod", "neoni8mm"),
}
_GCC = "aarch64-linux-gnu-g++"
_LIBRARIES = Path("/usr/aarch64-linux-gnu")  # where Debian's libc6-arm64-cross puts the C library


class MissingToolError(Exception):
    """Raised with what to install."""


def _emulator() -> str:
    found = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if found is None or not (_LIBRARIES / "lib").is_dir():
        raise MissingToolError("needs an emulator of ARM64: apt-get install qemu-user-static g++-aarch64-linux-gnu")
    return found


def _options(toolchain: str) -> list[str]:
    """Return the options with which CMake uses a toolchain."""
    if toolchain in ("host", BOCHS):
        if shutil.which("g++") is None and shutil.which("clang++") is None:
            raise MissingToolError("needs a C++ compiler: apt-get install g++")
        if toolchain == "host":
            return []
        unused = " ".join(f"-ffixed-xmm{number}" for number in range(16, 32))
        return [f"-DCMAKE_CXX_FLAGS={unused}"]
    _emulator()
    if toolchain == "zig for ARM64":
        if importlib.util.find_spec("ziglang") is None:
            raise MissingToolError("needs the zig compiler: pip install ziglang")
        compiler = f"{sys.executable};-m;ziglang;c++;-target;aarch64-linux-gnu.2.28"
    elif shutil.which(_GCC) is None:
        raise MissingToolError(f"needs {_GCC}: apt-get install g++-aarch64-linux-gnu")
    else:
        compiler = _GCC
    return ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", f"-DCMAKE_CXX_COMPILER={compiler}"]


@cache
def build(toolchain: str) -> Path:
    """Return the folder of the programs. Raises MissingToolError, or CalledProcessError with the compiler's output."""
    options = _options(toolchain)
    if shutil.which("cmake") is None:
        raise MissingToolError("needs cmake: pip install cmake")
    folder = ROOT / "build" / "native-tests" / toolchain.replace(" ", "-").replace("+", "p")
    for command in (
        ["cmake", "-S", ROOT, "-B", folder, "-DGLIC_NATIVE_TESTS=ON", *options],
        ["cmake", "--build", folder, "--target", "glic_native_tests", "--parallel", "2"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise subprocess.CalledProcessError(done.returncode, command, done.stdout[-4000:], done.stderr[-4000:])
    return folder / "tests"


def emulated(program: Path, processor: str, *options: str) -> list[str]:
    """Return the command that runs a program for ARM64 on an emulated processor."""
    return [_emulator(), "-L", str(_LIBRARIES), "-cpu", processor, *options, str(program)]
