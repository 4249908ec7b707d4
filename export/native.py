"""Rewrite the transforms for the CPU kernels: maps become channels-last, and the steps between two products one op.

- A GDFN is two 1×1 convolutions, two depthwise convolutions, a gate and a third 1×1 convolution, between two
  transpositions. The rewritten GDFN is a product, `glic::DepthwiseGate` and a product: nothing is transposed, and the
  gate needs no pass over memory. A depthwise mixer becomes products around `glic::DepthwiseMix` in the same way.
- A residual sum and the norm that follows become `glic::ResidualNorm`. The norm's weight and bias, and the bias of the
  next product, move into the matrix of that product.
- Upsampling convolutions become products between Winograd's transformations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper

from glic_deploy.ops import DOMAIN

from .bundle import graphs_in
from .convolutions import by_phase, takes_winograd
from .ops import winograd
from .ops.functions import attach_functions
from .rewriting import TO_FIRST, TO_LAST, Graph, cancel_transpositions

_LEAKY_SLOPE = 0.01  # the slope that glic::DepthwiseMix computes with


def for_kernels(model: ModelProto, *, upsample: bool = True) -> ModelProto:
    """Copy a transform's graph, and rewrite the copy to the native ops; without `upsample`, convolutions stay.

    A pattern that is not found stays as it is; `unmatched` finds such nodes.
    """
    model = ModelProto.FromString(model.SerializeToString())
    graph = Graph(model)
    for node in list(model.graph.node):
        if node.op_type == "DepthToSpace" and upsample:
            _upsample_by_winograd(graph, node)
    graph.finish()
    cancel_transpositions(model)
    graph = Graph(model)
    for node in list(model.graph.node):
        if node.op_type == "Gelu":
            if not _fuse_gate(graph, node):
                _fuse_depthwise_gate(graph, node)
        elif node.op_type == "Split":
            _part_product(graph, node)
        elif node.op_type == "DepthToSpace":
            _name_pixel_shuffle(graph, node)
        elif node.op_type == "LeakyRelu":
            _fuse_depthwise_mixer(graph, node)
    graph.finish()
    graph = Graph(model)
    for node in list(model.graph.node):
        if node.op_type == "LayerNormalization":
            _fuse_residual_norm(graph, node)
    graph.finish()
    attach_functions(model)
    onnx.checker.check_model(model)
    return model


def unmatched(model: ModelProto, expected: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """List the ops whose number in a graph differs from the expected number, with both numbers."""
    found = Counter(node.op_type for graph in graphs_in(model.graph) for node in graph.node)
    return [(op, found[op], count) for op, count in expected.items() if found[op] != count]


def _upsample_by_winograd(graph: Graph, shuffle: NodeProto) -> None:
    """Rewrite a 3×3 convolution and pixel shuffle as a product between Winograd's transformations, channels-last."""
    conv = graph.before(shuffle, "Conv")
    if conv is None or not _is_pixel_shuffle(shuffle) or not takes_winograd(graph, conv):
        return
    filters = graph.array(conv.input[1])
    name = shuffle.output[0]
    x, last, patches, rows, products, sides, shape, parted, out = (
        f"{name}_{part}"
        for part in ("x", "other", "patches", "rows", "products", "sides", "shape", "parted", "channels_last")
    )
    channels, inputs = filters.shape[:2]
    order = by_phase(channels)
    weight = graph.constant(f"{conv.input[1]}_winograd", winograd.matrices(filters[order]))
    bias = graph.constant(f"{conv.input[2]}_by_phase", graph.array(conv.input[2])[order])
    flat = graph.constant(f"{name}_flat", np.array([len(winograd.B) ** 2, -1, inputs]))
    width = graph.constant(f"{name}_width", np.array([channels]))

    total = graph.before(conv, "Add")
    transposed = next((v for v in total.input if graph.maker(v, "Transpose")), None) if total is not None else None
    if total is not None and transposed is not None:
        other = next(value for value in total.input if value != transposed)
        old = [total, conv, shuffle]
        new = [
            helper.make_node("Transpose", [other], [last], perm=TO_LAST),
            helper.make_node("Add", [graph.makers[transposed].input[0], last], [x]),
        ]
    else:
        old = [conv, shuffle]
        new = [helper.make_node("Transpose", [conv.input[0]], [x], perm=TO_LAST)]
    new += [
        helper.make_node("WinogradInput", [x], [patches], domain=DOMAIN, channels=inputs),
        helper.make_node("Reshape", [patches, flat], [rows]),
        helper.make_node("MatMul", [rows, weight], [products]),
        helper.make_node("Shape", [patches], [sides], end=-1),
        helper.make_node("Concat", [sides, width], [shape], axis=0),
        helper.make_node("Reshape", [products, shape], [parted]),
        helper.make_node("WinogradShuffle", [parted, bias], [out], domain=DOMAIN),
        helper.make_node("Transpose", [out], [name], perm=TO_FIRST),
    ]
    graph.replace(old, new)


def _fuse_gate(graph: Graph, gelu: NodeProto) -> bool:
    """Rewrite GELU(a)·b of the halves of one map as `glic::Gate`; return whether the pattern was found."""
    split = graph.makers.get(gelu.input[0])
    mul = graph.after(gelu, "Mul")
    if split is None or split.op_type != "Split" or mul is None or set(mul.input) != {gelu.output[0], split.output[1]}:
        return False
    graph.replace([split, gelu, mul], [helper.make_node("Gate", [split.input[0]], [mul.output[0]], domain=DOMAIN)])
    return True


def _fuse_depthwise_gate(graph: Graph, gelu: NodeProto) -> None:
    """Rewrite a GDFN between transpositions as products around `glic::DepthwiseGate`."""
    mul = graph.after(gelu, "Mul")
    if mul is None:
        return
    other = next(value for value in mul.input if value != gelu.output[0])
    depthwise = [node for value in (gelu.input[0], other) if (node := graph.maker(value, "Conv"))]
    expand = [node for conv in depthwise if (node := graph.before(conv, "Conv"))]
    project = graph.after(mul, "Conv")
    to_last = graph.after(project, "Transpose")
    if project is None or to_last is None or len(expand) != 2 or expand[0].input[0] != expand[1].input[0]:
        return
    to_first = graph.makers.get(expand[0].input[0])
    if to_first is None or to_first.op_type != "Transpose":
        return
    matrices = [graph.array(node.input[1])[:, :, 0, 0] for node in (*expand, project)]
    filters = np.concatenate([graph.array(node.input[1]) for node in depthwise])
    name = to_last.output[0]
    wide, gated = f"{name}_wide", f"{name}_gated"
    weights = [
        graph.constant(f"{project.input[1]}_expand", np.concatenate(matrices[:2]).T),
        graph.constant(f"{project.input[1]}_filter", filters),
        graph.constant(f"{project.input[1]}_project", matrices[2].T),
    ]
    graph.replace(
        [to_first, *expand, *depthwise, gelu, mul, project, to_last],
        [
            helper.make_node("MatMul", [to_first.input[0], weights[0]], [wide]),
            helper.make_node("DepthwiseGate", [wide, weights[1]], [gated], domain=DOMAIN, channels=len(filters)),
            helper.make_node("MatMul", [gated, weights[2]], [name]),
        ],
    )


def _fuse_depthwise_mixer(graph: Graph, activation: NodeProto) -> None:
    """Rewrite project(depthwise(LeakyReLU(expand(x)))) + x, transposed, as products around `glic::DepthwiseMix`."""
    expand = graph.before(activation, "Conv")
    depthwise = graph.after(activation, "Conv")
    project = graph.after(depthwise, "Conv")
    total = graph.after(project, "Add")
    to_last = graph.after(total, "Transpose")
    if expand is None or depthwise is None or project is None or total is None or to_last is None:
        return
    if expand.input[0] not in total.input:
        return
    if not np.isclose(helper.get_attribute_value(activation.attribute[0]), _LEAKY_SLOPE):
        return
    to_first = graph.makers.get(expand.input[0])
    new = []
    if to_first is not None and to_first.op_type == "Transpose":
        x = to_first.input[0]
    else:
        x = f"{expand.input[0]}_channels_last"
        new = [helper.make_node("Transpose", [expand.input[0]], [x], perm=TO_LAST)]
    name = to_last.output[0]
    expanded, mixed, projected, biased = (f"{name}_{part}" for part in ("expanded", "mixed", "projected", "biased"))
    matrices = [
        graph.constant(f"{conv.input[1]}_matrix", graph.array(conv.input[1])[:, :, 0, 0].T)
        for conv in (expand, project)
    ]
    filters, after = depthwise.input[1:]
    new += [
        helper.make_node("MatMul", [x, matrices[0]], [expanded]),
        helper.make_node(
            "DepthwiseMix",
            [expanded, expand.input[2], filters, after],
            [mixed],
            domain=DOMAIN,
            channels=len(graph.array(filters)),
        ),
        helper.make_node("MatMul", [mixed, matrices[1]], [projected]),
        helper.make_node("Add", [projected, project.input[2]], [biased]),
        helper.make_node("Add", [x, biased], [name]),
    ]
    graph.replace([expand, activation, depthwise, project, total, to_last], new)


def _fuse_residual_norm(graph: Graph, norm: NodeProto) -> None:
    """Rewrite norm(x + update + bias) before products as `glic::ResidualNorm`.

    The norm's weight and bias, and the products' biases, move into the products' matrices.
    """
    total = graph.makers.get(norm.input[0])
    products = graph.users(norm.output[0])
    if total is None or total.op_type != "Add":
        return
    if not all(node.op_type == "MatMul" and node.input[1] in graph.constants for node in products):
        return
    x, update, biased = _residual(graph, total)
    if update is None:
        return
    weight, offset = (graph.array(name).astype(np.float64) for name in norm.input[1:])
    bias = _constant_of(graph, biased) or graph.constant(f"no_bias_{len(offset)}", np.zeros(len(offset), np.float32))
    fused = helper.make_node(
        "ResidualNorm",
        [x, update, bias],
        [total.output[0], norm.output[0]],
        domain=DOMAIN,
        epsilon=next(helper.get_attribute_value(a) for a in norm.attribute if a.name == "epsilon"),
    )
    graph.replace([node for node in (norm, biased, total) if node], [fused])
    for product in products:
        matrix = graph.array(product.input[1]).astype(np.float64)
        biased_product = graph.after(product, "Add")
        own_bias = _constant_of(graph, biased_product)
        last_row = offset @ matrix + (graph.array(own_bias) if own_bias else 0)
        augmented = np.concatenate([weight[:, None] * matrix, last_row[None]]).astype(np.float32)
        old = [product, biased_product] if biased_product is not None and own_bias else [product]
        name = graph.constant(f"{product.input[1]}_after_{norm.output[0]}", augmented)
        graph.replace(old, [helper.make_node("MatMul", [norm.output[0], name], [old[-1].output[0]])])


def _residual(graph: Graph, total: NodeProto) -> tuple[str, str | None, NodeProto | None]:
    """Match x + (product + bias); return x, the product's value or None, and the node that adds the bias or None."""
    for x, update in (tuple(total.input), tuple(total.input)[::-1]):
        biased = graph.maker(update, "Add")
        bias = _constant_of(graph, biased)
        if biased is not None and bias:
            update = next(value for value in biased.input if value != bias)
        if x not in graph.constants and graph.maker(update, "MatMul"):
            return x, update, biased if bias else None
    return total.input[0], None, None


def _constant_of(graph: Graph, node: NodeProto | None) -> str | None:
    """Return the constant among a node's inputs, or None."""
    return next((value for value in node.input if value in graph.constants), None) if node else None


def _part_product(graph: Graph, split: NodeProto) -> None:
    """Replace a biased product and its split by separate products, so that no part is copied."""
    add = graph.maker(split.input[0], "Add")
    product = graph.before(add, "MatMul")
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


def _is_pixel_shuffle(node: NodeProto) -> bool:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return attributes == {"blocksize": 2, "mode": b"CRD"}


def _name_pixel_shuffle(graph: Graph, node: NodeProto) -> None:
    if _is_pixel_shuffle(node):
        graph.replace([node], [helper.make_node("PixelShuffle", node.input, node.output, domain=DOMAIN)])
