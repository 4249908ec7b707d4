"""The integer CUDA kernels, on the emulator or a GPU, against the oracle: single layers, and whole graphs whose other
nodes are as ONNX defines them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from export.integer.network import WIDE, Depthwise, GatedFFN, Ints, Linear
from export.integer.oracle import Oracle
from export.integer.quantise import rsqrt_table
from glic_deploy.backends.base import Backend
from glic_deploy.bundle import Bundle
from glic_deploy.ops import DOMAIN, OPS

from . import cuda_emulator
from .integer_networks import LATENT, RandomNetworks

Array = NDArray[Any]
Runner = Callable[[str, Sequence[int], Sequence[Array]], Array]
"""Computes an op, as its kernel's C function names it, from the fields of its size and its inputs in order."""


def _of_rows(x: Array, weight: Array, *_: Array) -> tuple[int, ...]:
    return (x[..., 0].size, *weight.shape)


def _of_stream(stream: Array, *constants: Array) -> tuple[int, ...]:
    return (stream[..., 0].size, *constants[7].shape[::-1])


FUNCTIONS: dict[str, tuple[str, Callable[..., tuple[int, ...]]]] = {
    "IntegerLinear": ("integer_linear", _of_rows),
    "IntegerGatedFfn": ("integer_gated_ffn", _of_stream),
    "IntegerDepthwise": ("integer_depthwise", lambda x, *_: x.shape),
}
"""The C function of each op, and what its size begins with. The attributes follow."""


def on_emulator(op: str, size: Sequence[int], inputs: Sequence[Array]) -> Array:
    return np.frombuffer(cuda_emulator.run(op, size, inputs), np.float32)


def reversed_on_emulator(op: str, size: Sequence[int], inputs: Sequence[Array]) -> Array:
    return np.frombuffer(cuda_emulator.run(op, size, inputs, reverse=True), np.float32)


def compute(op: str, inputs: Sequence[Array], attributes: Sequence[int], runner: Runner = on_emulator) -> Array:
    """The output of a node. inputs: the map held in float32, and the constants in their types."""
    function, size = FUNCTIONS[op]
    result = runner(function, (*size(*inputs), *attributes), inputs)
    return result.reshape(*inputs[0].shape[:-1], inputs[-1].size)  # the last input has a value for each channel


def bundle_graphs(bundle: Bundle, form: str) -> Iterator[tuple[str, ModelProto]]:
    """The graphs of a bundle's entropy path in one form."""
    for name in bundle.exact_graphs():
        yield name, onnx.load(bundle.graph(name, [form]))


def _kernel(op: str, runner: Runner) -> type[OpRun]:
    def run(self: OpRun, *inputs: Array, **attributes: Any) -> tuple[Array]:
        return (compute(op, inputs, [attributes[name] for name in OPS[op].attributes], runner),)

    return type(op, (OpRun,), {"op_domain": DOMAIN, "_run": run})


class GatherElements(OpRun):
    """In place of onnx's own, which fails if two maps differ in the axis that is looked up."""

    op_domain = ""

    def _run(self, data: Array, indices: Array, axis: int = 0) -> tuple[Array]:
        return (np.take_along_axis(data, indices, axis),)


class KernelBackend(Backend):
    """Graphs on ONNX's reference evaluator, with our ops on the CUDA kernels."""

    name = "kernels"

    def __init__(self, graphs: Iterable[tuple[str, ModelProto]], runner: Runner = on_emulator) -> None:
        kernels = [*(_kernel(op, runner) for op in FUNCTIONS), GatherElements]
        self._graphs = {name: ReferenceEvaluator(model, new_ops=kernels) for name, model in graphs}

    def run(self, graph: str, inputs: Mapping[str, Array]) -> list[Array]:
        results: list[Array] = list(self._graphs[graph].run(None, dict(inputs)))
        return results

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}

    def close(self) -> None:
        pass


ORACLE = Oracle(rsqrt_table())


def layer(linear: Linear | Depthwise) -> list[Array]:
    return [linear.weight.astype(np.int8), linear.bias.astype(np.int32), linear.shift.astype(np.int32)]


def run_linear(x: Ints, linear: Linear, runner: Runner = on_emulator) -> Array:
    return compute("IntegerLinear", [x.astype(np.float32), *layer(linear)], [linear.limit], runner)


def run_depthwise(x: Ints, depthwise: Depthwise, runner: Runner = on_emulator) -> Array:
    return compute("IntegerDepthwise", [x.astype(np.float32), *layer(depthwise)], [depthwise.limit], runner)


def run_gated_ffn(stream: Ints, ffn: GatedFFN, runner: Runner = on_emulator) -> Array:
    inputs = [
        stream.astype(np.float32),
        ffn.norm.fraction.astype(np.int32),
        ORACLE.rsqrt.astype(np.int32),
        *layer(ffn.project_in),
        ffn.gelu.astype(np.int32),
        ffn.gate.shift.astype(np.int32),
        *layer(ffn.project_out),
    ]
    attributes = [ffn.norm.input_shift, ffn.norm.limit, ffn.gate.limit]
    return compute("IntegerGatedFfn", inputs, attributes, runner)


def integers(rng: np.random.Generator, limit: int, *shape: int) -> Ints:
    """Integers of every magnitude up to a limit, which is reached."""
    drawn = rng.integers(-limit, limit, shape, endpoint=True) >> rng.integers(0, limit.bit_length(), shape)
    return np.where(rng.random(shape) < 0.05, rng.choice([-limit, limit], shape), drawn)


# Sides on, before and behind the bounds of tiles and stages; rows that words of four divide and do not.
SIZES = [(1, 1, 1), (64, 64, 64), (65, 128, 72), (3, 63, 65), (130, 20, 7), (2, 200, 4)]
MAPS = [(1, 1, 1), (3, 2, 5), (5, 4, 7), (6, 9, 130), (2, 33, 4)]
# Layers of the network of the released size: positions, inputs, outputs.
FULL_LINEAR = [(48, 2304, 384), (70, 596, 384), (5, 512, 469)]
FULL_FFN = [(17, 384, 1536), (3, 469, 1876), (2, 896, 3584)]


def check_linear(positions: int, inputs: int, outputs: int, runner: Runner = on_emulator) -> None:
    linear = RandomNetworks(inputs).linear(inputs, outputs, LATENT, WIDE, 4)
    x = integers(np.random.default_rng(outputs), LATENT, positions, inputs)
    np.testing.assert_array_equal(run_linear(x, linear, runner), ORACLE.linear(x, linear))


def check_gated_ffn(positions: int, channels: int, hidden: int, runner: Runner = on_emulator) -> None:
    ffn = RandomNetworks(channels).ffn(channels, hidden)
    stream = integers(np.random.default_rng(hidden), WIDE, positions, channels)
    np.testing.assert_array_equal(run_gated_ffn(stream, ffn, runner), ORACLE.gated_ffn(stream, ffn))


def check_depthwise(rows: int, columns: int, channels: int, runner: Runner = on_emulator) -> None:
    depthwise = RandomNetworks(1).transform(channels, channels).depthwise
    x = integers(np.random.default_rng(2), LATENT, rows, columns, channels)
    np.testing.assert_array_equal(run_depthwise(x, depthwise, runner), ORACLE.depthwise(x, depthwise))
