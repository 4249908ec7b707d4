"""Compares a GPU backend with onnxruntime on the CPU, graph by graph: `make compare ENGINE=DIR BACKEND=tensorrt`.

Each graph gets what the CPU's graphs before it gave, so that differences do not add up. Graphs of the entropy path must
agree to the bit; the transforms' largest and root mean square differences are shown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glic_deploy.backends import Backend, open_backend
from glic_deploy.backends.onnxruntime import OnnxRuntimeBackend
from glic_deploy.bundle import Bundle
from glic_deploy.entropy.passes import Pass, Symbols, pack, quantize, walk
from glic_deploy.image import load_image, pad
from glic_deploy.values import Value

Arrays = dict[str, NDArray[Any]]


def runs(bundle: Bundle, cpu: Backend, picture: NDArray[np.uint8]) -> Iterator[tuple[str, Arrays, list[NDArray[Any]]]]:
    """Every graph that coding a picture runs, in order: its name, inputs and the CPU's outputs."""
    seen: list[tuple[str, Arrays, list[NDArray[Any]]]] = []

    def run(graph: str, **inputs: Value) -> list[NDArray[Any]]:
        arrays = {name: np.array(value) for name, value in inputs.items()}
        outputs = cpu.run(graph, arrays)
        seen.append((graph, arrays, outputs))
        return outputs

    y = run("analysis", image=pad(picture))[0]
    z_symbols = run("hyper_analysis", y=y)[0]

    def step(part: Pass, indexes: NDArray[np.uint8], means: NDArray[np.float32]) -> Symbols:
        return quantize(pack(y[:, part.start : part.stop], part.parity), means)

    run("synthesis", y_hat=walk(bundle.groups, run, z_symbols, step))
    yield from seen


def compare(bundle: Bundle, backend: Backend, picture: NDArray[np.uint8]) -> bool:
    """Print a line for each graph. Whether the entropy path agrees to the bit."""
    exact = True
    for graph, inputs, wanted in runs(bundle, OnnxRuntimeBackend(bundle), picture):
        for name, want, got in zip(bundle.outputs(graph), wanted, backend.run(graph, inputs), strict=True):
            error = np.abs(got.astype(np.float64) - want)
            free = graph in bundle.transforms()
            verdict = "" if free else "exact" if not error.any() else "WRONG"
            exact &= verdict != "WRONG"
            print(f"{graph:20} {name:10} largest {error.max():.3g}, rms {np.sqrt(np.mean(error**2)):.3g} {verdict}")
    return exact


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--engine", type=Path, required=True)
    parser.add_argument("--backend", default="tensorrt")
    parser.add_argument("picture", type=Path)
    args = parser.parse_args()
    bundle = Bundle.open(args.engine)
    return 0 if compare(bundle, open_backend(bundle, args.backend), load_image(args.picture)) else 1


if __name__ == "__main__":
    sys.exit(main())
