"""ONNX translation of the two custom ops: one `glic` node each, as every backend expects it.

Pass `TRANSLATION_TABLE` to `torch.onnx.export(..., dynamo=True, custom_translation_table=TRANSLATION_TABLE)`, then
`export.ops.functions.attach_functions` as the last step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from onnx.defs import OpSchema
from onnxscript.values import Op, Opset

from .dynamic_knn import dynamic_knn  # noqa: F401  (registers torch.ops.glic.dynamic_knn)
from .groups import SAMPLE, WINDOW
from .scatter_aggregate import scatter_aggregate  # noqa: F401

DOMAIN, VERSION = "glic", 1
# TensorRT chooses the plugin over the function body only where the node names the plugin's namespace and version.
PLUGIN = {"plugin_namespace": DOMAIN, "plugin_version": str(VERSION)}

_INTEGERS = ("sampling", "window", "sample")
_FLOATS = ("T", ["tensor(float)", "tensor(float16)"], "")


def _schema(name: str, inputs: dict[str, str], output: tuple[str, str]) -> OpSchema:
    return OpSchema(
        name,
        DOMAIN,
        VERSION,
        inputs=[OpSchema.FormalParameter(key, kind) for key, kind in inputs.items()],
        outputs=[OpSchema.FormalParameter(*output)],
        type_constraints=[_FLOATS],
        attributes=[OpSchema.Attribute(key, OpSchema.AttrType.INT) for key in _INTEGERS]
        + [OpSchema.Attribute(key, OpSchema.AttrType.STRING) for key in PLUGIN],
    )


_OPSET = Opset(DOMAIN, VERSION)
_DYNAMIC_KNN = Op(
    _OPSET,
    "DynamicKnn",
    _schema("DynamicKnn", {"x": "T", "complexity": "tensor(float)"}, ("graph", "tensor(int32)")),
)
_SCATTER_AGGREGATE = Op(
    _OPSET,
    "ScatterAggregate",
    _schema(
        "ScatterAggregate",
        {"q": "T", "kv": "T", "graph": "tensor(int32)", "bias": "tensor(float)", "scale": "tensor(float)"},
        ("out", "T"),
    ),
)


def _dynamic_knn(x, complexity, sampling: int, window: int = WINDOW, sample: int = SAMPLE):  # type: ignore[no-untyped-def]
    return _DYNAMIC_KNN(x, complexity, sampling=sampling, window=window, sample=sample, **PLUGIN)


def _scatter_aggregate(q, kv, graph, bias, scale, sampling: int, window: int = WINDOW, sample: int = SAMPLE):  # type: ignore[no-untyped-def]
    return _SCATTER_AGGREGATE(q, kv, graph, bias, scale, sampling=sampling, window=window, sample=sample, **PLUGIN)


TRANSLATION_TABLE: dict[Callable[..., object], Callable[..., object]] = {
    torch.ops.glic.dynamic_knn.default: _dynamic_knn,
    torch.ops.glic.scatter_aggregate.default: _scatter_aggregate,
}
