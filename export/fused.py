"""Rewrite the native form of a transform so that whole blocks are one op each, with their products.

- A residual sum, norm, product, gate, product and second residual sum become `glic::FeedForward`, or
  `glic::DepthwiseFeedForward` if the gate convolves: the wide maps between the products never reach memory.
- A feed-forward with the depthwise mixer before it becomes `glic::GatedTransform`.
- A norm and the products for queries, keys and values become `glic::NormQkv`.
- Every other product with a constant matrix becomes `glic::Projection`.
- Convolutions become `glic::Convolution` (`export/convolutions.py`).
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper

from glic_deploy.ops import DOMAIN

from .convolutions import convolve_channels_last
from .ops.functions import attach_functions
from .rewriting import Graph


def fuse_blocks(model: ModelProto) -> ModelProto:
    """Copy a transform's native graph, and rewrite the copy to the ops of whole blocks.

    The graph must have its convolutions still, not Winograd's transformations. A pattern that is not found stays as it
    is; `export.native.unmatched` finds such nodes.
    """
    model = ModelProto.FromString(model.SerializeToString())
    for op, rewrite in (
        ("LayerNormalization", _fuse_first_qkv),
        ("ResidualNorm", _fuse_qkv),
        ("ResidualNorm", _fuse_feed_forward),
        ("FeedForward", _fuse_gated_transform),
        ("MatMul", _name_projection),
    ):
        graph = Graph(model)
        for node in list(model.graph.node):
            if node.op_type == op:
                rewrite(graph, node)
        graph.finish()
    convolve_channels_last(model)
    _move_qkv_forward(model)
    attach_functions(model)
    onnx.checker.check_model(model)
    return model


def _fuse_first_qkv(graph: Graph, norm: NodeProto) -> None:
    """Rewrite a norm with weights, which follows no residual sum, and the biased products for q and kv as one op."""
    products = graph.users(norm.output[0])
    biased = [graph.after(product, "Add") for product in products]
    if len(products) != 2 or any(node.op_type != "MatMul" for node in products) or None in biased:
        return
    weight, offset = (graph.array(name).astype(np.float64) for name in norm.input[1:])
    matrices = []
    for product, add in zip(products, biased, strict=True):
        assert add is not None
        matrix = graph.array(product.input[1]).astype(np.float64)
        last_row = offset @ matrix + graph.array(next(name for name in add.input if name in graph.constants))
        augmented = np.concatenate([weight[:, None] * matrix, last_row[None]]).astype(np.float32)
        matrices.append(graph.constant(f"{product.input[1]}_after_{norm.output[0]}", augmented))
    results = [add.output[0] for add in biased if add is not None]
    qkv = helper.make_node("NormQkv", [norm.input[0], *matrices], results, domain=DOMAIN, epsilon=_epsilon(norm))
    graph.replace([norm, *products, *(add for add in biased if add is not None)], [qkv])


def _fuse_qkv(graph: Graph, norm: NodeProto) -> None:
    """Rewrite a residual sum, a norm and the products for q and kv as the sum and one op."""
    x, update, bias = norm.input
    total, normed = norm.output
    products = graph.users(normed)
    if len(products) != 2 or any(node.op_type != "MatMul" for node in products):
        return
    new = []
    if graph.array(bias).any():
        new.append(helper.make_node("Add", [update, bias], [f"{total}_update"]))
        update = f"{total}_update"
    new.append(helper.make_node("Add", [x, update], [total]))
    matrices, results = [node.input[1] for node in products], [node.output[0] for node in products]
    new.append(helper.make_node("NormQkv", [total, *matrices], results, domain=DOMAIN, epsilon=_epsilon(norm)))
    graph.replace([norm, *products], new)


def _fuse_feed_forward(graph: Graph, norm: NodeProto) -> None:
    """Rewrite s = x + update + bias and s + project(gate(expand(norm(s)))) as one op."""
    total, normed = norm.output
    expand = graph.user(normed, "MatMul")
    gate = graph.after(expand, "Gate") or graph.after(expand, "DepthwiseGate")
    project = graph.after(gate, "MatMul")
    result = graph.after(project, "Add")
    if expand is None or gate is None or project is None or result is None or graph.user(total, "Add") is not result:
        return
    name = "FeedForward" if gate.op_type == "Gate" else "DepthwiseFeedForward"
    inputs = [*norm.input, expand.input[1], *gate.input[1:], project.input[1]]
    fused = helper.make_node(name, inputs, [result.output[0]], domain=DOMAIN, epsilon=_epsilon(norm))
    graph.replace([norm, expand, gate, project, result], [fused])


def _fuse_gated_transform(graph: Graph, block: NodeProto) -> None:
    """Rewrite a feed-forward whose update is a depthwise mixer's as one op."""
    x, update, *constants = block.input
    project = graph.maker(update, "MatMul")
    mix = graph.before(project, "DepthwiseMix")
    expand = graph.before(mix, "MatMul")
    if project is None or mix is None or expand is None or expand.input[0] != x:
        return
    _, before, filters, after = mix.input
    matrix = np.concatenate([graph.array(expand.input[1]), graph.array(before)[None]])
    weight = graph.constant(f"{expand.input[1]}_biased", matrix)
    inputs = [x, weight, filters, after, project.input[1], *constants]
    fused = helper.make_node("GatedTransform", inputs, block.output, domain=DOMAIN, epsilon=_epsilon(block))
    graph.replace([expand, mix, project, block], [fused])


def _move_qkv_forward(model: ModelProto) -> None:
    """Put each node NormQkv behind the node that makes its map.

    Of two branches, onnxruntime runs the one that the graph lists last first. The complexity map and the choice of
    neighbours are so computed before q, k and v, whose maps would wait meanwhile.
    """
    nodes = list(model.graph.node)
    moved: dict[str, list[NodeProto]] = {}
    for node in nodes:
        if node.op_type == "NormQkv":
            moved.setdefault(node.input[0], []).append(node)
    del model.graph.node[:]
    for node in nodes:
        if node.op_type != "NormQkv":
            model.graph.node.append(node)
            model.graph.node.extend(node for output in node.output for node in moved.get(output, []))


def _name_projection(graph: Graph, product: NodeProto) -> None:
    """Rewrite a product with a constant matrix, or with one for each part of a map, as `glic::Projection`."""
    if product.input[1] in graph.constants:
        graph.replace([product], [helper.make_node("Projection", product.input, product.output, domain=DOMAIN)])


def _epsilon(norm: NodeProto) -> float:
    return float(next(helper.get_attribute_value(a) for a in norm.attribute if a.name == "epsilon"))
