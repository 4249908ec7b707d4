"""Rewrite pointwise gated feed-forward networks to run over strips of positions.

A feed-forward block widens a map eightfold and narrows it again. At half scale of a 768×512 image the wide map needs
400 MB. Its positions are independent: a Scan over strips of STRIP positions computes the same values, and the wide map
of a strip stays in the CPU's cache.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

STRIP = 256  # positions; divides the number of positions at 1/2, 1/4 and 1/8 scale of any padded image
_CHAIN = ("MatMul", "Gate", "MatMul")


def in_strips(model: ModelProto) -> ModelProto:
    """Copy a transform's native graph, and rewrite the feed-forward networks of the copy as Scans."""
    model = ModelProto.FromString(model.SerializeToString())
    chains = [chain for node in model.graph.node if (chain := _chain_from(node, model.graph))]
    for number, chain in enumerate(chains):
        _rewrite(model.graph, chain, f"strips{number}")
    onnx.checker.check_model(model)
    return model


def _chain_from(node: NodeProto, graph: GraphProto) -> list[NodeProto] | None:
    """Return the nodes of x → W₂·gate(W₁·x) if `node` is the first of them, or None."""
    chain = [node] if node.op_type == _CHAIN[0] else []
    while chain and len(chain) < len(_CHAIN):
        users = [n for n in graph.node if set(chain[-1].output) & set(n.input)]
        following = next((n for n in users if n.op_type == _CHAIN[len(chain)]), None)
        chain = [*chain, following] if following else []
    return chain or None


def _rewrite(graph: GraphProto, chain: list[NodeProto], name: str) -> None:
    constants = {tensor.name: tensor for tensor in graph.initializer}
    first, last = constants[chain[0].input[1]], constants[chain[-1].input[1]]
    x, out = chain[0].input[0], chain[-1].output[0]
    channels, width = first.dims[0], last.dims[1]

    def inner(value: str) -> str:
        """Return the name of a value inside the body: a constant keeps its name, all other names must be new."""
        return value if value in constants else f"{name}_{value}"

    body = helper.make_graph(
        [NodeProto.FromString(node.SerializeToString()) for node in chain],
        f"{name}_body",
        [helper.make_tensor_value_info(inner(x), TensorProto.FLOAT, [1, 1, STRIP, channels])],
        [helper.make_tensor_value_info(inner(out), TensorProto.FLOAT, [1, 1, STRIP, width])],
    )
    for node in body.node:
        node.input[:] = [inner(value) for value in node.input]
        node.output[:] = [inner(value) for value in node.output]
    strips = numpy_helper.from_array(np.array([-1, 1, 1, STRIP, channels]), f"{name}_shape")
    widths = numpy_helper.from_array(np.array([width]), f"{name}_width")
    graph.initializer.extend([strips, widths])
    rewritten = [
        helper.make_node("Reshape", [x, strips.name], [f"{name}_cut"]),
        helper.make_node("Scan", [f"{name}_cut"], [f"{name}_joined"], body=body, num_scan_inputs=1),
        helper.make_node("Shape", [x], [f"{name}_positions"], end=-1),
        helper.make_node("Concat", [f"{name}_positions", widths.name], [f"{name}_whole"], axis=0),
        helper.make_node("Reshape", [f"{name}_joined", f"{name}_whole"], [out]),
    ]
    replaced = {o for node in chain for o in node.output}
    kept = []
    for node in graph.node:
        if out in node.output:
            kept += rewritten
        elif not replaced.intersection(node.output):
            kept.append(node)
    values = [value for value in graph.value_info if value.name not in replaced - {out}]
    for field, contents in ((graph.node, kept), (graph.value_info, values)):
        del field[:]
        field.extend(contents)
