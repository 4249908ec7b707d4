"""Nodes of `hostile_ops.py` in OpenVINO: what its glue checks beside the kernels. `test_hostile_ops.py` runs it."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
import pytest

from glic_deploy import native
from glic_deploy.ops import OPS as TABLE

from .hostile_ops import CONSTANT, EMPTY, OPS, Node, with_shapes

# PixelShuffle is an op that OpenVINO has itself.
HERE = [op for op in OPS if op == "PixelShuffle" or "openvino" in TABLE[op].libraries]
CONSTANT_HERE = CONSTANT.intersection(HERE)


@pytest.fixture(scope="module")
def core() -> openvino.Core:
    core = openvino.Core()
    core.add_extension(str(native.library_path("glic_openvino")))
    return core


def run(core: openvino.Core, node: Node) -> list[Any]:
    model = core.read_model(node.model(), b"")
    model.reshape({f"in{i}": list(a.shape) for i, a in enumerate(node.inputs) if i < node.maps})
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    fed = {port.any_name: node.inputs[int(port.any_name[2:])] for port in compiled.inputs}
    return [np.array(value) for value in compiled(fed).values()]


def refusal(core: openvino.Core, node: Node) -> str:
    with pytest.raises(RuntimeError) as caught:
        run(core, node)
    return str(caught.value)


@pytest.mark.parametrize("op", HERE)
def test_a_valid_node_gives_what_onnxruntime_gives(core: openvino.Core, op: str) -> None:
    node = Node(op)
    for got, want in zip(run(core, node), node.run(), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("op", "shapes", "results"), [case for case in EMPTY if case[0] in CONSTANT_HERE])
def test_an_empty_map_gives_an_empty_one(core: openvino.Core, op: str, shapes: Any, results: Any) -> None:
    assert [out.shape for out in run(core, with_shapes(op, *shapes))] == results


@pytest.mark.parametrize(
    ("op", "attribute", "wrong"),
    [
        ("IntegerLinear", "limit", 1 << 32),
        ("IntegerGatedFfn", "norm_shift", 31),
        ("IntegerGatedFfn", "norm_limit", -1),
        ("IntegerGatedFfn", "gate_limit", 1 << 15),
        ("DynamicKnn", "sampling", 1 << 32),
        ("ScatterAggregate", "sampling", -1),
        ("ResidualNorm", "epsilon", float("nan")),
    ],
)
def test_an_attribute_out_of_its_range_is_named(core: openvino.Core, op: str, attribute: str, wrong: Any) -> None:
    node = Node(op)
    node.attributes[attribute] = wrong
    assert f"attribute {attribute} is" in refusal(core, node)


def test_constants_out_of_their_range_are_named(core: openvino.Core) -> None:
    node = Node("IntegerLinear")
    node.inputs[3][0] = 31
    assert "shift has the value 31, expected 0 to 30" in refusal(core, node)


@pytest.mark.parametrize("op", sorted(CONSTANT_HERE))
def test_weights_that_are_no_constants_are_refused(core: openvino.Core, op: str) -> None:
    node = Node(op)
    node.maps = len(node.inputs)
    assert "input 1 has to be constant" in refusal(core, node)


@pytest.mark.parametrize("op", [op for op in HERE if op != "PixelShuffle"])
def test_missing_inputs_are_counted(core: openvino.Core, op: str) -> None:
    node = Node(op)
    node.names = node.names[:-1]
    assert f"has {len(OPS[op][0]) - 1} inputs, expected {len(OPS[op][0])}" in refusal(core, node)
