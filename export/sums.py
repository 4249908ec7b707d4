"""Count the nodes of a graph whose results depend on how a runtime's libraries sum."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import GraphProto, ModelProto, NodeProto

from glic_deploy.ops import DOMAIN

# Each result of these ops is computed from single values, or is one of the inputs. Where these are integers held in
# float32 below 2^24 and powers of two, the ops have only one result on any device.
_WITHOUT_SUMS = {
    "Add", "Cast", "Clip", "Concat", "Constant", "Div", "Equal", "Expand", "Floor", "Gather", "GatherElements",
    "Greater", "GreaterOrEqual", "Identity", "Less", "Max", "Min", "Mul", "Pad", "Reshape", "Round", "Shape", "Slice",
    "Split", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where",
}  # fmt: skip


def left_to_libraries(model: ModelProto) -> int:
    """Count the nodes, also in subgraphs, that are neither ops of ours nor known to sum nothing."""
    return sum(node.domain != DOMAIN and node.op_type not in _WITHOUT_SUMS for node in _nodes(model.graph))


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from _nodes(attribute.g)
