"""Compare a GPU backend with the eager network on the same GPU, on whole images and with the range coder:
`python -m benchmarks.gpu_images --engine DIR --checkpoint C.pth IMAGE`.

The codecs take turns, so that clocks and heat are the same for both. The table shows the median milliseconds of each
stage; the last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import warnings
from collections import defaultdict
from pathlib import Path

import torch

from export.checkpoint import load_checkpoint
from export.eager import eager_codec
from glic_deploy import Codec
from glic_deploy.image import load_image

REPEATS, WARM_UP = 10, 3


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """Return the median milliseconds of each stage, and of their sum as "all"."""
    found = {name: 1e3 * statistics.median(run.get(name, 0.0) for run in runs) for name in runs[0]}
    return found | {"all": 1e3 * statistics.median(sum(run.values()) for run in runs)}


def measure(codecs: dict[str, Codec], path: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Time the codecs in turns; return the medians of the stages by direction and codec."""
    image = load_image(path)
    runs: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    for repeat in range(WARM_UP + REPEATS):
        for name, codec in codecs.items():
            encoding: dict[str, float] = {}
            decoding: dict[str, float] = {}
            codec.decode(codec.encode(image, stages=encoding), stages=decoding)
            if repeat >= WARM_UP:
                runs["encode", name].append(encoding)
                runs["decode", name].append(decoding)
    return {way: {name: medians(runs[way, name]) for name in codecs} for way in ("encode", "decode")}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_images", description=__doc__)
    parser.add_argument("--engine", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint of the engine")
    parser.add_argument("--backend", default="onnxruntime-cuda")
    parser.add_argument("--device", default="cuda", help="device of the eager network")
    parser.add_argument("image", type=Path)
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("needs an NVIDIA GPU and a PyTorch built for CUDA; nothing was measured")
        return 1
    warnings.simplefilter("ignore")
    eager = eager_codec(load_checkpoint(args.checkpoint), args.device)
    with eager, Codec(args.engine, backend=args.backend) as codec:
        found = measure({args.backend: codec, "eager": eager}, args.image)
        described = codec.describe()["backend"]
    result: dict[str, object] = {"backend": described, "repeats": REPEATS, "milliseconds": found}
    for way, codecs in found.items():
        for stage in codecs["eager"]:
            times = "  ".join(f"{name} {stages.get(stage, 0):9.2f} ms" for name, stages in codecs.items())
            print(f"{way} {stage:20} {times}")
        result[f"{way}_speedup"] = round(codecs["eager"]["all"] / codecs[args.backend]["all"], 2)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
