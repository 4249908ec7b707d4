"""The CUDA kernels' own source, compiled for the CPU and run on emulated blocks of threads under sanitizers."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .conftest import ROOT, alone

Array = NDArray[np.generic]

# What stands for bfloat16, which NumPy lacks: its bits. `to_bfloat16` and `from_bfloat16` convert.
BFLOAT16 = np.uint16
ELEMENTS = {np.dtype(np.float32): 0, np.dtype(np.float16): 1, np.dtype(BFLOAT16): 2}


def to_bfloat16(values: Array) -> NDArray[np.uint16]:
    """float32 → bfloat16 bits, to nearest even."""
    wide = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((wide + 0x7FFF + (wide >> 16 & 1)) >> 16).astype(np.uint16)


def from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    return (bits.astype(np.uint32) << 16).view(np.float32)


@cache
def executable() -> Path:
    """The program that runs the kernels under sanitizers."""
    return _built("emulate_kernels") / "emulate_kernels"


@cache
def passes_library() -> ctypes.CDLL:
    """The functions of plugins_cpp/passes and plugins_cpp/images, which work on the host's memory."""
    return ctypes.CDLL(str(_built("emulated_passes") / "libemulated_passes.so"))


def _built(target: str) -> Path:
    """Build a target, which takes a few seconds where nothing changed; return its folder."""
    build = ROOT / "build" / "cuda_emulator"
    configure = ["cmake", "-S", ROOT, "-B", build, "-DCMAKE_BUILD_TYPE=Release"]
    compile_ = ["cmake", "--build", build, "--target", target]
    with alone(build):
        for command in configure, compile_:
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
    return build / "plugins_cpp" / "cuda_emulator"


def run(op: str, numbers: Sequence[int], arrays: Sequence[Array], *, reverse: bool = False) -> bytes:
    """The result of an op; numbers, arrays: as `main.cpp` of the emulator reads them."""
    sent = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
    # Freed at exit or not, the emulator's own memory is no matter.
    environment = os.environ | {"ASAN_OPTIONS": "detect_leaks=0"}
    command = [executable(), op, *map(str, (int(reverse), *numbers))]
    done = subprocess.run(command, input=sent, capture_output=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{op} on the emulator: {done.returncode}: {done.stderr.decode()[-4000:]}")
    return done.stdout


def complexity_map(x: Array, *, reverse: bool = False) -> Array:
    complexity = run("complexity_map", (ELEMENTS[x.dtype], *x.shape), [x], reverse=reverse)
    return np.frombuffer(complexity, np.float32).reshape(x.shape[:3])


def dynamic_knn(x: Array, complexity: NDArray[np.float32], *, sampling: int, reverse: bool = False) -> Array:
    n, h, w, _ = x.shape
    graph = run("dynamic_knn", (ELEMENTS[x.dtype], *x.shape, sampling), [x, complexity], reverse=reverse)
    return np.frombuffer(graph, np.int32).reshape(n, h * w // 64, 64, 8)


def scatter_aggregate(
    q: Array, kv: Array, graph: Array, bias: Array, scale: Array, *, sampling: int, reverse: bool = False
) -> Array:
    numbers = (ELEMENTS[q.dtype], *q.shape, len(scale), sampling)
    out = run("scatter_aggregate", numbers, [q, kv, graph, bias, scale], reverse=reverse)
    return np.frombuffer(out, q.dtype).reshape(q.shape)
