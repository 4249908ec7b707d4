"""No GPU runs an exact graph that leaves a sum to a library: what is counted, and who refuses."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from export.sums import left_to_libraries
from export.tensorrt_bundle import add_graphs
from glic_deploy import EngineError
from glic_deploy.backends.base import UnusableError
from glic_deploy.backends.proof import require_own_sums
from glic_deploy.bundle import BASE, NATIVE, TENSORRT, Bundle
from glic_deploy.ops import DOMAIN


def model(*ops: str, domain: str = "") -> ModelProto:
    nodes = [helper.make_node(op, ["x"], [f"y{i}"], domain=domain) for i, op in enumerate(ops)]
    return helper.make_model(helper.make_graph(nodes, "graph", [], []))


@pytest.mark.parametrize(
    ("ops", "count"),
    [
        (["Mul", "Round", "Clip", "Transpose"], 0),
        (["MatMul", "Gemm", "Conv", "ReduceSum"], 4),
        (["Add", "MatMulInteger"], 1),
        (["OpOfTheFuture"], 1),
    ],
)
def test_nodes_that_may_sum_are_counted(ops: list[str], count: int) -> None:
    assert left_to_libraries(model(*ops)) == count


def test_our_ops_are_not_counted_and_subgraphs_are() -> None:
    assert left_to_libraries(model("IntegerLinear", "MatMul", domain=DOMAIN)) == 0
    branch = helper.make_graph(
        [helper.make_node("Einsum", ["x"], ["y"], equation="ij->")],
        "branch",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    node = helper.make_node("Identity", ["x"], ["z"], body=branch)
    assert left_to_libraries(helper.make_model(helper.make_graph([node], "graph", [], []))) == 1


def test_backends_refuse_a_bundle_whose_exact_graphs_leave_sums(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.open(engine)
    require_own_sums(bundle, NATIVE)
    with pytest.raises(UnusableError, match=r"leaves sums .* export the checkpoint again: python -m export\.to_onnx"):
        require_own_sums(bundle, BASE)
    whole = bundle.form
    monkeypatch.setattr(bundle, "form", lambda graph, form: replace(whole(graph, form), library_sums=None))
    with pytest.raises(UnusableError, match="leaves sums"):  # as before the manifest recorded them
        require_own_sums(bundle, NATIVE)


def test_the_exporter_refuses_such_graphs_for_tensorrt(
    engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "engine"
    shutil.copytree(engine, path)
    monkeypatch.setattr("export.tensorrt_bundle.left_to_libraries", lambda model: 3)
    with pytest.raises(EngineError, match="graph hyper_synthesis leaves 3 sums to TensorRT"):
        add_graphs(path, "fp32")
    assert not Bundle.open(path).has_form("analysis", TENSORRT)


def test_no_sum_of_the_exact_path_is_left_to_a_library(gpu_engine: Path) -> None:
    bundle = Bundle.open(gpu_engine)
    assert bundle.exact_graphs()
    for graph in bundle.exact_graphs():
        assert bundle.form(graph, NATIVE).library_sums == bundle.form(graph, TENSORRT).library_sums == 0
    assert np.all([bundle.form(graph, BASE).library_sums for graph in bundle.graphs()])
