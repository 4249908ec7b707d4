"""Runs the package over native libraries built with AddressSanitizer and UndefinedBehaviorSanitizer.

    python -m tests.fuzz.sanitize [--seconds 120] [--build build/sanitize] [--bundle DIR]

First the libraries are built, into the build folder alone: GLIC_NATIVE names it to the package. Then, with the
sanitizers' runtimes preloaded into Python:

1. a planted overflow, which has to be reported: else nothing below would mean anything;
2. the tests of the range coder, the custom ops, the integer kernels and hostile nodes, the last on every instruction
   set of this processor (the others choose theirs themselves);
3. the fuzz targets `decoder` (whole files, tiles, damaged ones), `engines` (bundles with graphs and tables that no
   exporter wrote, opened, encoded and decoded with) and `nodes`, for the rest of the time.

All of it runs on onnxruntime: OpenVINO loads a library with RTLD_DEEPBIND, which AddressSanitizer does not allow.
Leaks are not looked for, since Python and onnxruntime keep memory until the end by design. Any report ends its process
and makes the exit code 1; so does any other failure.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import kernels

from . import run as fuzz
from .target import ROOT

LIBRARIES = ("librans.so", "libglic_kernels.so", "libglic_onnxruntime.so")
HOSTILE = ("tests/hostile_ops.py",)
TESTS = (
    "tests/test_rans.py",
    "tests/test_map_memory.py",
    "tests/test_ops.py",
    "tests/test_transform_ops.py",
    "tests/test_integer.py::TestLowerings::test_native_kernels_of_every_instruction_set",
)
TARGETS = ("decoder", "engines", "nodes")
# torch's own code is slow under the sanitizers and is not what is looked at; the authors' graphs are large.
UNWANTED = "not torch and not function and not authors and not fuzz"
# One position past the end of what pixel shuffle may write: a tensor of 2048 floats with room for 2047.
PLANTED = """
import ctypes
from tests import kernels
size = (ctypes.c_int64 * 4)(1, 4, 16, 32)
x, out = (ctypes.c_float * 2048)(), (ctypes.c_float * 2047)()
kernels.library().glic_pixel_shuffle_cpu(size, x, out, None)
print("the overflow passed")
"""


def build(folder: Path) -> Path:
    """Build the libraries with the sanitizers; the folder that they are in. CalledProcessError when that fails."""
    python = f"-DPython_EXECUTABLE={sys.executable}"
    configure = ["cmake", "-S", str(ROOT), "-B", str(folder), "-DGLIC_SANITIZE=ON", python]
    subprocess.run(configure, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", str(folder), "--parallel"], check=True, stdout=subprocess.DEVNULL)
    native = folder / "native"
    missing = [name for name in LIBRARIES if not (native / name).exists()]
    if missing:
        raise FileNotFoundError(f"{native} lacks {', '.join(missing)} after the build")
    return native


def environment(native: Path) -> dict[str, str]:
    """What makes Python load the instrumented libraries. The runtimes have to come before everything else."""
    runtimes = ("libasan.so", "libubsan.so", "libstdc++.so")  # the last so that exceptions are intercepted
    found = [subprocess.check_output(["g++", f"-print-file-name={name}"], text=True).strip() for name in runtimes]
    if not all(os.path.isabs(path) for path in found):
        raise FileNotFoundError("g++ has no libasan and libubsan; install the compiler's sanitizer runtimes")
    return {
        "LD_PRELOAD": " ".join(os.path.realpath(path) for path in found),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:detect_stack_use_after_return=0",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "GLIC_NATIVE": str(native),
        "OMP_NUM_THREADS": "1",
    }


def caught(variables: dict[str, str]) -> bool:
    """Whether a planted overflow is reported."""
    command = [sys.executable, "-c", PLANTED]
    done = subprocess.run(command, env=os.environ | variables, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode and "heap-buffer-overflow" in done.stderr:
        return True
    print(f"the planted overflow was not reported, exit code {done.returncode}:\n{done.stdout}{done.stderr[-3000:]}")
    return False


def tests(variables: dict[str, str], files: tuple[str, ...], isa: str) -> bool:
    """Whether test files pass with these instructions."""
    print(f"tests, {isa} instructions: {' '.join(files)}", flush=True)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", UNWANTED, *files]
    done = subprocess.run(
        command, env=os.environ | variables | {"GLIC_ISA": isa}, cwd=ROOT, capture_output=True, text=True, check=False
    )
    print("\n".join(done.stdout.splitlines()[-2:]))
    if done.returncode:
        print(done.stdout[-6000:], done.stderr[-6000:])
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="for the fuzz targets together (default: 120)")
    parser.add_argument("--short", action="store_true", help="only the hostile nodes among the tests")
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "sanitize")
    parser.add_argument("--bundle", type=Path, help="of the sample network (default: export one)")
    args = parser.parse_args()
    variables = environment(build(args.build.resolve()))
    if not caught(variables):
        return 1
    ok = all([tests(variables, HOSTILE, isa) for isa in kernels.INTEGER_ISAS])
    ok = (args.short or tests(variables, TESTS, "best")) and ok
    with tempfile.TemporaryDirectory(prefix="glic-sanitize-") as folder:
        bundle = args.bundle or fuzz.sample_bundle(Path(folder))
        os.environ.update(variables)  # the workers' too
        options = ["--seconds", str(args.seconds), "--engine", "own", "--bundle", str(bundle)]
        found = fuzz.main([*options, *(text for name in TARGETS for text in ("--target", name))])
    return 0 if ok and not found else 1


if __name__ == "__main__":
    sys.exit(main())
