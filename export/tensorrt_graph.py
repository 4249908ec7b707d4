"""Adapt a graph to TensorRT's parser: bytes only as inputs and outputs, no 16-bit integers, no idle nodes."""

from __future__ import annotations

from onnx import ModelProto, TensorProto, helper


def fit_tensorrt(model: ModelProto) -> ModelProto:
    """Copy a graph and adapt the copy to TensorRT; it computes the same values.

    int16 inputs and outputs become int32; a uint8 input is cast to float32 before anything else.
    """
    model = ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    del graph.value_info[:]
    _drop_idle_outputs(model)
    for value in [*graph.input, *graph.output]:
        if value.type.tensor_type.elem_type == TensorProto.INT16:
            value.type.tensor_type.elem_type = TensorProto.INT32
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.INT16:
                attribute.i = TensorProto.INT32
    for value in graph.input:
        if value.type.tensor_type.elem_type == TensorProto.UINT8:
            inner = f"{value.name}.float"
            for node in graph.node:
                node.input[:] = [inner if name == value.name else name for name in node.input]
            graph.node.insert(0, helper.make_node("Cast", [value.name], [inner], name=inner, to=TensorProto.FLOAT))
    return model


def _drop_idle_outputs(model: ModelProto) -> None:
    """Remove Identity nodes that only rename graph outputs, and let the nodes before them write these outputs."""
    graph = model.graph
    outputs = {value.name for value in graph.output}
    inputs = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    idle = {
        node.input[0]: node.output[0]
        for node in graph.node
        if node.op_type == "Identity" and node.output[0] in outputs and node.input[0] not in outputs | inputs
    }
    kept = [node for node in graph.node if not (node.op_type == "Identity" and node.output[0] in idle.values())]
    for node in kept:
        node.input[:] = [idle.get(name, name) for name in node.input]
        node.output[:] = [idle.get(name, name) for name in node.output]
    del graph.node[:]
    graph.node.extend(kept)
