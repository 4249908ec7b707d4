"""Run all checks that need a GPU in one command: `make gpu-check`.

- pytest compares the kernels with the oracle, and images across backends.
- compute-sanitizer checks memory and races.
- `benchmarks.gpu_ops` times the kernels.
- `benchmarks.exactness` runs its matrix with this GPU as a row.
- `export.to_trt` builds and checks plans.
- `benchmarks.gpu_images` times whole images on each GPU backend beside the eager network.
- `export.compare` compares every graph on every runner.

The last line is a JSON object of the passed checks.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from export.checkpoint import load_checkpoint
from export.tensorrt_bundle import add_graphs
from export.to_onnx import export_bundle
from glic_deploy.backends.cuda import gpu_capability
from glic_deploy.errors import EngineError
from glic_deploy.tensorrt import choose

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out" / "gpu_check"
KERNELS = (
    "tests/test_gpu.py::test_scatter_aggregate_agrees",
    "tests/test_gpu.py::test_dynamic_knn_agrees",
    *(f"tests/test_gpu_integer.py::test_{op}_equals_the_oracle" for op in ("linear", "gated_ffn", "depthwise")),
)
SANITIZER_TOOLS = "memcheck", "racecheck", "synccheck", "initcheck"
SMALL = "shape0 or shape2 or smallest or odd or size2 or size3"


def run(*command: str | Path, **environment: str) -> bool:
    print("$", *command, flush=True)
    return subprocess.run(list(map(str, command)), cwd=ROOT, env=os.environ | environment).returncode == 0


def python(*arguments: str | Path) -> bool:
    return run(sys.executable, "-m", *arguments)


def sanitizer() -> str | None:
    """Return the path of the system's compute-sanitizer or of NVIDIA's wheel, or None."""
    wheel = Path(sysconfig.get_path("purelib")) / "nvidia" / "cu13" / "compute-sanitizer"
    return shutil.which("compute-sanitizer", path=f"{os.environ['PATH']}:/usr/local/cuda/bin:{wheel}")


def has_tensorrt() -> bool:
    """Check whether a TensorRT for this GPU is installed; if not, try to install one."""
    for attempt in (True, False):
        try:
            choose(gpu_capability())
        except EngineError as error:
            print(error, flush=True)
            if attempt:
                python("pip", "install", "-q", "tensorrt")
                importlib.invalidate_caches()
        else:
            return True
    return False


def engines() -> Iterator[tuple[str, Path, Path]]:
    """Yield name, checkpoint and bundle of the sample network and of a network of the released size."""
    full_size = OUT / "full_size.pth"
    if not full_size.exists() and not python("benchmarks.full_size_checkpoint", full_size):
        sys.exit("the checkpoint of the released size cannot be made")
    for name, checkpoint in (("sample", ROOT / "samples" / "glic_tiny.pth"), ("full_size", full_size)):
        engine = OUT / name
        if not (engine / "manifest.json").exists():
            export_bundle(load_checkpoint(checkpoint), engine)
            add_graphs(engine, "fp16")
        yield name, checkpoint, engine


def main() -> int:
    import torch

    if not torch.cuda.is_available():
        print("needs an NVIDIA GPU and a PyTorch built for CUDA; nothing was checked")
        return 1
    OUT.mkdir(parents=True, exist_ok=True)
    passed = {"pytest": python("pytest", "-q", "-m", "gpu")}
    checker = sanitizer()
    for tool in SANITIZER_TOOLS:
        tests = (sys.executable, "-m", "pytest", "-q", "-x", "-k", SMALL, *KERNELS)
        # A caching allocator would hide accesses outside a tensor.
        passed[tool] = checker is not None and run(
            checker, f"--tool={tool}", "--error-exitcode=9", *tests, PYTORCH_NO_CUDA_MEMORY_CACHING="1"
        )
    if checker is None:
        print("compute-sanitizer is not installed: pip install nvidia-cuda-sanitizer-api")
    passed["times"] = python("benchmarks.gpu_ops", "--json", OUT / "ops.json")
    passed["exactness"] = python("benchmarks.exactness", "--images", ROOT / "samples" / "photos")
    image = sorted((ROOT / "samples" / "photos").glob("*.png"))[0]
    tensorrt = has_tensorrt()
    for name, checkpoint, engine in engines():
        images = ("benchmarks.gpu_images", "--engine", engine, "--checkpoint", checkpoint, image)
        passed[f"{name} on onnxruntime-cuda"] = python(*images, "--backend", "onnxruntime-cuda")
        if tensorrt:
            passed[f"{name} plans"] = python("export.to_trt", "--engine", engine)
            passed[f"{name} on tensorrt"] = python(*images, "--backend", "tensorrt")
        passed[f"{name} graphs"] = python("export.compare", "--engine", engine, "--save", OUT / f"{name}_graphs")
    print(json.dumps(passed | {"tensorrt": "checked" if tensorrt else "none for this GPU"}))
    return 0 if all(passed.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
