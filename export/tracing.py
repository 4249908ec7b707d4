"""Trace a PyTorch module to an ONNX graph with dynamic sides, stable names and the custom ops as single nodes."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import torch
from onnx import ModelProto
from onnx import helper as onnx_helper
from torch import nn

from glic_deploy.bundle import Port

from .graphs import BLOCK, SCALES, GraphSpec
from .ops.functions import attach_functions
from .ops.translation import TRANSLATION_TABLE

OPSET = 20
TESTED_TORCH = "2.13.0"
"""Release of PyTorch that the rewrites are tested with: they match patterns of its exported graphs."""
_TRACED_BLOCKS = (2, 3)


def trace(spec: GraphSpec, module: nn.Module) -> ModelProto:
    """Return the ONNX model of one graph, checked by onnx, with the inputs and outputs that `spec` declares."""
    dims = {side: torch.export.Dim(side, min=1) for side in "hw"}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            spec.examples(*_TRACED_BLOCKS),
            dynamo=True,
            dynamic_shapes=tuple(_dynamic(port, dims) for port in spec.inputs),
            custom_translation_table=TRANSLATION_TABLE,
            opset_version=OPSET,
            input_names=[port.name for port in spec.inputs],
            output_names=[port.name for port in spec.outputs],
            verbose=False,
        )
    assert program is not None
    model = _tidy(program.model_proto, spec)
    if any(node.domain for node in model.graph.node):
        attach_functions(model)
    onnx.checker.check_model(model)
    return model


def _dynamic(port: Port, dims: dict[str, torch.export.Dim]) -> dict[int, object]:
    axes = {axis: SCALES[d] for axis, d in enumerate(port.shape) if isinstance(d, str)}
    return {axis: BLOCK // divisor * dims[side] for axis, (side, divisor) in axes.items()}


def _tidy(model: ModelProto, spec: GraphSpec) -> ModelProto:
    """Drop the exporter's notes about Python sources, so that the same network gives the same file on any machine."""
    graph = model.graph
    for part in [model, graph, *graph.node, *graph.initializer, *graph.value_info]:
        del part.metadata_props[:]
        part.doc_string = ""
    graph.name = spec.name
    model.producer_name, model.producer_version = "glic-deploy", ""
    for values, ports in ((graph.input, spec.inputs), (graph.output, spec.outputs)):
        del values[:]
        values.extend(
            onnx_helper.make_tensor_value_info(
                port.name, onnx_helper.np_dtype_to_tensor_dtype(np.dtype(port.dtype)), list(port.shape)
            )
            for port in ports
        )
    return model
