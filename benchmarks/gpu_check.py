"""Everything that needs a GPU, in one command: `make gpu-check`.

The kernels against the oracle and pictures across backends (pytest), memory and races by compute-sanitizer where it is
installed, the kernels' times (`benchmarks.gpu_ops`), and whole pictures on each GPU backend beside the eager network.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from export.checkpoint import load_checkpoint
from export.tensorrt_bundle import add_graphs
from export.to_onnx import export_bundle

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out" / "gpu_check"
KERNELS = "tests/test_gpu.py::test_scatter_aggregate_agrees", "tests/test_gpu.py::test_dynamic_knn_agrees"
SMALL = "shape0 or shape2 or smallest or odd"


def run(*command: str | Path) -> bool:
    print("$", *command, flush=True)
    return subprocess.run(list(map(str, command)), cwd=ROOT).returncode == 0


def checkpoints() -> Iterator[tuple[str, Path]]:
    """The sample network and one of the released size."""
    yield "sample", ROOT / "samples" / "glic_tiny.pth"
    full_size = OUT / "full_size.pth"
    if not full_size.exists():
        run(sys.executable, "-m", "benchmarks.full_size_checkpoint", full_size)
    yield "full_size", full_size


def main() -> int:
    import torch

    if not torch.cuda.is_available():
        print("needs an NVIDIA GPU and a PyTorch built for CUDA; nothing was checked")
        return 1
    OUT.mkdir(parents=True, exist_ok=True)
    passed = {"pytest": run(sys.executable, "-m", "pytest", "-q", "-m", "gpu")}
    sanitizer = shutil.which("compute-sanitizer")
    for tool in ("memcheck", "racecheck") if sanitizer else ():
        tests = (sys.executable, "-m", "pytest", "-q", "-x", "-k", SMALL, *KERNELS)
        passed[tool] = run(str(sanitizer), f"--tool={tool}", "--error-exitcode=9", *tests)
    if not sanitizer:
        print("compute-sanitizer is not installed: memory and races were not checked")
    passed["times"] = run(sys.executable, "-m", "benchmarks.gpu_ops", "--json", OUT / "ops.json")
    picture = sorted((ROOT / "samples" / "photos").glob("*.png"))[0]
    for name, checkpoint in checkpoints():
        engine = OUT / name
        if not engine.exists():
            export_bundle(load_checkpoint(checkpoint), engine)
            add_graphs(engine, "fp16")
        for backend in ("onnxruntime-cuda", "tensorrt"):
            options = ("--engine", engine, "--checkpoint", checkpoint, "--backend", backend, picture)
            passed[f"{name} on {backend}"] = run(sys.executable, "-m", "benchmarks.gpu_pictures", *options)
    print(json.dumps(passed))
    return 0 if all(passed.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
