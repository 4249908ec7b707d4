"""Run all checks that need a GPU in one command, or in pieces: `make gpu-check`, `make gpu-check SECONDS=600`.

- pytest compares the kernels with the oracle, and images across backends.
- compute-sanitizer checks memory, races, barriers and reads of uninitialised memory.
- `benchmarks.gpu_ops` times the kernels.
- `benchmarks.exactness` runs its matrix with this GPU as a row.
- `export.to_trt` builds and checks plans.
- `benchmarks.gpu_images` times whole images on each GPU backend beside the eager network.
- `export.compare` compares every graph on every runner.

What has passed is kept in out/gpu_check for these sources, GPU and versions, and is not run again. With --seconds, a
step that has not finished in time is ended, and begins again in the next piece. The last line is a JSON object: for
each step whether it passed, null if it has not run to its end. The exit code is 0 if all have passed, 1 if one failed,
and 3 if steps are left.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from glic_deploy.backends.cuda import CudaDevice, gpu_capability
from glic_deploy.backends.declarations import BACKENDS
from glic_deploy.errors import EngineError
from glic_deploy.tensorrt import choose

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out" / "gpu_check"
KERNELS = (
    "tests/test_gpu.py::test_scatter_aggregate_agrees",
    "tests/test_gpu.py::test_dynamic_knn_agrees",
    "tests/test_gpu.py::test_a_feed_forward_agrees",
    "tests/test_gpu.py::test_complexity_map_agrees",
    *(f"tests/test_gpu_integer.py::test_{op}_equals_the_oracle" for op in ("linear", "gated_ffn", "depthwise")),
    "tests/test_gpu_steps.py::test_two_passes_of_a_slice_equal_those_of_the_host",
)
CHECKPOINTS = {"sample": ROOT / "samples" / "glic_tiny.pth", "full_size": OUT / "full_size.pth"}
SOURCES = (".py", ".json", ".h", ".cuh", ".cu", ".inl", ".cpp", ".cmake", ".txt")
SANITIZER_TOOLS = "memcheck", "racecheck", "synccheck", "initcheck"
SMALL = "shape0 or shape2 or smallest or odd or size2 or size3"


class OutOfTimeError(Exception):
    """The time of this piece is over."""


class Piece:
    """Runs commands until the time of the piece is over."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def run(self, *command: str | Path, **environment: str) -> bool:
        """Run a command; return whether it succeeds. Raises OutOfTimeError, which ends the command's processes too."""
        left = None if self._end is None else self._end - time.monotonic()
        if left is not None and left <= 0:
            raise OutOfTimeError
        print("$", *command, flush=True)
        process = subprocess.Popen(
            list(map(str, command)), cwd=ROOT, env=os.environ | environment, start_new_session=True
        )
        try:
            return process.wait(left) == 0
        except subprocess.TimeoutExpired:
            raise OutOfTimeError from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def python(self, *arguments: str | Path) -> bool:
        return self.run(sys.executable, "-m", *arguments)


Step = Callable[[Piece], bool]


def sanitizer() -> str | None:
    """Return the path of the system's compute-sanitizer or of NVIDIA's wheel, or None."""
    wheel = Path(sysconfig.get_path("purelib")) / "nvidia" / "cu13" / "compute-sanitizer"
    return shutil.which("compute-sanitizer", path=f"{os.environ['PATH']}:/usr/local/cuda/bin:{wheel}")


def has_tensorrt(piece: Piece) -> bool:
    """Check whether a TensorRT for this GPU is installed; if not, try to install one."""
    for attempt in (True, False):
        try:
            choose(gpu_capability())
        except EngineError as error:
            print(error, flush=True)
            if attempt:
                piece.python("pip", "install", "-q", "tensorrt")
                importlib.invalidate_caches()
        else:
            return True
    return False


def sanitized(tool: str) -> Step:
    """Return the step that runs small cases of every kernel under a tool of compute-sanitizer."""

    def step(piece: Piece) -> bool:
        checker = sanitizer()
        if checker is None:
            print("compute-sanitizer is not installed: pip install nvidia-cuda-sanitizer-api")
            return False
        tests = (sys.executable, "-m", "pytest", "-q", "-x", "-m", "gpu", "-k", SMALL, *KERNELS)
        # A caching allocator would hide accesses outside a tensor.
        return piece.run(checker, f"--tool={tool}", "--error-exitcode=9", *tests, PYTORCH_NO_CUDA_MEMORY_CACHING="1")

    return step


def exported(name: str, checkpoint: Path) -> Step:
    """Return the step that exports a checkpoint, with graphs in float16; that of the full size is made first."""

    def step(piece: Piece) -> bool:
        if not checkpoint.exists() and not piece.python("benchmarks.full_size_checkpoint", checkpoint):
            return False
        return piece.python("export.to_trt", "--checkpoint", checkpoint, "--output", OUT / name, "--graphs-only")

    return step


def steps(tensorrt: bool) -> dict[str, Step]:
    """Return all steps by name, in order."""

    def python(*arguments: str | Path) -> Step:
        return lambda piece: piece.python(*arguments)

    found: dict[str, Step] = {
        "kernels": python("pytest", "-q", "-m", "gpu", "tests/test_gpu.py"),
        "integer kernels": python("pytest", "-q", "-m", "gpu", "tests/test_gpu_integer.py"),
        "steps between graphs": python("pytest", "-q", "-m", "gpu", "tests/test_gpu_steps.py"),
        "images in GPU memory": python("pytest", "-q", "-m", "gpu", "tests/test_cuda_arrays.py"),
        **{tool: sanitized(tool) for tool in SANITIZER_TOOLS},
        "times": python("benchmarks.gpu_ops", "--json", OUT / "ops.json"),
        "exactness": python("benchmarks.exactness", "--images", ROOT / "samples" / "photos"),
    }
    image = sorted((ROOT / "samples" / "photos").glob("*.png"))[0]
    for name, checkpoint in CHECKPOINTS.items():
        engine = OUT / name
        images = ("benchmarks.gpu_images", "--engine", engine, "--checkpoint", checkpoint, image)
        found[f"{name} export"] = exported(name, checkpoint)
        found[f"{name} on onnxruntime-cuda"] = python(*images, "--backend", "onnxruntime-cuda")
        if tensorrt:
            found[f"{name} plans"] = python("export.to_trt", "--engine", engine, "--require-plans")
            found[f"{name} on tensorrt"] = python(*images, "--backend", "tensorrt")
        found[f"{name} graphs"] = python("export.compare", "--engine", engine, "--save", OUT / f"{name}_graphs")
    return found


def identity() -> str:
    """Return a digest of the sources, the GPU, its driver and the versions: a step that passed counts for one alone."""
    digest = hashlib.sha256()
    folders = ("glic_deploy", "export", "plugins_cpp", "tests", "benchmarks")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in SOURCES]
    for path in sorted(sources):
        digest.update(f"{path.relative_to(ROOT)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    versions = {each.name: each.versions() for each in BACKENDS}
    digest.update(json.dumps([CudaDevice().describe(), versions], sort_keys=True).encode())
    return digest.hexdigest()


def check(todo: Mapping[str, Step], record: Path, state: str, seconds: float | None) -> dict[str, bool | None]:
    """Run the steps that have not passed in this state; return of each whether it passed, None if it did not end."""
    kept = json.loads(record.read_text()) if record.exists() else {}
    results: dict[str, bool | None] = dict.fromkeys(todo)
    if kept.get("state") == state:
        results |= {name: True for name in todo if kept["passed"].get(name)}
    piece = Piece(seconds)
    for name, step in todo.items():
        if results[name]:
            continue
        try:
            results[name] = step(piece)
        except OutOfTimeError:
            break
        passed = {each: True for each, result in results.items() if result}
        record.write_text(json.dumps({"state": state, "passed": passed}))
    return results


def main() -> int:
    import torch

    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("--seconds", type=float, help="end after so many seconds; the next call goes on")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("needs an NVIDIA GPU and a PyTorch built for CUDA; nothing was checked")
        return 1
    OUT.mkdir(parents=True, exist_ok=True)
    tensorrt = has_tensorrt(Piece(args.seconds))
    results = check(steps(tensorrt), OUT / "passed.json", identity(), args.seconds)
    print(json.dumps(results | {"tensorrt": "checked" if tensorrt else "none for this GPU"}))
    if None in results.values() and False not in results.values():
        print("steps are left: run the same command again", file=sys.stderr)
        return 3
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
