"""Write one ONNX graph node by node, with constants shared by value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from glic_deploy.bundle import Port

from ..tracing import OPSET

IR_VERSION = 10
CUSTOM_DOMAIN = "glic"


class GraphBuilder:
    """Collect the nodes and constants of a graph, in which a string names each value."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._initializers: list[TensorProto] = []

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Append a node with one output, and return the output's name."""
        return self._append(kind, inputs, [""], domain, attributes)[0]

    def halves(self, x: str) -> tuple[str, str]:
        """Append a node that splits a value into two along its last axis, and return their names."""
        first, second = self._append("Split", [x], ["_0", "_1"], "", {"axis": -1, "num_outputs": 2})
        return first, second

    def _append(
        self, kind: str, inputs: Sequence[str], suffixes: Sequence[str], domain: str, attributes: Mapping[str, Any]
    ) -> list[str]:
        """Append a node with one output for each suffix of a name, and return the outputs' names."""
        number = len(self._nodes)
        names = [f"{kind.lower()}_{number}{suffix}" for suffix in suffixes]
        self._nodes.append(
            helper.make_node(kind, list(inputs), names, name=f"{kind}_{number}", domain=domain, **attributes)
        )
        return names

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike) -> str:
        """Add an initializer, unless an equal one exists, and return its name."""
        array = np.ascontiguousarray(np.asarray(value).astype(dtype))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = f"constant_{len(self._constants)}"
            self._initializers.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def output(self, value: str, port: Port) -> None:
        """Make a value one of the graph's outputs."""
        self._nodes.append(helper.make_node("Identity", [value], [port.name], name=f"output_{port.name}"))

    def model(self, name: str, inputs: Sequence[Port], outputs: Sequence[Port]) -> ModelProto:
        """Return the model of the graph, checked by onnx."""
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
    """Describe a port to ONNX; fractions of the image's sides become named dimensions."""
    return helper.make_tensor_value_info(port.name, helper.np_dtype_to_tensor_dtype(np.dtype(port.dtype)), port.shape)
