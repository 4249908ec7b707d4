"""Rewrites the transforms for the CPU kernels: gates as single ops, the graph blocks' feed-forward channels-last.

A GDFN is two 1×1 convolutions, two depthwise ones, a gate and a third 1×1 convolution, between two transpositions.
Channels-last it is a product, `glic::DepthwiseGate` and a product: nothing is transposed, and the gate costs no pass
over memory of its own. The wide maps of pointwise feed-forward networks stay in cache (see `strips`).
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from .ops.functions import attach_functions
from .ops.translation import DOMAIN
from .strips import run_in_strips


def for_kernels(model: ModelProto) -> ModelProto | None:
    """A copy of a transform's graph in terms of the native ops; None for the other graphs."""
    if model.graph.name not in ("analysis", "synthesis"):
        return None
    model = ModelProto.FromString(model.SerializeToString())
    graph = _Graph(model)
    for node in list(model.graph.node):
        if node.op_type == "Gelu":
            if not _fuse_gate(graph, node):
                _fuse_depthwise_gate(graph, node)
        elif node.op_type == "Split":
            _part_product(graph, node)
        elif node.op_type == "DepthToSpace":
            _name_pixel_shuffle(graph, node)
    graph.finish()
    run_in_strips(model)
    attach_functions(model)
    onnx.checker.check_model(model)
    return model


class _Graph:
    """A graph under reconstruction: who makes and who uses each value, and the constants."""

    def __init__(self, model: ModelProto) -> None:
        self.graph = model.graph
        self.makers = {output: node for node in self.graph.node for output in node.output}
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer}
        self._uses = Counter(name for node in self.graph.node for name in node.input)
        self._uses.update(value.name for value in self.graph.output)
        self._replaced: dict[str, list[NodeProto]] = {}
        self._dropped: list[NodeProto] = []

    def maker(self, value: str, kind: str) -> NodeProto | None:
        """The node of this kind that makes a value which nothing else uses."""
        node = self.makers.get(value)
        return node if node is not None and node.op_type == kind and self._uses[value] == 1 else None

    def user(self, value: str, kind: str) -> NodeProto | None:
        users = [node for node in self.graph.node if value in node.input]
        return users[0] if len(users) == 1 and users[0].op_type == kind else None

    def array(self, name: str) -> np.ndarray:
        return numpy_helper.to_array(self.constants[name])

    def constant(self, name: str, values: np.ndarray) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
            self.graph.initializer.append(self.constants[name])
        return name

    def replace(self, old: list[NodeProto], new: list[NodeProto]) -> None:
        """Put new nodes, which make all that the last old one made, in that one's place."""
        self._replaced[old[-1].output[0]] = new
        self._dropped += old

    def finish(self) -> None:
        dropped = {output for node in self._dropped for output in node.output}
        kept: list[NodeProto] = []
        for node in self.graph.node:
            if node.output[0] in self._replaced:
                kept += self._replaced[node.output[0]]
            elif node.output[0] not in dropped:
                kept.append(node)
        used = {name for node in kept for name in node.input}
        tensors = [tensor for tensor in self.graph.initializer if tensor.name in used]
        values = [value for value in self.graph.value_info if value.name not in dropped - set(self._replaced)]
        for field, contents in (
            (self.graph.node, kept),
            (self.graph.initializer, tensors),
            (self.graph.value_info, values),
        ):
            del field[:]
            field.extend(contents)


def _fuse_gate(graph: _Graph, gelu: NodeProto) -> bool:
    """GELU(a)·b of the halves of one map as `glic::Gate`."""
    split = graph.makers.get(gelu.input[0])
    mul = graph.user(gelu.output[0], "Mul")
    if split is None or split.op_type != "Split" or mul is None or set(mul.input) != {gelu.output[0], split.output[1]}:
        return False
    graph.replace([split, gelu, mul], [helper.make_node("Gate", [split.input[0]], [mul.output[0]], domain=DOMAIN)])
    return True


def _fuse_depthwise_gate(graph: _Graph, gelu: NodeProto) -> None:
    """A GDFN between transpositions as products around `glic::DepthwiseGate`."""
    mul = graph.user(gelu.output[0], "Mul")
    if mul is None:
        return
    other = next(value for value in mul.input if value != gelu.output[0])
    depthwise = [graph.maker(value, "Conv") for value in (gelu.input[0], other)]
    expand = [node and graph.maker(node.input[0], "Conv") for node in depthwise]
    project = graph.user(mul.output[0], "Conv")
    back = project and graph.user(project.output[0], "Transpose")
    if not all(depthwise) or not all(expand) or back is None or expand[0].input[0] != expand[1].input[0]:
        return
    there = graph.makers.get(expand[0].input[0])
    if there is None or there.op_type != "Transpose":
        return
    matrices = [graph.array(node.input[1])[:, :, 0, 0] for node in (*expand, project)]
    filters = np.concatenate([graph.array(node.input[1]) for node in depthwise])
    name = back.output[0]
    wide, gated = f"{name}_wide", f"{name}_gated"
    weights = [
        graph.constant(f"{project.input[1]}_expand", np.concatenate(matrices[:2]).T),
        graph.constant(f"{project.input[1]}_filter", filters),
        graph.constant(f"{project.input[1]}_project", matrices[2].T),
    ]
    graph.replace(
        [there, *expand, *depthwise, gelu, mul, project, back],
        [
            helper.make_node("MatMul", [there.input[0], weights[0]], [wide]),
            helper.make_node("DepthwiseGate", [wide, weights[1]], [gated], domain=DOMAIN, channels=len(filters)),
            helper.make_node("MatMul", [gated, weights[2]], [name]),
        ],
    )


def _part_product(graph: _Graph, split: NodeProto) -> None:
    """The parts of a biased product as products of their own, which needs no copy of them."""
    add = graph.maker(split.input[0], "Add")
    product = add and graph.maker(add.input[0], "MatMul")
    if add is None or product is None:
        return
    ends = np.cumsum(graph.array(split.input[1]))[:-1]
    weights = np.split(graph.array(product.input[1]), ends, axis=1)
    biases = np.split(graph.array(add.input[1]), ends)
    new = []
    for i, (out, weight, bias) in enumerate(zip(split.output, weights, biases, strict=True)):
        weight_name = graph.constant(f"{product.input[1]}_part{i}", weight)
        bias_name = graph.constant(f"{add.input[1]}_part{i}", bias)
        new.append(helper.make_node("MatMul", [product.input[0], weight_name], [f"{out}_unbiased"]))
        new.append(helper.make_node("Add", [f"{out}_unbiased", bias_name], [out]))
    graph.replace([product, add, split], new)


def _name_pixel_shuffle(graph: _Graph, node: NodeProto) -> None:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if attributes == {"blocksize": 2, "mode": b"CRD"}:
        graph.replace([node], [helper.make_node("PixelShuffle", node.input, node.output, domain=DOMAIN)])
