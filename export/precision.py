"""Rewrite a graph to half precision with explicit casts, so that strongly typed runtimes follow ONNX exactly.

Products, convolutions and the nodes between them are computed in float16 or bfloat16. Layer norms, sums, roots, powers,
and the nodes before the first and after the last product stay in float32. So does the complexity map that decides each
node's degree: its op reads the map that the graph ops read, in whichever type, and computes in float32. The graph's
inputs and outputs keep their types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from glic_deploy.ops import DOMAIN, OPS

from .ops.functions import attach_functions

HALVES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}

_PRODUCTS = {"Conv", "ConvTranspose", "MatMul", "Gemm"} | {
    "DynamicKnn", "ScatterAggregate", "GatedFfn", "DepthwiseGatedFfn",
}  # fmt: skip
_ALSO_HALF = {"Add", "Sub", "Mul", "Div", "Gelu", "LeakyRelu", "Relu"} | {
    "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Split", "Concat", "Slice", "Pad", "Gather", "DepthToSpace",
}  # fmt: skip
# Positions of the custom ops' inputs that are float32 in any precision.
_ALWAYS_FLOAT = {op.name: op.inputs_of("float32") for op in OPS.values()}
_OPSET_OF_BFLOAT16 = 22  # the first in which Conv supports bfloat16


def in_half_precision(model: ModelProto, precision: str) -> ModelProto:
    """Copy a float32 graph; the copy computes products in `precision`, a key of HALVES."""
    model = ModelProto.FromString(model.SerializeToString())
    if HALVES[precision] == TensorProto.BFLOAT16:
        standard = next(opset for opset in model.opset_import if not opset.domain)
        standard.version = max(standard.version, _OPSET_OF_BFLOAT16)
    _Rewriter(model, HALVES[precision]).rewrite()
    if any(node.domain == DOMAIN for node in model.graph.node):
        attach_functions(model)
    onnx.checker.check_model(model)
    return model


class _Rewriter:
    def __init__(self, model: ModelProto, half: int) -> None:
        self.graph, self.half = model.graph, half
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer}
        # Element type of every value; `rewrite` updates the types as it visits the nodes.
        self.types = {name: tensor.data_type for name, tensor in self.constants.items()}
        self.types |= {value.name: value.type.tensor_type.elem_type for value in self.graph.input}
        self.casts: dict[tuple[str, int], str] = {}

    def rewrite(self) -> None:
        chosen = self._nodes_in_half()
        nodes = list(self.graph.node)
        del self.graph.node[:], self.graph.value_info[:]
        for node in nodes:
            in_half = node.output[0] in chosen
            for position, name in enumerate(node.input):
                if self._is_float(name) and node.op_type != "ComplexityMap":
                    keep = node.domain == DOMAIN and position in _ALWAYS_FLOAT[node.op_type]
                    wanted = self.half if in_half and not keep else TensorProto.FLOAT
                    node.input[position] = self._as_type(name, wanted)
            self._note_outputs(node)
            self.graph.node.append(node)
        for value in self.graph.output:
            self._end_as(value.name, value.type.tensor_type.elem_type)
        used = {name for node in self.graph.node for name in node.input}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)

    def _nodes_in_half(self) -> set[str]:
        """Return the first outputs of the products that results depend on, and of the nodes between two products."""
        nodes = self._contributing()
        after_product = _reached(nodes, lambda node: node.input, lambda node: node.output)
        before_product = _reached(nodes[::-1], lambda node: node.output, _result_inputs)
        between = after_product & before_product
        return {
            node.output[0]
            for node in nodes
            if node.op_type in _PRODUCTS or (node.op_type in _ALSO_HALF and node.output[0] in between)
        }

    def _contributing(self) -> list[NodeProto]:
        """Return the nodes on which a result depends other than through a complexity map."""
        wanted = {value.name for value in self.graph.output}
        found = []
        for node in reversed(self.graph.node):
            if wanted.intersection(node.output):
                found.append(node)
                wanted.update(_result_inputs(node))
        return found[::-1]

    def _is_float(self, name: str) -> bool:
        return self.types.get(name) in (TensorProto.FLOAT, self.half)

    def _as_type(self, name: str, wanted: int) -> str:
        if self.types[name] == wanted:
            return name
        if (name, wanted) not in self.casts:
            cast = f"{name}.{TensorProto.DataType.Name(wanted).lower()}"
            if name in self.constants:
                self.graph.initializer.append(_converted(self.constants[name], cast, wanted))
            else:
                self.graph.node.append(helper.make_node("Cast", [name], [cast], name=cast, to=wanted))
            self.types[cast] = wanted
            self.casts[name, wanted] = cast
        return self.casts[name, wanted]

    def _note_outputs(self, node: NodeProto) -> None:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        fixed = {
            "Shape": TensorProto.INT64,
            "ComplexityMap": TensorProto.FLOAT,
            "DynamicKnn": TensorProto.INT32,
            "Cast": attributes.get("to"),
        }
        kind = fixed.get(node.op_type) or self.types[node.input[0]]
        self.types |= dict.fromkeys(node.output, kind)

    def _end_as(self, name: str, wanted: int) -> None:
        """Cast a graph's output to its declared type if its node computes another type."""
        if self.types[name] == wanted:
            return
        node = next(node for node in self.graph.node if name in node.output)
        inner = f"{name}.inner"
        for part in [node, *self.graph.node]:
            part.input[:] = [inner if i == name else i for i in part.input]
        node.output[:] = [inner if o == name else o for o in node.output]
        self.graph.node.append(helper.make_node("Cast", [inner], [name], name=name, to=wanted))


def _result_inputs(node: NodeProto) -> list[str]:
    """Return a node's inputs except the complexity map."""
    return [name for i, name in enumerate(node.input) if (node.op_type, i) != ("DynamicKnn", 1)]


Values = Callable[[NodeProto], Iterable[str]]


def _reached(nodes: Iterable[NodeProto], joins: Values, leads: Values) -> set[str]:
    """Return the first outputs of the nodes that are connected to a product.

    A node is connected if one of its `joins` is among the `leads` of a product or of a connected node before it.
    """
    values: set[str] = set()
    reached = set()
    for node in nodes:
        if values.intersection(joins(node)):
            reached.add(node.output[0])
        if node.output[0] in reached or node.op_type in _PRODUCTS:
            values.update(leads(node))
    return reached


def _converted(tensor: TensorProto, name: str, wanted: int) -> TensorProto:
    kinds: dict[int, type[Any]] = {
        TensorProto.FLOAT: np.float32,
        TensorProto.FLOAT16: np.float16,
        TensorProto.BFLOAT16: ml_dtypes.bfloat16,
    }
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(kinds[wanted]), name)
