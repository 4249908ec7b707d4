"""Holds a graph while it is rewritten: finds the nodes of a pattern, and replaces them."""

from __future__ import annotations

from collections import Counter

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

TO_LAST, TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]
"""The permutations that move the channels of a map last, and first."""


class Graph:
    """Hold a graph that is being rewritten, and find the node that makes a value, its users, and constants."""

    def __init__(self, model: ModelProto) -> None:
        self.graph = model.graph
        self.makers = {output: node for node in self.graph.node for output in node.output}
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer}
        self._uses = Counter(name for node in self.graph.node for name in node.input)
        self._uses.update(value.name for value in self.graph.output)
        self._replaced: dict[str, list[NodeProto]] = {}
        self._dropped: list[NodeProto] = []

    def maker(self, value: str, kind: str) -> NodeProto | None:
        """Return the node that makes a value, if it is of this kind and the value has a single user, or None."""
        node = self.makers.get(value)
        return node if node is not None and node.op_type == kind and self._uses[value] == 1 else None

    def before(self, node: NodeProto | None, kind: str) -> NodeProto | None:
        """Return the `maker` of a node's first input, or None; also None if `node` is None."""
        return None if node is None else self.maker(node.input[0], kind)

    def users(self, value: str) -> list[NodeProto]:
        """Return the nodes that use a value."""
        return [node for node in self.graph.node if value in node.input]

    def user(self, value: str, kind: str) -> NodeProto | None:
        """Return the single user of a value, if it is of this kind, or None."""
        users = self.users(value)
        return users[0] if len(users) == 1 and users[0].op_type == kind else None

    def after(self, node: NodeProto | None, kind: str) -> NodeProto | None:
        """Return the `user` of a node's first output, or None; also None if `node` is None."""
        return None if node is None else self.user(node.output[0], kind)

    def array(self, name: str) -> np.ndarray:
        """Return the values of a constant."""
        return numpy_helper.to_array(self.constants[name])

    def constant(self, name: str, values: np.ndarray) -> str:
        """Add a constant, unless the name exists already, and return its name."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
            self.graph.initializer.append(self.constants[name])
        return name

    def replace(self, old: list[NodeProto], new: list[NodeProto]) -> None:
        """Replace old nodes by new ones, which must make all outputs of the last old node and stand in its place."""
        self._replaced[old[-1].output[0]] = new
        self._dropped += old

    def finish(self) -> None:
        """Apply the replacements, and drop the nodes, constants and value types that are no longer used."""
        dropped = {output for node in self._dropped for output in node.output}
        nodes: list[NodeProto] = []
        for node in self.graph.node:
            if node.output[0] in self._replaced:
                nodes += self._replaced[node.output[0]]
            elif node.output[0] not in dropped:
                nodes.append(node)
        used = {value.name for value in self.graph.output}
        kept: list[NodeProto] = []
        for node in reversed(nodes):  # backwards, to drop also the nodes that only dropped nodes used
            if used.intersection(node.output):
                kept.insert(0, node)
                used.update(node.input)
        tensors = [tensor for tensor in self.graph.initializer if tensor.name in used]
        values = [value for value in self.graph.value_info if value.name not in dropped - set(self._replaced)]
        for field, contents in (
            (self.graph.node, kept),
            (self.graph.initializer, tensors),
            (self.graph.value_info, values),
        ):
            del field[:]
            field.extend(contents)


def is_transposition(node: NodeProto, order: list[int]) -> bool:
    """Return whether a node permutes the axes of a map in this order."""
    return node.op_type == "Transpose" and list(helper.get_attribute_value(node.attribute[0])) == order


def cancel_transpositions(model: ModelProto) -> bool:
    """Drop pairs of transpositions that cancel each other; return whether there was one."""
    graph = Graph(model)
    renamed = {}
    for node in model.graph.node:
        before = graph.makers.get(node.input[0]) if node.op_type == "Transpose" else None
        if before is not None and before.op_type == "Transpose":
            first, second = (helper.get_attribute_value(n.attribute[0]) for n in (before, node))
            if [first[axis] for axis in second] == list(range(len(first))):
                renamed[node.output[0]] = before.input[0]
    for node in model.graph.node:
        node.input[:] = [renamed.get(value, value) for value in node.input]
    Graph(model).finish()
    return bool(renamed)
