"""Rewrites nodes that keep onnxruntime from capturing a graph as a CUDA graph.

Its kernels for a Split or a Concat of unequal widths copy these widths to the GPU, and free the copy with a wait for
the stream, which is not permitted while CUDA captures. The kernels for equal widths have neither.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

MOST_PIECES = 32
"""The most inputs or outputs of equal width for which onnxruntime copies nothing."""

_CHANNELS = (-1, 3)
"""The axis of the channels in maps N×H×W×C."""
_ELEMENTWISE = {"Add", "Clip", "Floor", "Max", "Min", "Mul", "Round", "Sub"}


def without_unequal_splits(model: ModelProto) -> bool:
    """Replace every Split into unequal widths by a product for each output, or by a Slice where it splits no product.

    A Slice copies its output, which a product of its own writes at once. Products whose weights are in a file that is
    not loaded get a Slice too. Changes `model`, and returns whether there was such a node.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        widths = _widths_of_split(node, constants)
        if len(set(widths)) < 2:
            nodes.append(node)
            continue
        if product := _product_before(node, nodes, model, constants):
            nodes = [each for each in nodes if each not in product] + _parted(product, node, widths, model, constants)
            continue
        start = 0
        for name, width in zip(node.output, widths, strict=True):
            limits = [f"{name}_{limit}" for limit in ("start", "stop", "axis")]
            for limit, value in zip(limits, (start, start + width, _axis(node)), strict=True):
                model.graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), limit))
            nodes.append(helper.make_node("Slice", [node.input[0], *limits], [name]))
            start += width
    changed = nodes != [*model.graph.node]
    _replace(model, nodes)
    return changed


def _product_before(
    split: NodeProto, nodes: list[NodeProto], model: ModelProto, constants: dict[str, TensorProto]
) -> list[NodeProto]:
    """Return the MatMul by a constant, and the Add of a bias, that make what a node splits; [] if they do not."""
    users = Counter(name for node in model.graph.node for name in node.input)
    users.update(output.name for output in model.graph.output)
    makers = {name: node for node in nodes for name in node.output}
    add = makers.get(split.input[0])
    product = makers.get(add.input[0]) if add is not None and add.op_type == "Add" else None
    if add is None or product is None or product.op_type != "MatMul" or _axis(split) not in _CHANNELS:
        return []
    loaded = all(name in constants and constants[name].raw_data for name in (product.input[1], add.input[1]))
    return [product, add] if loaded and users[product.output[0]] == users[add.output[0]] == 1 else []


def _parted(
    product: list[NodeProto], split: NodeProto, widths: list[int], model: ModelProto, constants: dict[str, TensorProto]
) -> list[NodeProto]:
    """Return a product with a bias for each output of a Split of one."""
    matmul, add = product
    nodes: list[NodeProto] = []
    start = 0
    for name, width in zip(split.output, widths, strict=True):
        columns = slice(start, start + width)
        weight = _columns(constants[matmul.input[1]], columns, f"{name}_weight")
        bias = _columns(constants[add.input[1]], columns, f"{name}_bias")
        model.graph.initializer.extend((weight, bias))
        nodes.append(helper.make_node("MatMul", [matmul.input[0], weight.name], [f"{name}_product"]))
        nodes.append(helper.make_node("Add", [f"{name}_product", bias.name], [name]))
        start += width
    return nodes


def _columns(tensor: TensorProto, columns: slice, name: str) -> TensorProto:
    """Return some columns of a constant, of any type."""
    items = np.frombuffer(tensor.raw_data, f"V{len(tensor.raw_data) // math.prod(tensor.dims)}")
    part = items.reshape(tuple(tensor.dims))[..., columns]
    return helper.make_tensor(name, tensor.data_type, part.shape, part.tobytes(), raw=True)


def with_equal_concats(model: ModelProto) -> bool:
    """Cut the inputs of every Concat of unequal widths into pieces of equal width, in a graph of the entropy path.

    Changes `model`, and returns whether there was such a node. Concats of shapes, which run on the CPU, stay. So do
    those whose widths are not known or need more than MOST_PIECES pieces.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    widths: dict[str, int] = {}
    for value in model.graph.input:
        sides = value.type.tensor_type.shape.dim
        if sides and sides[-1].dim_value:
            widths[value.name] = sides[-1].dim_value
    nodes: list[NodeProto] = []
    changed = False
    for node in model.graph.node:
        known = [widths.get(name, 0) for name in node.input]
        if node.op_type in ("IntegerLinear", "IntegerDepthwise"):
            widths[node.output[0]] = constants[node.input[1]].dims[1]
        elif node.op_type == "IntegerGatedFfn":
            widths[node.output[0]] = constants[node.input[1]].dims[0]
        elif node.op_type in _ELEMENTWISE:
            widths[node.output[0]] = max(known)
        elif node.op_type == "Concat" and _axis(node) in (-1, 2) and all(known):
            widths[node.output[0]] = sum(known)
            width = math.gcd(*known)
            if len(set(known)) > 1 and sum(known) // width <= MOST_PIECES:
                nodes.extend(_cut(model, node, known, width))
                changed = True
                continue
        nodes.append(node)
    _replace(model, nodes)
    return changed


def _cut(model: ModelProto, node: NodeProto, widths: list[int], width: int) -> list[NodeProto]:
    """Return the nodes of a Concat whose inputs are cut into pieces of this width."""
    nodes, pieces = [], []
    for name, whole in zip(node.input, widths, strict=True):
        if whole == width:
            pieces.append(name)
            continue
        parts = [f"{node.output[0]}_{name}_{number}" for number in range(whole // width)]
        sizes = f"{node.output[0]}_{name}_widths"
        model.graph.initializer.append(numpy_helper.from_array(np.full(len(parts), width, np.int64), sizes))
        nodes.append(helper.make_node("Split", [name, sizes], parts, axis=-1))
        pieces += parts
    return [*nodes, helper.make_node("Concat", pieces, [node.output[0]], axis=-1)]


def _widths_of_split(node: NodeProto, constants: dict[str, TensorProto]) -> list[int]:
    if node.op_type != "Split" or len(node.input) < 2 or node.input[1] not in constants:
        return []
    return [int(width) for width in numpy_helper.to_array(constants[node.input[1]])]


def _axis(node: NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)


def _replace(model: ModelProto, nodes: list[NodeProto]) -> None:
    """Put `nodes` into the graph, and delete the constants that only its former nodes read."""
    before, after = ({name for node in each for name in node.input} for each in (model.graph.node, nodes))
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in before - after]
    for field, values in ((model.graph.node, nodes), (model.graph.initializer, kept)):
        del field[:]
        field.extend(values)
