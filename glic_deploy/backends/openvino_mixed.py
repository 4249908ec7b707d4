"""Mixed precision for OpenVINO: the matrix products of a transform run in bfloat16, everything else in float32.

The types are written into the graph. OpenVINO's own lowering would also round the residual sums and the convolutions at
both ends, which makes the noise almost four times as large. It would also convert every input of our ops, which can
read and write the bfloat16 of the products.
"""

from __future__ import annotations

import openvino as ov
import openvino.opset13 as ops

from ..ops import OPS

_BF16 = ov.Type.bf16
_LOOP = "TensorIterator"
_VIEWS = ("Reshape", "Squeeze", "Unsqueeze")

# For each of our ops: the inputs that may be bfloat16, and the outputs that then have the same type.
_TYPED = {op.name: (op.inputs_of("T"), op.outputs_of("T")) for op in OPS.values()}


def lower_products(model: ov.Model) -> int:
    """Lower a float32 model's products by constants, including those in loops, to bfloat16. Returns their number."""
    products = 0
    for op in model.get_ordered_ops():
        if _is_product(op):
            _lower_product(op)
            products += 1
        elif _kind(op) == _LOOP:
            products += _lower_loop(op)
        elif _kind(op) == "WinogradShuffle" and _was_bf16(op.input_value(0)):
            _lower_op(op)
    model.validate_nodes_and_infer_types()
    return products


def _is_product(op: ov.Node) -> bool:
    return _kind(op) == "MatMul" and _kind(op.input_value(1).get_node()) == "Constant"


def _lower_product(product: ov.Node) -> None:
    _connect(product, {port.get_index(): _as_bf16(port.get_source_output()) for port in product.inputs()})
    result = product.output(0)
    users = _users(result)
    if len(users) == 1 and _kind(users[0]) == "Add":  # the addition of a bias, which OpenVINO fuses with the product
        biases = {
            port.get_index(): _as_bf16(port.get_source_output())
            for port in users[0].inputs()
            if _kind(port.get_source_output().get_node()) == "Constant"
        }
        if biases:
            _connect(users[0], biases)
            result = users[0].output(0)
    _convert_to_fp32(result)


def _lower_op(op: ov.Node) -> None:
    _connect(op, {index: _as_bf16(op.input_value(index)) for index in _TYPED[_kind(op)][0]})


def _lower_loop(loop: ov.Node) -> int:
    """Lower a loop's body, and the values that enter and leave it. Returns the number of products."""
    body = loop.get_function()
    products = lower_products(body)
    parameters, results = body.get_parameters(), body.get_results()
    inputs = {}
    for description in loop.get_input_descriptions():
        parameter = parameters[description.body_parameter_index]
        users = _users(parameter.output(0))
        if all(_kind(user) == "Convert" and user.get_output_element_type(0) == _BF16 for user in users):
            parameter.set_element_type(_BF16)
            parameter.validate_and_infer_types()
            for user in users:
                _replace(user.output(0), parameter.output(0))
            inputs[description.input_index] = _as_bf16(loop.input_value(description.input_index))
    outputs = []
    for description in loop.get_output_descriptions():
        result = results[description.body_value_index]
        if _was_bf16(result.input_value(0)):
            _connect(result, {0: _as_bf16(result.input_value(0))})
            outputs.append(loop.output(description.output_index))
    _connect(loop, inputs)
    for output in outputs:
        _convert_to_fp32(output)
    return products


def _as_bf16(value: ov.Output) -> ov.Output:
    """Return the value in bfloat16, without a conversion if a product or one of our ops computes the value."""
    op = value.get_node()
    kind = _kind(op)
    if value.get_element_type() == _BF16:
        return value
    if kind == "Convert" and op.get_input_element_type(0) == _BF16:
        return op.input_value(0)
    if kind in _VIEWS and len(_users(value)) == 1:
        _connect(op, {0: _as_bf16(op.input_value(0))})
        return value
    if kind in _TYPED and value.get_index() in _TYPED[kind][1] and _feeds_products(value):
        _lower_op(op)
        return value
    return ops.convert(value, "bf16").output(0)


def _was_bf16(value: ov.Output) -> bool:
    """Return whether a float32 value was converted from bfloat16."""
    op = value.get_node()
    if _kind(op) in _VIEWS:
        return _was_bf16(op.input_value(0))
    return _kind(op) == "Convert" and bool(op.get_input_element_type(0) == _BF16)


def _feeds_products(value: ov.Output) -> bool:
    """Return whether only products, and loops of products, read the elements of a value."""
    return all(
        _is_product(user)
        or _kind(user) in (_LOOP, "ShapeOf")
        or (_kind(user) in _VIEWS and _feeds_products(user.output(0)))
        for user in _users(value)
    )


def _kind(op: ov.Node) -> str:
    return str(op.get_type_name())


def _users(value: ov.Output) -> list[ov.Node]:
    return [port.get_node() for port in value.get_target_inputs()]


def _convert_to_fp32(value: ov.Output) -> None:
    """Convert a bfloat16 value to float32 for all of its readers."""
    readers = value.get_target_inputs()
    converted = ops.convert(value, "f32").output(0)
    for port in readers:
        port.replace_source_output(converted)


def _replace(old: ov.Output, new: ov.Output) -> None:
    for port in old.get_target_inputs():
        _connect(port.get_node(), {port.get_index(): new})


def _connect(op: ov.Node, inputs: dict[int, ov.Output]) -> None:
    for index, value in inputs.items():
        op.input(index).replace_source_output(value)
    op.validate_and_infer_types()
