"""Times the ops' CUDA kernels on a GPU: `python -m benchmarks.gpu_ops [--json PATH]`.

Calls on rotating inputs, so that nothing stays in the cache from call to call, are captured as one CUDA graph, as the
backends run the ops: launches one by one would add some 20 µs of waiting for the CPU to each. Medians of replays are
set against the eager PyTorch formulation, captured alike, for the aggregation against scaled_dot_product_attention with
a dense mask too, and against the floor: the larger of the bytes that must move at the memory's rate and the products at
the tensor cores' rate, both as measured here. The last line is a JSON object: each op's least gains and its largest
multiple of the floor, for 768×512 in float16.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from export.ops import GLOBAL, LOCAL
from export.ops.complexity import CONTRAST, LEAST_SQUARE, SOBEL, gaussian_taps
from export.ops.dynamic_knn import dynamic_knn as _op  # noqa: F401  (registers the ops)
from export.ops.groups import candidate_groups, query_groups, scatter_groups

from . import cuda_ops

CHANNELS, HEADS = 192, 8
# What divides the image's sides to give the map's, channels, hidden channels.
FFNS = {"GatedFfn": (2, 128, 512), "DepthwiseGatedFfn": (4, 192, 768)}
EPSILON = 1e-6
IMAGES = {"768x512": (512, 768), "1920x1152": (1152, 1920)}
INPUTS, WARM_UP, REPEATS = 8, 3, 20


def floor_seconds(op: str, nodes: int, element_bytes: int, bandwidth: float, flops: float) -> float:
    """The least that an op on this many nodes can take."""
    graph = nodes * 32
    if op == "ComplexityMap":
        moved = nodes * (CHANNELS * element_bytes + 12)  # the result is written, read for its mean, and written
        products = 0
    elif op == "DynamicKnn":
        moved = nodes * (CHANNELS * element_bytes + 4) + graph
        products = 2 * nodes * 256 * CHANNELS
    else:
        moved = nodes * 4 * CHANNELS * element_bytes + graph + HEADS * 64 * 256 * 4
        products = 4 * nodes * 256 * CHANNELS
    return max(moved / bandwidth, products / flops)


def rates() -> tuple[float, float]:
    """Measure bytes a second, read and written, and operations a second of a large product in bfloat16."""
    source = torch.randn(1 << 29, device="cuda")
    target = torch.empty_like(source)
    bandwidth = 2 * source.nbytes / median_seconds([lambda: torch.neg(source, out=target)])
    side = 8192
    a, b = (torch.randn(side, side, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return bandwidth, 2 * side**3 / median_seconds([lambda: a @ b])


def median_seconds(calls: Sequence[Callable[[], object]]) -> float:
    """Return the median time of one call, all of the calls captured as one CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for call in calls:  # what a first call prepares cannot be captured
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    times = []
    for _ in range(WARM_UP + REPEATS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3 / len(calls))
    return statistics.median(times[WARM_UP:])


def attention_inputs(q: Tensor, kv: Tensor, graph: Tensor, bias: Tensor, sampling: int) -> tuple[Tensor, ...]:
    """Unfolded queries, keys, values and a dense mask, G×heads×…, as scaled_dot_product_attention takes them."""

    def heads(x: Tensor) -> Tensor:
        return x.flatten(0, 1).unflatten(-1, (HEADS, -1)).transpose(1, 2)

    keys, values = candidate_groups(kv, sampling).chunk(2, -1)
    bits = unpack_edges_on(graph).flatten(0, 1).unsqueeze(1)
    mask = torch.where(bits, bias.unsqueeze(0), -1e4).to(q.dtype)
    unit = torch.nn.functional.normalize
    return unit(heads(query_groups(q, sampling)), dim=-1), unit(heads(keys), dim=-1), heads(values), mask


def unpack_edges_on(graph: Tensor) -> Tensor:
    bits = graph.unsqueeze(-1) >> torch.arange(32, dtype=torch.int32, device=graph.device)
    return (bits & 1).bool().flatten(-2)


def dense_attention(q: Tensor, kv: Tensor, graph: Tensor, bias: Tensor, sampling: int) -> Tensor:
    """The aggregation by PyTorch's fused attention: gather, attend under a dense mask, put back."""
    query, key, value, mask = attention_inputs(q, kv, graph, bias, sampling)
    out = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=10.0)
    n, h, w, _ = q.shape
    return scatter_groups(out.transpose(1, 2).flatten(-2).unflatten(0, (n, -1)), h, w, sampling)


def eager_complexity(x: Tensor) -> Tensor:
    """The formulation of export.ops.complexity on the GPU, with the constants of `complexity_filters`."""
    pad, convolve = torch.nn.functional.pad, torch.nn.functional.conv2d
    slope, slope_t, blur = complexity_filters()
    first = pad(x.float().permute(0, 3, 1, 2), (1, 1, 1, 1), mode="replicate")
    gx, gy = (convolve(first, kernel, groups=CHANNELS) for kernel in (slope, slope_t))
    magnitude = (gx.square() + gy.square() + LEAST_SQUARE).sqrt()
    blurred = convolve(pad(magnitude, (1, 1, 1, 1), mode="replicate"), blur, groups=CHANNELS)
    d = blurred.square().mean(1).sqrt()
    mean = d.mean((1, 2), keepdim=True)
    return mean + (d - mean) / CONTRAST


@cache
def complexity_filters() -> tuple[Tensor, ...]:
    slope, taps = torch.tensor(SOBEL), torch.tensor(gaussian_taps())
    return tuple(kernel.expand(CHANNELS, 1, 3, 3).cuda() for kernel in (slope, slope.T, torch.outer(taps, taps)))


def eager_knn(x: Tensor, complexity: Tensor, sampling: int) -> Tensor:
    unit = torch.nn.functional.normalize(x.float(), dim=-1, eps=1e-12)
    similarity = query_groups(unit, sampling) @ candidate_groups(unit, sampling).transpose(-1, -2)
    d = query_groups(complexity.unsqueeze(-1), sampling).squeeze(-1)
    budget = (d / d.sum(-1, keepdim=True) * 4096).clamp(1, 256)
    low, high, threshold = similarity.amin(-1), torch.ones_like(budget), similarity.mean(-1)
    for _ in range(5):
        many = (similarity > threshold.unsqueeze(-1)).sum(-1) > budget
        low, high = torch.where(many, threshold, low), torch.where(many, high, threshold)
        threshold = (low + high) / 2
    return similarity > threshold.unsqueeze(-1)


def eager_aggregate(q: Tensor, kv: Tensor, graph: Tensor, bias: Tensor, scale: Tensor, sampling: int) -> Tensor:
    query, key, value, _ = attention_inputs(q.float(), kv.float(), graph, bias, sampling)
    penalty = torch.where(unpack_edges_on(graph), 0.0, -100.0).flatten(0, 1).unsqueeze(1)
    logits = (query @ key.transpose(-1, -2) + penalty) * scale.reshape(-1, 1, 1) + bias
    out = logits.softmax(-1) @ value
    n, h, w, _ = q.shape
    return scatter_groups(out.transpose(1, 2).flatten(-2).unflatten(0, (n, -1)), h, w, sampling).to(q.dtype)


def measure(size: tuple[int, int], divisor: int, dtype: torch.dtype, sampling: int, peaks: tuple[float, float]) -> list:
    h, w = (side // divisor for side in size)
    maps = [torch.randn(1, h, w, CHANNELS, device="cuda").to(dtype) for _ in range(INPUTS)]
    complexities = [cuda_ops.complexity_map(x) for x in maps]
    kvs = [torch.randn(1, h, w, 2 * CHANNELS, device="cuda").to(dtype) for _ in range(INPUTS)]
    bias = 16 * torch.rand(HEADS, 64, 256, device="cuda")
    scale = torch.full((HEADS,), 10.0, device="cuda")
    graphs = [cuda_ops.dynamic_knn(x, d, sampling) for x, d in zip(maps, complexities, strict=True)]
    knn = list(zip(maps, complexities, strict=True))
    aggregation = list(zip(maps, kvs, graphs, strict=True))
    kind = "local" if sampling == LOCAL else "global"
    rows = []
    for op, kernel, eager, dense in (
        (
            "ComplexityMap",
            [partial(cuda_ops.complexity_map, x) for x in maps],
            [partial(eager_complexity, x) for x in maps],
            [],
        ),
        (
            "DynamicKnn",
            [partial(cuda_ops.dynamic_knn, x, d, sampling) for x, d in knn],
            [partial(eager_knn, x, d, sampling) for x, d in knn],
            [],
        ),
        (
            "ScatterAggregate",
            [partial(cuda_ops.scatter_aggregate, q, kv, graph, bias, scale, sampling) for q, kv, graph in aggregation],
            [partial(eager_aggregate, q, kv, graph, bias, scale, sampling) for q, kv, graph in aggregation],
            [partial(dense_attention, q, kv, graph, bias, sampling) for q, kv, graph in aggregation],
        ),
    ):
        seconds = median_seconds(kernel)
        least = floor_seconds(op, h * w, maps[0].element_size(), *peaks)
        row = {
            "op": op, "map": f"{w}x{h}", "type": str(dtype).removeprefix("torch."), "sampling": kind,
            "us": round(seconds * 1e6, 1), "floor_us": round(least * 1e6, 1), "times_floor": round(seconds / least, 2),
            "eager_us": round(median_seconds(eager) * 1e6, 1),
        }  # fmt: skip
        if dense:
            row["dense_attention_us"] = round(median_seconds(dense) * 1e6, 1)
        print(row, flush=True)
        rows.append(row)
    return rows


def eager_ffn(x: Tensor, expand: Tensor, bias: Tensor, *others: Tensor) -> Tensor:
    functional = torch.nn.functional
    normed = functional.layer_norm(x.float(), x.shape[-1:], eps=EPSILON).to(x.dtype)
    wide = functional.linear(normed, expand.T, bias.to(x.dtype))
    if len(others) == 2:
        first = wide.permute(0, 3, 1, 2)
        wide = functional.conv2d(first, others[0].to(x.dtype), padding=1, groups=first.shape[1]).permute(0, 2, 3, 1)
    a, b = wide.chunk(2, -1)
    return x + (functional.gelu(a) * b) @ others[-1]


def measure_ffn(op: str, size: tuple[int, int], dtype: torch.dtype, peaks: tuple[float, float]) -> dict:
    """The gated feed-forward of a block at half scale, or of a graph block at quarter scale."""
    divisor, channels, hidden = FFNS[op]
    h, w = (side // divisor for side in size)
    maps = [torch.randn(1, h, w, channels, device="cuda").to(dtype) for _ in range(INPUTS)]
    constants = [
        (torch.randn(channels, 2 * hidden, device="cuda") / channels**0.5).to(dtype),
        torch.randn(2 * hidden, device="cuda"),
        *([torch.randn(2 * hidden, 1, 3, 3, device="cuda")] if op == "DepthwiseGatedFfn" else []),
        (torch.randn(hidden, channels, device="cuda") / hidden**0.5).to(dtype),
    ]
    seconds = median_seconds([partial(cuda_ops.gated_ffn, x, *constants, epsilon=EPSILON) for x in maps])
    moved, products = 2 * maps[0].nbytes, 6 * h * w * channels * hidden
    least = max(moved / peaks[0], products / peaks[1])
    row = {
        "op": op, "map": f"{w}x{h}", "type": str(dtype).removeprefix("torch."),
        "us": round(seconds * 1e6, 1), "floor_us": round(least * 1e6, 1), "times_floor": round(seconds / least, 2),
        "eager_us": round(median_seconds([partial(eager_ffn, x, *constants) for x in maps]) * 1e6, 1),
    }  # fmt: skip
    print(row, flush=True)
    return row


def summary(rows: list[dict]) -> dict[str, dict[str, float]]:
    """By op, over the samplings of its largest map of a 768×512 image in float16."""
    found = {}
    for op in ("ComplexityMap", "DynamicKnn", "ScatterAggregate", *FFNS):
        map_ = "384x256" if op == "GatedFfn" else "192x128"
        chosen = [row for row in rows if (row["op"], row["map"], row["type"]) == (op, map_, "float16")]
        found[op] = {
            "over_eager": min(row["eager_us"] / row["us"] for row in chosen),
            "times_floor": max(row["times_floor"] for row in chosen),
        }
        if op == "ScatterAggregate":
            found[op]["over_dense_attention"] = min(row["dense_attention_us"] / row["us"] for row in chosen)
    return {op: {what: round(value, 2) for what, value in ratios.items()} for op, ratios in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_ops", description=__doc__)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("needs an NVIDIA GPU and a PyTorch built for CUDA; nothing was measured")
    peaks = rates()
    print(f"memory: {peaks[0] / 1e12:.2f} TB/s, products in bfloat16: {peaks[1] / 1e12:.0f} TFLOP/s", flush=True)
    rows = [
        row
        for size in IMAGES.values()
        for divisor in (4, 8)
        for dtype in (torch.float16, torch.bfloat16, torch.float32)
        for sampling in (LOCAL, GLOBAL)
        for row in measure(size, divisor, dtype, sampling, peaks)
    ]
    rows += [
        measure_ffn(op, size, dtype, peaks)
        for op in FFNS
        for size in IMAGES.values()
        for dtype in (torch.float16, torch.bfloat16)
    ]
    if args.json:
        found = {
            "gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "repeats": REPEATS,
            "bytes_a_second": peaks[0], "flops": peaks[1], "rows": rows,
        }  # fmt: skip
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(summary(rows)))


if __name__ == "__main__":
    main()
