"""Rewrite feed-forward networks without a convolution to `glic::GatedFfn`, which the GPU computes as one kernel."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, helper

from glic_deploy.ops import DOMAIN

from .ops.translation import PLUGIN
from .rewriting import Graph

MOST_CHANNELS = 128
"""The most channels that the kernel takes."""

_MULTIPLE = 8  # of channels, also of hidden ones


def fuse_gated_ffns(model: ModelProto) -> int:
    """Rewrite every x + project(GELU(a) · b), with a and b the halves of expand(norm(x)), as one op, in place.

    The weights of the norm are multiplied into those of the first product. Networks whose sizes the kernel does not
    take stay as they are. Returns the number of rewritten networks.
    """
    graph = Graph(model)
    fused = sum(_fuse(graph, node) for node in list(model.graph.node) if node.op_type == "LayerNormalization")
    graph.finish()
    return fused


def _fuse(graph: Graph, norm: NodeProto) -> bool:
    x, weight, offset = norm.input
    expand = graph.after(norm, "MatMul")
    split = graph.after(expand, "Split")
    gelu = graph.after(split, "Gelu")
    gate = graph.after(gelu, "Mul")
    project = graph.after(gate, "MatMul")
    result = graph.after(project, "Add")
    if not (expand and split and gelu and gate and project and result):
        return False
    if set(gate.input) != {gelu.output[0], split.output[1]} or set(result.input) != {x, project.output[0]}:
        return False
    first, second = (graph.array(product.input[1]) for product in (expand, project))
    (hidden, channels), most = second.shape, MOST_CHANNELS
    if channels > most or channels % _MULTIPLE or hidden % _MULTIPLE or first.shape != (channels, 2 * hidden):
        return False
    wide = first.astype(np.float64)
    weights = graph.constant(f"{expand.input[1]}_normed", (graph.array(weight)[:, None] * wide).astype(np.float32))
    bias = graph.constant(f"{expand.input[1]}_bias", (graph.array(offset) @ wide).astype(np.float32))
    epsilon = next(helper.get_attribute_value(a) for a in norm.attribute if a.name == "epsilon")
    inputs = [x, weights, bias, project.input[1]]
    node = helper.make_node("GatedFfn", inputs, result.output, domain=DOMAIN, epsilon=epsilon, **PLUGIN)
    graph.replace([norm, expand, split, gelu, gate, project, result], [node])
    return True
