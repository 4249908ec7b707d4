"""Rewrite gated feed-forward networks to ops that a GPU computes as one kernel each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from glic_deploy.ops import DOMAIN

from .ops.translation import PLUGIN
from .rewriting import TO_FIRST, TO_LAST, Graph, is_transposition

MOST_CHANNELS = {"GatedFfn": 128, "DepthwiseGatedFfn": 192}
"""The most channels that the kernels take."""

_MULTIPLE = 8  # of channels, also of hidden ones


def fuse_gated_ffns(model: ModelProto) -> None:
    """Rewrite every x + project(GELU(a) · b) of a float32 graph as one op, in place.

    - `glic::GatedFfn`: a and b are the halves of expand(norm(x)), channels-last.
    - `glic::DepthwiseGatedFfn`: a and b are products of norm(x), each filtered by a depthwise 3×3 convolution.

    The weights of the norm are multiplied into those of the first product. Networks whose sizes the kernels do not take
    stay as they are.
    """
    graph = Graph(model)
    for node in list(model.graph.node):
        if node.op_type == "LayerNormalization":
            _fuse_pointwise(graph, node)
            _fuse_depthwise(graph, node)
    graph.finish()


def _fuse_pointwise(graph: Graph, norm: NodeProto) -> None:
    x = norm.input[0]
    expand = graph.after(norm, "MatMul")
    split = graph.after(expand, "Split")
    gelu = graph.after(split, "Gelu")
    gate = graph.after(gelu, "Mul")
    project = graph.after(gate, "MatMul")
    result = graph.after(project, "Add")
    if not (expand and split and gelu and gate and project and result):
        return
    if set(gate.input) != {gelu.output[0], split.output[1]} or set(result.input) != {x, project.output[0]}:
        return
    first, second = (graph.array(product.input[1]) for product in (expand, project))
    _replace(graph, "GatedFfn", [norm, expand, split, gelu, gate, project, result], first, second)


def _fuse_depthwise(graph: Graph, norm: NodeProto) -> None:
    x = norm.input[0]
    first = graph.after(norm, "Transpose")
    expands = graph.users(first.output[0]) if first is not None else []
    filters = [graph.after(expand, "Conv") for expand in expands]
    if first is None or not is_transposition(first, TO_FIRST) or len(filters) != 2 or None in filters:
        return
    gelus = [graph.after(each, "Gelu") for each in filters]
    if gelus[0] is None:
        expands, filters, gelus = expands[::-1], filters[::-1], gelus[::-1]
    gate = graph.after(gelus[0], "Mul")
    project = graph.after(gate, "Conv")
    last = graph.after(project, "Transpose")
    result = graph.after(last, "Add")
    if not (gelus[0] and gate and project and last and result and filters[0] and filters[1]):
        return
    convolutions = [*expands, filters[0], filters[1], project]
    if any(len(node.input) != 2 or node.op_type != "Conv" for node in convolutions):
        return
    if not is_transposition(last, TO_LAST) or set(gate.input) != {gelus[0].output[0], filters[1].output[0]}:
        return
    weights = [graph.array(node.input[1]) for node in convolutions]
    *ones, a_filter, b_filter, project_weight = weights
    filter_ = np.concatenate([a_filter, b_filter])
    if any(each.shape[2:] != (1, 1) for each in (*ones, project_weight)) or filter_.shape[1:] != (1, 3, 3):
        return
    if set(result.input) != {x, last.output[0]}:
        return
    nodes = [norm, first, *expands, filters[0], filters[1], gelus[0], gate, project, last, result]
    expand = np.concatenate([each[:, :, 0, 0] for each in ones]).T
    _replace(graph, "DepthwiseGatedFfn", nodes, expand, project_weight[:, :, 0, 0].T, filter_)


def _replace(
    graph: Graph,
    op: str,
    nodes: list[NodeProto],
    expand: NDArray[np.float32],
    project: NDArray[np.float32],
    filter_: NDArray[np.float32] | None = None,
) -> None:
    """Replace nodes, of which the first is the norm, by the op, if the kernel takes these sizes."""
    norm, out = nodes[0], nodes[-1].output[0]
    hidden, channels = project.shape
    if channels > MOST_CHANNELS[op] or channels % _MULTIPLE or hidden % _MULTIPLE:
        return
    if expand.shape != (channels, 2 * hidden) or (filter_ is not None and len(filter_) != 2 * hidden):
        return
    weight, offset = (graph.array(name).astype(np.float64) for name in norm.input[1:])
    constants: dict[str, NDArray[np.floating]] = {
        "expand": weight[:, None] * expand,
        "bias": offset @ expand,
        **({} if filter_ is None else {"filter": filter_}),
        "project": project,
    }
    names = [graph.constant(f"{out}_{name}", values.astype(np.float32)) for name, values in constants.items()]
    attributes = {a.name: helper.get_attribute_value(a) for a in norm.attribute if a.name == "epsilon"}
    if filter_ is not None:
        attributes["channels"] = len(filter_)
    node = helper.make_node(op, [norm.input[0], *names], [out], domain=DOMAIN, **attributes, **PLUGIN)
    graph.replace(nodes, [node])
