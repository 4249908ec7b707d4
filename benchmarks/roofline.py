"""The time that the products of the codec's graphs would take at the rate at which this machine multiplies in cache."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from export.checkpoint import load_checkpoint
from export.graphs import entropy_graphs, transform_graphs
from glic_deploy.backends.base import Precision
from glic_deploy.backends.onnxruntime import session_options
from glic_deploy.ops import DOMAIN

_BLOCK = 128
_ROWS, _INPUTS, _OUTPUTS = 768, 256, 512  # their product's operands and results stay in a cache of 2 MiB
_RUNS = 30
_INTEGER_STAGES = ("hyper_synthesis", "slice")


class Rates(NamedTuple):
    """Multiply-adds a second of products in cache: of the transforms' precision, and of the exact entropy path."""

    products: float
    integer: float


def measure(precision: Precision, threads: int) -> Rates:
    """Measure the best rates of `_RUNS` runs: the runtime's product and ours in float32, else ours alone."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(_INPUTS, _OUTPUTS)).astype(np.float32)
    candidates = [_rate("Projection", DOMAIN, {"weight": weight}, precision, threads)]
    if precision == "fp32":
        candidates.append(_rate("MatMul", "", {"weight": weight}, precision, threads))
    constants: dict[str, NDArray[Any]] = {
        "weight": rng.integers(-127, 127, (_INPUTS, _OUTPUTS)).astype(np.int8),
        "bias": np.zeros(_OUTPUTS, np.int32),
        "shift": np.full(_OUTPUTS, 8, np.int32),
    }
    return Rates(max(candidates), _rate("IntegerLinear", DOMAIN, constants, precision, threads, limit=511))


def _rate(
    op: str,
    domain: str,
    constants: dict[str, NDArray[Any]],
    precision: Precision,
    threads: int,
    **attributes: Any,
) -> float:
    """Return the multiply-adds a second of the fastest of `_RUNS` runs of one node."""
    graph = helper.make_graph(
        [helper.make_node(op, ["x", *constants], ["out"], domain=domain, **attributes)],
        op,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [_ROWS, _INPUTS])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    session = ort.InferenceSession(
        model, session_options(threads, products=precision), providers=["CPUExecutionProvider"]
    )
    x = np.rint(np.random.default_rng(1).normal(0, 100, (_ROWS, _INPUTS))).astype(np.float32)
    best = float("inf")
    for _ in range(_RUNS):
        start = time.perf_counter()
        session.run(None, {"x": x})
        best = min(best, time.perf_counter() - start)
    return _ROWS * _INPUTS * _OUTPUTS / best


def work(checkpoint: str | Path, height: int, width: int) -> dict[str, float]:
    """Count the multiply-adds of each graph's convolutions and products with weights, for an image of this size.

    A graph is run at one block of 128×128, since the counts are proportional to the area. The attention over edges is
    not counted, since its work depends on the image.
    """
    blocks = -(-height // _BLOCK) * -(-width // _BLOCK)
    loaded = load_checkpoint(checkpoint)
    counts: dict[str, float] = {}
    for spec in (*transform_graphs(loaded), *entropy_graphs(loaded)):
        counts[spec.name] = _count(spec.build().eval(), spec.examples(1, 1)) * blocks
    return counts


def _count(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    counts = counter.get_flop_counts()["Global"]
    return sum(count for op, count in counts.items() if "bmm" not in str(op)) / 2


def limits(counts: dict[str, float], rates: Rates) -> dict[str, float]:
    """Return the seconds that each graph's products take at these rates."""
    return {
        name: count / (rates.integer if name.startswith(_INTEGER_STAGES) else rates.products)
        for name, count in counts.items()
    }


def limit_of(direction: str, seconds: dict[str, float]) -> float:
    """Return the seconds of all graphs that "encode" or "decode" runs."""
    skipped = ("synthesis",) if direction == "encode" else ("analysis", "hyper_analysis")
    return sum(value for name, value in seconds.items() if name not in skipped)
