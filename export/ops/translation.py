"""Translate the custom ops to ONNX, each to one `glic` node, as the backends expect.

Pass `TRANSLATION_TABLE` to `torch.onnx.export(..., dynamo=True, custom_translation_table=TRANSLATION_TABLE)`, then
`export.ops.functions.attach_functions` as the last step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from onnx.defs import OpSchema
from onnxscript.values import Op, Opset

from glic_deploy.ops import DOMAIN, OPS, VERSION
from glic_deploy.ops import Op as TableEntry

from .complexity import complexity_map  # noqa: F401  (registers torch.ops.glic.complexity_map)
from .dynamic_knn import dynamic_knn  # noqa: F401
from .groups import SAMPLE, WINDOW
from .scatter_aggregate import scatter_aggregate  # noqa: F401

# TensorRT prefers the plugin to the function body only if the node names the plugin's namespace and version.
PLUGIN = {"plugin_namespace": DOMAIN, "plugin_version": str(VERSION)}

_ONNX_TYPES = {"float32": "float", "float16": "float16", "bfloat16": "bfloat16", "int32": "int32", "int8": "int8"}
_ATTRIBUTE_TYPES = {"int": OpSchema.AttrType.INT, "float": OpSchema.AttrType.FLOAT}


def schema(op: TableEntry) -> OpSchema:
    """Return the ONNX schema of an op of the table, with additional attributes that name TensorRT's plugin."""

    def parameters(ports: Mapping[str, str]) -> list[OpSchema.FormalParameter]:
        return [
            OpSchema.FormalParameter(name, kind if kind == "T" else f"tensor({_ONNX_TYPES[kind]})")
            for name, kind in ports.items()
        ]

    elements = [f"tensor({_ONNX_TYPES[element]})" for element in op.elements]
    return OpSchema(
        op.name,
        DOMAIN,
        VERSION,
        inputs=parameters(op.inputs),
        outputs=parameters(op.outputs),
        type_constraints=[("T", elements, "")] if elements else [],
        attributes=[OpSchema.Attribute(name, _ATTRIBUTE_TYPES[kind]) for name, kind in op.attributes.items()]
        + [OpSchema.Attribute(name, OpSchema.AttrType.STRING) for name in PLUGIN],
    )


_OPSET = Opset(DOMAIN, VERSION)
_COMPLEXITY_MAP = Op(_OPSET, "ComplexityMap", schema(OPS["ComplexityMap"]))
_DYNAMIC_KNN = Op(_OPSET, "DynamicKnn", schema(OPS["DynamicKnn"]))
_SCATTER_AGGREGATE = Op(_OPSET, "ScatterAggregate", schema(OPS["ScatterAggregate"]))


def _complexity_map(x):  # type: ignore[no-untyped-def]
    return _COMPLEXITY_MAP(x, channels=x.shape[3], **PLUGIN)


def _dynamic_knn(x, complexity, sampling: int, window: int = WINDOW, sample: int = SAMPLE):  # type: ignore[no-untyped-def]
    return _DYNAMIC_KNN(x, complexity, sampling=sampling, window=window, sample=sample, **PLUGIN)


def _scatter_aggregate(q, kv, graph, bias, scale, sampling: int, window: int = WINDOW, sample: int = SAMPLE):  # type: ignore[no-untyped-def]
    return _SCATTER_AGGREGATE(q, kv, graph, bias, scale, sampling=sampling, window=window, sample=sample, **PLUGIN)


TRANSLATION_TABLE: dict[Callable[..., object], Callable[..., object]] = {
    torch.ops.glic.complexity_map.default: _complexity_map,
    torch.ops.glic.dynamic_knn.default: _dynamic_knn,
    torch.ops.glic.scatter_aggregate.default: _scatter_aggregate,
}
