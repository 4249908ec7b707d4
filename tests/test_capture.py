"""The graphs that onnxruntime can capture: no Split or Concat of unequal widths, and the same results."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper

from export.capture import with_equal_concats, without_unequal_splits
from export.tensorrt_bundle import add_graphs
from glic_deploy.backends.onnxruntime import custom_ops_library
from glic_deploy.backends.onnxruntime_cuda import DECLARATION
from glic_deploy.bundle import NATIVE, Bundle
from glic_deploy.forms import CUDA


def results(model: ModelProto, feeds: dict[str, np.ndarray], names: list[str] | None = None) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if (library := custom_ops_library()) is not None:
        options.register_custom_ops_library(library)
    return ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"]).run(names, feeds)


def joined(model: ModelProto) -> list[onnx.NodeProto]:
    """The Splits and Concats of maps; others join shapes, on the CPU."""
    nodes = [node for node in model.graph.node if node.op_type in ("Concat", "Split")]
    return [node for node in nodes if {attribute.name: attribute.i for attribute in node.attribute}.get("axis")]


def test_exact_graphs_join_and_split_equal_widths_alone(gpu_engine: Path) -> None:
    if custom_ops_library() is None:
        pytest.skip("needs the native library of onnxruntime: pip install .")
    bundle = Bundle.open(gpu_engine)
    rewritten = [graph for graph in bundle.exact_graphs() if bundle.has_form(graph, CUDA)]
    assert len(rewritten) == 8  # the others had no unequal one
    rng = np.random.default_rng(0)
    for graph in bundle.exact_graphs():
        model = onnx.load(bundle.graph(graph, DECLARATION.exact_forms))
        feeds = {
            port.name: rng.integers(-50, 50, port.at(128, 256)).astype(port.dtype) for port in bundle.ports(graph)[0]
        }
        outputs = [value.name for value in model.graph.output]
        got = results(model, feeds)
        for value, want in zip(got, results(onnx.load(bundle.graph(graph, [NATIVE])), feeds), strict=True):
            np.testing.assert_array_equal(value, want)
        known = {tensor.name: tensor.dims for tensor in model.graph.initializer}
        tensors = [list(node.input if node.op_type == "Concat" else node.output) for node in joined(model)]
        shown = sorted({name for names in tensors for name in names} - {*known, *outputs, *feeds})
        model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in shown)
        shapes = {name: value.shape for name, value in zip(shown, results(model, feeds, shown), strict=True)}
        shapes |= {name: value.shape for name, value in zip(outputs, got, strict=True)}
        shapes |= {name: value.shape for name, value in feeds.items()} | {name: tuple(d) for name, d in known.items()}
        for names in tensors:
            assert len(names) <= 32
            assert len({shapes[name] for name in names}) == 1, (graph, names)


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_transforms_on_a_gpu_have_no_unequal_split(precision: str, engine: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(engine, tmp_path / "engine"))
    add_graphs(path, precision)
    bundle, forms = Bundle.open(path), DECLARATION.forms
    assert bundle.precision(forms) == precision
    for graph in bundle.transforms():
        model = onnx.load(bundle.graph(graph, forms), load_external_data=False)
        constants = {tensor.name: tensor for tensor in model.graph.initializer}
        makers = {name: node.op_type for node in model.graph.node for name in node.output}
        of_scatter = {makers.get(name) for node in model.graph.node if "Scatter" in node.op_type for name in node.input}
        assert ("Slice" in of_scatter) == (precision == "fp32" and "DynamicKnn" in makers.values())
        for node in model.graph.node:
            if node.op_type == "Split" and len(node.input) > 1:
                assert len(set(onnx.numpy_helper.to_array(constants[node.input[1]]).tolist())) == 1


def test_slices_equal_the_split() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["H", 7])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["H", None]) for name in "ab"]
    sizes = helper.make_tensor("sizes", TensorProto.INT64, [2], [2, 5])
    split = helper.make_node("Split", ["x", "sizes"], ["a", "b"], axis=-1)
    graph = helper.make_graph([split], "graph", [x], outputs, [sizes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    feeds = {"x": np.arange(21, dtype=np.float32).reshape(3, 7)}
    want = results(model, feeds)
    assert without_unequal_splits(model)
    assert [node.op_type for node in model.graph.node] == ["Slice", "Slice"]
    assert not without_unequal_splits(model)
    for value, expected in zip(results(model, feeds), want, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_products_of_their_own_equal_the_split_of_one() -> None:
    rng = np.random.default_rng(0)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "H", "W", 4])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "ab"]
    weights = {
        "weight": rng.integers(-9, 9, (4, 7)).astype(np.float32),
        "bias": rng.integers(-9, 9, 7).astype(np.float32),
        "sizes": np.array([2, 5], np.int64),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["sum"]),
        helper.make_node("Split", ["sum", "sizes"], ["a", "b"], axis=3),
    ]
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "graph", [x], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    shared = onnx.ModelProto.FromString(model.SerializeToString())
    shared.graph.output.append(helper.make_tensor_value_info("sum", TensorProto.FLOAT, None))
    feeds = {"x": rng.integers(-9, 9, (1, 2, 3, 4)).astype(np.float32)}
    want = results(model, feeds, ["a", "b"])
    for each, expected in ((model, ["MatMul", "Add"] * 2), (shared, ["MatMul", "Add", "Slice", "Slice"])):
        assert without_unequal_splits(each)
        assert [node.op_type for node in each.graph.node] == expected
        read = {name for node in each.graph.node for name in node.input}
        assert all(tensor.name in read for tensor in each.graph.initializer)
        for value, right in zip(results(each, feeds, ["a", "b"]), want, strict=True):
            np.testing.assert_array_equal(value, right)


def test_a_concat_of_unknown_widths_stays() -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["H", "W", None]) for name in "abc"]
    node = helper.make_node("Concat", ["a", "b"], ["c"], axis=-1)
    model = helper.make_model(helper.make_graph([node], "graph", values[:2], values[2:]))
    assert not with_equal_concats(model)
    assert [node.op_type for node in model.graph.node] == ["Concat"]
