"""The entropy path's graphs with our ops as CUDA kernels compute them, and the other nodes as ONNX defines them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from glic_deploy.backends.base import Backend
from glic_deploy.bundle import Bundle
from glic_deploy.ops import DOMAIN, OPS

from . import cuda_emulator

Array = NDArray[Any]
Runner = Callable[[str, Sequence[int], Sequence[Array]], Array]
"""Computes an op, as its kernel's C function names it, from the fields of its size and its inputs in order."""


def _of_rows(x: Array, weight: Array, *_: Array) -> tuple[int, ...]:
    return (x[..., 0].size, *weight.shape)


def _of_stream(stream: Array, *constants: Array) -> tuple[int, ...]:
    return (stream[..., 0].size, *constants[7].shape[::-1])


SIZES: dict[str, tuple[str, Callable[..., tuple[int, ...]]]] = {
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
    function, size = SIZES[op]
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
        kernels = [*(_kernel(op, runner) for op in SIZES), GatherElements]
        self._graphs = {name: ReferenceEvaluator(model, new_ops=kernels) for name, model in graphs}

    def run(self, graph: str, inputs: Mapping[str, Array]) -> list[Array]:
        return self._graphs[graph].run(None, dict(inputs))

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}

    def close(self) -> None:
        pass
