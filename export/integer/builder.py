"""Writes one ONNX graph node by node, with constants shared by value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from ..graphs import Port
from ..tracing import OPSET

IR_VERSION = 10
CUSTOM_DOMAIN = "glic"


class GraphBuilder:
    """Values are named by strings; `op` appends a node and gives its output's name."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._initializers: list[TensorProto] = []

    def op(self, kind: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        """The name of the node's output; a list of names where `outputs` is above 1."""
        number = len(self._nodes)
        names = [f"{kind.lower()}_{number}" + (f"_{i}" if outputs > 1 else "") for i in range(outputs)]
        self._nodes.append(
            helper.make_node(kind, list(inputs), names, name=f"{kind}_{number}", domain=domain, **attributes)
        )
        return names if outputs > 1 else names[0]

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """The name of an initializer of that value; the same value is stored once."""
        array = np.ascontiguousarray(np.asarray(value).astype(dtype))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = f"constant_{len(self._constants)}"
            self._initializers.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def output(self, value: str, port: Port) -> None:
        """Give a value the name of one of the graph's outputs."""
        self._nodes.append(helper.make_node("Identity", [value], [port.name], name=f"output_{port.name}"))

    def model(self, name: str, inputs: Sequence[Port], outputs: Sequence[Port]) -> ModelProto:
        graph = helper.make_graph(
            self._nodes, name, [_info(p) for p in inputs], [_info(p) for p in outputs], self._initializers
        )
        imports = [helper.make_opsetid("", OPSET)]
        if any(node.domain == CUSTOM_DOMAIN for node in self._nodes):
            imports.append(helper.make_opsetid(CUSTOM_DOMAIN, 1))
        model = helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION, producer_name="glic-deploy")
        onnx.checker.check_model(model)
        return model


def _info(port: Port) -> onnx.ValueInfoProto:
    """Type and shape of a port; its fractions of the picture's sides become named dimensions."""
    return helper.make_tensor_value_info(port.name, helper.np_dtype_to_tensor_dtype(np.dtype(port.dtype)), port.shape)
