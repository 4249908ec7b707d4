"""Time the two graph ops: our kernels in onnxruntime against plain PyTorch (unfold, full attention maps).

    python -m benchmarks.ops [--threads 2] [--repeats 9] [--height 128 --width 192] [--json PATH]

A line shows the time of a call on one map, from input arrays to output arrays, after a warm-up. Both sides have the
same number of threads and take turns. The default map is that of a 768×512 image at quarter scale, with the 192
channels and 8 heads of the official model. The features are smoothed noise: neighbours are similar, as in a real
feature map.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper

from export.ops import dynamic_knn, scatter_aggregate
from export.ops.groups import QUERIES, unpack_edges
from export.ops.translation import PLUGIN
from glic_deploy import native
from glic_deploy.ops import DOMAIN

_ELEMENTS: dict[np.dtype[Any], int] = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int32): TensorProto.INT32}


def smooth_map(rng: np.random.Generator, height: int, width: int, channels: int) -> np.ndarray:
    """Draw a map, float32 1×height×width×channels: noise of several scales, in which coarse scales are stronger."""
    total = np.zeros((channels, height, width), np.float32)
    for step in (1, 2, 4, 8, 16):
        coarse = rng.normal(size=(1, channels, height // step + 1, width // step + 1)).astype(np.float32)
        fine = torch.nn.functional.interpolate(torch.from_numpy(coarse), (height, width), mode="bilinear")
        total += fine[0].numpy() * step**0.5
    return np.ascontiguousarray(total.transpose(1, 2, 0)[None])


def node_session(
    op: str, inputs: dict[str, np.ndarray], output: tuple[str, type], sampling: int, threads: int
) -> Callable[[], np.ndarray]:
    """Return a function that runs one node in onnxruntime, with our library, on the given inputs."""
    elements = [helper.make_tensor_value_info(k, _ELEMENTS[v.dtype], v.shape) for k, v in inputs.items()]
    result = helper.make_tensor_value_info(output[0], _ELEMENTS[np.dtype(output[1])], None)
    node = helper.make_node(op, list(inputs), [output[0]], domain=DOMAIN, sampling=sampling, **PLUGIN)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(helper.make_graph([node], op, elements, [result]), opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.register_custom_ops_library(str(native.library_path("glic_onnxruntime")))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, inputs)[0]


def compare(name: str, ours: Callable[[], object], eager: Callable[[], object], repeats: int) -> dict[str, object]:
    """Time both sides in turns; print and return their medians and percentiles in milliseconds."""
    ours(), eager()
    times: dict[str, list[float]] = {"ours": [], "eager": []}
    for _ in range(repeats):
        for side, call in ("ours", ours), ("eager", eager):
            start = time.perf_counter()
            call()
            times[side].append(1e3 * (time.perf_counter() - start))
    row: dict[str, object] = {"op": name, "n": repeats}
    for side, values in times.items():
        low, median, high = np.percentile(values, [10, 50, 90])
        row[side] = {"p10_ms": low, "p50_ms": median, "p90_ms": high}
    ratio = float(np.median(times["eager"]) / np.median(times["ours"]))
    row["ratio"] = ratio
    cells = " ".join(f"{value:8.1f}" for side in times for value in np.percentile(times[side], [10, 50, 90]))
    print(f"{name:28s} {cells} {ratio:7.1f}×", flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--channels", type=int, default=192)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(0)
    shape = args.height, args.width, args.channels
    x, q = smooth_map(rng, *shape), smooth_map(rng, *shape)
    kv = np.concatenate([smooth_map(rng, *shape), smooth_map(rng, *shape)], -1)
    complexity = rng.uniform(0.5, 2, size=x.shape[:3]).astype(np.float32)
    bias = (16 / (1 + np.exp(-rng.normal(size=(args.heads, 64, 256))))).astype(np.float32)
    scale = np.full(args.heads, 10, np.float32)

    cpuinfo = Path("/proc/cpuinfo").read_text()
    cpu = next((line.split(":")[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")), "?")
    versions = f"onnxruntime {onnxruntime.__version__}, torch {torch.__version__}"
    print(f"{platform.machine()}, {cpu}, {args.threads} threads, {versions}")
    print(f"map {'×'.join(map(str, shape))}, {args.heads} heads, float32, n = {args.repeats}, milliseconds")
    print(f"{'':28s} {'ours p10':>8s} {'p50':>8s} {'p90':>8s} {'eager':>8s} {'p50':>8s} {'p90':>8s}")
    rows = []
    tensors = {k: torch.from_numpy(v) for k, v in dict(x=x, d=complexity, q=q, kv=kv, bias=bias, scale=scale).items()}
    for sampling, kind in enumerate(("local", "global")):
        knn = {"x": x, "complexity": complexity}
        ours = node_session("DynamicKnn", knn, ("graph", np.int32), sampling, args.threads)
        graph = ours()
        rows.append(
            compare(
                f"DynamicKnn {kind}",
                ours,
                partial(dynamic_knn, tensors["x"], tensors["d"], sampling),
                args.repeats,
            )
        )
        edge_words = torch.from_numpy(graph)
        edges = unpack_edges(edge_words)
        tiles = edges.unflatten(2, (QUERIES // 16, 16)).any(3).float().mean()
        aggregate = {"q": q, "kv": kv, "graph": graph, "bias": bias, "scale": scale}
        rows.append(
            compare(
                f"ScatterAggregate {kind}",
                node_session("ScatterAggregate", aggregate, ("out", np.float32), sampling, args.threads),
                partial(
                    scatter_aggregate,
                    *(tensors["q"], tensors["kv"], edge_words, tensors["bias"], tensors["scale"], sampling),
                ),
                args.repeats,
            )
        )
        rows[-1] |= {"mean_degree": float(edges.sum(-1).float().mean()), "active_fraction_of_16": float(tiles)}
        print(f"  mean degree {rows[-1]['mean_degree']:.1f}; candidates that 16 queries share: {float(tiles):.0%}")
    if args.json:
        args.json.write_text(json.dumps({"cpu": cpu, "threads": args.threads, "shape": shape, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
