"""Compare the exact entropy path with the floating-point one, by runtime and lowering: `python -m benchmarks.entropy`.

The forms take turns; each runs an image's latents through all passes, as an encoder does. A ratio is the time of a form
over the time of the float path on the same runtime, pair by pair. The last line is a JSON object: the median ratios.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from export import integer
from export.checkpoint import load_checkpoint
from glic_deploy import machine
from glic_deploy.backends.base import Backend
from glic_deploy.backends.onnxruntime import OnnxRuntimeBackend, custom_ops_library
from glic_deploy.bench.statistics import Summary, paired_ratios
from glic_deploy.bundle import Bundle
from glic_deploy.image import load_image, pad

from .exactness import bundle, encode

_ROOT = Path(__file__).resolve().parent.parent
_FLOAT = "float"


def forms(exact: Bundle, floating: Bundle, threads: int) -> dict[tuple[str, str], Backend]:
    """Open a backend for each installed runtime and each of its lowerings; the float path is first."""
    found: dict[tuple[str, str], Backend] = {("onnxruntime", _FLOAT): OnnxRuntimeBackend(floating, threads)}
    for lowering in ("native", "integer", "base") if custom_ops_library() else ("integer", "base"):
        found["onnxruntime", lowering] = OnnxRuntimeBackend(exact, threads, forms=(lowering,))
    if importlib.util.find_spec("openvino"):
        from glic_deploy.backends.openvino import OpenVinoBackend

        found["openvino", _FLOAT] = OpenVinoBackend(floating, threads)
        for lowering in ("native", "base"):
            found["openvino", lowering] = OpenVinoBackend(exact, threads, forms=(lowering,))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=_ROOT / "samples" / "glic_tiny.pth")
    parser.add_argument("--image", type=Path, default=_ROOT / "samples" / "photos" / "kodim23.png")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=15, help="number of timed rounds, after a warm-up")
    args = parser.parse_args()
    checkpoint = load_checkpoint(args.checkpoint)
    with tempfile.TemporaryDirectory() as directory:
        exact = bundle(checkpoint, Path(directory) / "exact", integer.build(checkpoint))
        floating = bundle(checkpoint, Path(directory) / "float", None)
        backends = forms(exact, floating, args.threads)
        analysis = OnnxRuntimeBackend(exact, args.threads)
        image = pad(load_image(args.image))
        y = analysis.run("analysis", {"image": image})[0]
        z_symbols = analysis.run("hyper_analysis", {"y": y})[0]
        analysis.close()
        seconds: dict[tuple[str, str], list[float]] = {form: [] for form in backends}
        for round_number in range(args.rounds + 1):
            for form, backend in backends.items():
                start = time.perf_counter()
                encode(exact.groups, backend, y, z_symbols)
                if round_number:
                    seconds[form].append(time.perf_counter() - start)
        for backend in backends.values():
            backend.close()
    print(machine.summary(machine.describe()))
    size = f"{image.shape[1]}x{image.shape[0]}"
    print(f"{args.checkpoint.name}, {size}, {args.threads} threads; 1 warm-up, n = {args.rounds}\n")
    print(f"{'seconds':24}{'median':>8}{'p10':>8}{'p90':>8}{'min':>8}{'/ float':>10}{'p10':>8}{'p90':>8}")
    ratios: dict[str, dict[str, float]] = {}
    for (runtime, lowering), values in seconds.items():
        own = Summary.of(values)
        ratio = paired_ratios(values, seconds[runtime, _FLOAT])
        ratios.setdefault(runtime, {})[lowering] = float(np.round(ratio.median, 3))
        print(
            f"{runtime + ', ' + lowering:24}{own.median:8.3f}{own.p10:8.3f}{own.p90:8.3f}{own.min:8.3f}"
            f"{ratio.median:10.3f}{ratio.p10:8.3f}{ratio.p90:8.3f}"
        )
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
