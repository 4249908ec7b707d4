"""The coder's fuzz targets, under the sanitizers, for a short while; `make fuzz-coder` runs them for longer."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from .conftest import ROOT

SECONDS = 5


def test_fuzz_targets():
    if not shutil.which("clang++") and not shutil.which("g++"):
        pytest.skip("needs clang++ (with libFuzzer) or g++ to build the fuzz targets")
    command = [sys.executable, ROOT / "plugins_cpp" / "rans" / "fuzz" / "run.py", f"--seconds={SECONDS}"]
    done = subprocess.run(
        [*command, f"--build={ROOT / 'build' / 'fuzz'}"], capture_output=True, text=True, check=False, timeout=600
    )
    if "san" in done.stderr and "cannot find" in done.stderr:
        pytest.skip("needs the compiler's AddressSanitizer and UndefinedBehaviorSanitizer runtimes (libasan, libubsan)")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
