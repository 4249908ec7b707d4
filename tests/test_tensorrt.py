"""TensorRT-RTX for real, without a GPU: the plugin library loads, graphs parse with it, plans are built."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.check_plans import check_plans
from export.ops.translation import PLUGIN
from export.precision import in_half_precision
from export.tensorrt_bundle import add_graphs, add_plans
from export.to_trt import main
from glic_deploy import EngineError, PluginError
from glic_deploy.backends.onnxruntime import OnnxRuntimeBackend
from glic_deploy.bundle import TENSORRT, Bundle, Port
from glic_deploy.native import library_path
from glic_deploy.ops import DOMAIN, OPS
from glic_deploy.tensorrt import (
    RTX_CAPABILITIES,
    BuildOptions,
    Flavour,
    Profile,
    build_plan,
    choose,
    load,
    on_terminal,
)

from .hostile_ops import CASES

pytestmark = pytest.mark.tensorrt


@pytest.fixture(scope="module")
def rtx() -> Flavour:
    pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX: pip install tensorrt-rtx")
    try:
        return load("rtx")
    except PluginError as error:
        pytest.skip(f"needs the plugin library: {error}")


def graph_of(op: str, changed: dict[str, object] | None = None, **types: int) -> onnx.ModelProto:
    """One node of an op on a 32×48 map of 16 channels and 2 heads, its attributes and types changed as asked."""
    every: dict[str, dict[str, tuple[int, ...]]] = {
        "ComplexityMap": {"x": (1, 32, 48, 16)},
        "DynamicKnn": {"x": (1, 32, 48, 16), "complexity": (1, 32, 48)},
        "ScatterAggregate": {
            "q": (1, 32, 48, 16),
            "kv": (1, 32, 48, 32),
            "graph": (1, 24, 64, 8),
            "bias": (2, 64, 256),
            "scale": (2,),
        },
        "GatedFfn": {"x": (1, 32, 48, 16), "expand": (16, 64), "bias": (64,), "project": (32, 16)},
        "DepthwiseGatedFfn": {
            "x": (1, 32, 48, 16),
            "expand": (16, 64),
            "bias": (64,),
            "filter": (64, 1, 3, 3),
            "project": (32, 16),
        },
    }
    shapes = every[op]
    kinds = {name: TensorProto.INT32 if name == "graph" else TensorProto.FLOAT for name in shapes}
    if "GatedFfn" in op:
        kinds |= dict.fromkeys(("x", "expand", "project"), TensorProto.FLOAT16)
    kinds |= types
    inputs = [helper.make_tensor_value_info(name, kinds[name], shape) for name, shape in shapes.items()]
    attributes = CASES[op][1] | ({"channels": 16} if op == "ComplexityMap" else {}) | PLUGIN | (changed or {})
    node = helper.make_node(op, list(shapes), ["out"], domain=DOMAIN, **attributes)
    kinds_of_others = {"ComplexityMap": TensorProto.FLOAT, "DynamicKnn": TensorProto.INT32}
    kind = kinds_of_others.get(op, kinds[next(iter(shapes))])
    output = helper.make_tensor_value_info("out", kind, None)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(helper.make_graph([node], op, inputs, [output]), opset_imports=opsets, ir_version=10)


def build(flavour: Flavour, model: onnx.ModelProto, path: Path, plugins: int = 1) -> bytes:
    onnx.save(model, path)
    return build_plan(flavour, path, [], plugins, BuildOptions(capabilities=((8, 9),)))


def test_the_library_exports_two_symbols_and_needs_no_tensorrt() -> None:
    try:
        library = library_path("glic_tensorrt")
    except PluginError as error:
        pytest.skip(f"needs the plugin library: {error}")
    if shutil.which("nm") is None:
        pytest.skip("needs nm, of binutils")
    listed = subprocess.run(["nm", "-D", library], capture_output=True, text=True, check=True).stdout.splitlines()
    defined = {line.split()[-1] for line in listed if " T " in line}
    assert defined == {"getCreators", "setLoggerFinder"}
    assert not [line for line in listed if " U " in line and ("nvinfer" in line or "cuda" in line.lower())]


@pytest.mark.parametrize("op", ["ComplexityMap", "DynamicKnn", "ScatterAggregate"])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_a_node_becomes_a_plan(rtx: Flavour, tmp_path: Path, op: str, kind: int) -> None:
    types = {"q": kind, "kv": kind} if op == "ScatterAggregate" else {"x": kind}
    assert build(rtx, graph_of(op, **types), tmp_path / "node.onnx")


@pytest.mark.parametrize("op", ["GatedFfn", "DepthwiseGatedFfn"])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_a_feed_forward_becomes_a_plan(rtx: Flavour, tmp_path: Path, op: str, kind: int) -> None:
    assert build(rtx, graph_of(op, x=kind, expand=kind, project=kind), tmp_path / "node.onnx")


@pytest.mark.parametrize("epsilon", [1, "small"])
def test_a_feed_forward_with_a_wrong_attribute_is_refused(
    rtx: Flavour, tmp_path: Path, capfd: pytest.CaptureFixture[str], epsilon: object
) -> None:
    with pytest.raises(EngineError, match="cannot parse"):
        build(rtx, graph_of("GatedFfn", {"epsilon": epsilon}), tmp_path / "node.onnx")
    assert "glic::GatedFfn: attribute epsilon is missing or of another type" in capfd.readouterr().err


def integer_graph(op: str, changed: dict[str, int] | None = None) -> onnx.ModelProto:
    """One node of an integer op, its attributes changed as asked, on a map whose height is not known yet."""
    shapes, attributes = CASES[op]
    names = list(OPS[op].inputs)
    constants = [
        numpy_helper.from_array(np.zeros(shape, np.int8 if OPS[op].inputs[name] == "int8" else np.int32), name)
        for name, shape in zip(names[1:], shapes[1:], strict=True)
    ]
    x = helper.make_tensor_value_info(names[0], TensorProto.FLOAT, ("h", *shapes[0][1:]))
    node = helper.make_node(op, names, ["out"], domain=DOMAIN, **(attributes | (changed or {}) | PLUGIN))
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(helper.make_graph([node], op, [x], [out], constants), opset_imports=opsets, ir_version=10)


INTEGER_OPS = pytest.mark.parametrize("op", [name for name, op in OPS.items() if op.folder == "integer"])


def build_integer(flavour: Flavour, op: str, model: onnx.ModelProto, path: Path) -> bytes:
    onnx.save(model, path)
    port = Port(next(iter(OPS[op].inputs)), "float32", ("H/16", *CASES[op][0][0][1:]))
    return build_plan(flavour, path, [port], 1, BuildOptions(capabilities=((8, 9),)), exact=True)


@INTEGER_OPS
def test_an_integer_node_becomes_a_plan(rtx: Flavour, tmp_path: Path, op: str) -> None:
    assert build_integer(rtx, op, integer_graph(op), tmp_path / "node.onnx")


@INTEGER_OPS
def test_an_integer_node_with_a_wrong_attribute_or_shape_is_refused(
    rtx: Flavour, tmp_path: Path, capfd: pytest.CaptureFixture[str], op: str
) -> None:
    attribute = next(iter(OPS[op].attributes))
    with pytest.raises(EngineError, match="cannot parse"):
        build_integer(rtx, op, integer_graph(op, {attribute: -1}), tmp_path / "node.onnx")
    assert f"glic::{op}: attribute {attribute} is -1, expected 0 to" in capfd.readouterr().err
    model = integer_graph(op)
    shift = model.graph.initializer[-1]
    shift.CopyFrom(numpy_helper.from_array(np.zeros(3, np.int32), shift.name))
    with pytest.raises(EngineError, match="cannot"):
        build_integer(rtx, op, model, tmp_path / "node.onnx")
    assert "shift has shape [3], expected [" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("op", "weight", "layer"),
    [("MatMul", (8, 8), "MATRIX_MULTIPLY"), ("Conv", (8, 8, 1), "CONVOLUTION"), ("ReduceSum", (1,), "REDUCE")],
)
def test_a_sum_of_tensorrt_in_an_exact_graph_is_refused(
    rtx: Flavour, tmp_path: Path, op: str, weight: tuple[int, ...], layer: str
) -> None:
    values = np.ones(weight, np.int64 if op == "ReduceSum" else np.float32)
    x, out = (helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 8, 8)) for name in ("x", "out"))
    node = helper.make_node(op, ["x", "weight"], ["out"], **({"keepdims": 1} if op == "ReduceSum" else {}))
    graph = helper.make_graph([node], op, [x], [out], [numpy_helper.from_array(values, "weight")])
    if op == "ReduceSum":
        graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "sum.onnx")
    with pytest.raises(EngineError, match=f"would compute {layer} of .* itself"):
        build_plan(rtx, tmp_path / "sum.onnx", [], 0, BuildOptions(capabilities=((8, 9),)), exact=True)


@pytest.mark.parametrize("op", ["DynamicKnn", "ScatterAggregate"])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sampling": 2}, "attribute sampling is 2, expected 0 (local) or 1 (global)"),
        ({"window": 4}, "attributes window, sample are 4, 16, expected 8, 16"),
        ({"sampling": "local"}, "attribute sampling"),
    ],
)
def test_wrong_attributes_are_refused(
    rtx: Flavour, tmp_path: Path, capfd: pytest.CaptureFixture[str], op: str, changed: dict[str, object], message: str
) -> None:
    with pytest.raises(EngineError, match="cannot parse"):
        build(rtx, graph_of(op, changed), tmp_path / "node.onnx")
    assert f"glic::{op}: {message}" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("op", "types", "message"),
    [
        ("ComplexityMap", {"x": TensorProto.INT32}, "x is int32, expected float32, float16 or bfloat16"),
        ("DynamicKnn", {"x": TensorProto.INT32}, "x is int32, expected float32, float16 or bfloat16"),
        ("DynamicKnn", {"complexity": TensorProto.FLOAT16}, "complexity is float16, expected float32"),
        ("ScatterAggregate", {"kv": TensorProto.FLOAT16}, "kv is float16, expected float32"),
        ("ScatterAggregate", {"graph": TensorProto.FLOAT}, "graph is float32, expected int32"),
        ("ScatterAggregate", {"bias": TensorProto.FLOAT16}, "bias is float16, expected float32"),
        ("GatedFfn", {"x": TensorProto.FLOAT}, "x is float32, expected float16 or bfloat16"),
        ("GatedFfn", {"project": TensorProto.BFLOAT16}, "project is bfloat16, expected float16"),
    ],
)
def test_wrong_types_are_refused(
    rtx: Flavour, tmp_path: Path, capfd: pytest.CaptureFixture[str], op: str, types: dict[str, int], message: str
) -> None:
    with pytest.raises(EngineError, match="cannot"):
        build(rtx, graph_of(op, **types), tmp_path / "node.onnx")
    assert f"glic::{op}: {message}" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("op", "tensor", "shape", "expected"),
    [
        ("DynamicKnn", "x", [1, 24, 48, 16], "[N, H, W, C] with H and W multiples of 16"),
        ("DynamicKnn", "complexity", [1, 32, 32], "[1, 32, 48]"),
        ("ScatterAggregate", "kv", [1, 32, 48, 16], "[1, 32, 48, 32]"),
        ("ScatterAggregate", "graph", [1, 24, 64, 4], "[1, 24, 64, 8]"),
        ("ScatterAggregate", "bias", [2, 64, 128], "[2, 64, 256]"),
        ("ScatterAggregate", "scale", [3], "[2]"),
        ("GatedFfn", "expand", [16, 48], "[16, 64]"),
        ("GatedFfn", "bias", [32], "[64]"),
        ("GatedFfn", "project", [32, 24], "[32, 16]"),
        ("DepthwiseGatedFfn", "filter", [64, 1, 5, 5], "[64, 1, 3, 3]"),
    ],
)
def test_wrong_shapes_are_refused(
    rtx: Flavour,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    op: str,
    tensor: str,
    shape: list[int],
    expected: str,
) -> None:
    model = graph_of(op)
    value = next(value for value in model.graph.input if value.name == tensor)
    value.CopyFrom(helper.make_tensor_value_info(tensor, value.type.tensor_type.elem_type, shape))
    with pytest.raises(EngineError, match="cannot"):
        build(rtx, model, tmp_path / "node.onnx")
    assert f"glic::{op}: {tensor} has shape {shape}, expected {expected}" in capfd.readouterr().err


def test_a_function_body_in_place_of_a_plugin_is_refused(rtx: Flavour, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"made 1 plugin layers of .*, expected 2: it would run the ops' slow"):
        build(rtx, graph_of("DynamicKnn"), tmp_path / "node.onnx", plugins=2)


def test_graphs_of_the_sample_network_become_plans(rtx: Flavour, gpu_engine: Path, tmp_path: Path) -> None:
    """The transforms in half precision, and one graph of the entropy path; all others in `make tensorrt-check`."""
    bundle = Bundle.open(gpu_engine)
    lines: list[str] = []
    for name in (*bundle.transforms(), "slice1_anchors"):
        form = bundle.form(name, TENSORRT)
        assert (form.plugins > 0) == (name != "preview")
        options = BuildOptions(Profile(), RTX_CAPABILITIES, 1 << 34)
        inputs, _ = bundle.ports(name)
        path = bundle.graph(name, [TENSORRT])
        exact = name in bundle.exact_graphs()
        assert build_plan(rtx, path, inputs, form.plugins, options, lines.append, exact=exact)
    assert lines  # of TensorRT's progress


def test_of_a_timing_cache_rtx_makes_no_use(rtx: Flavour, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    options = BuildOptions(capabilities=((8, 9),), timing_cache=tmp_path / "timing.cache")
    path = tmp_path / "node.onnx"
    onnx.save(graph_of("DynamicKnn"), path)
    assert build_plan(rtx, path, [], 1, options)
    assert not (tmp_path / "timing.cache").exists()
    assert not [warning for warning in recwarn if "Timing cache" in str(warning.message)]


def test_progress_goes_to_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert on_terminal() is None
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    show = on_terminal()
    assert show is not None
    show("Building: 1 of 3")
    assert capsys.readouterr().err == "\r\033[KBuilding: 1 of 3\r"


def test_plans_are_listed_and_checked(
    rtx: Flavour,
    gpu_engine: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = tmp_path / "engine"
    shutil.copytree(gpu_engine, engine)
    monkeypatch.setattr("export.tensorrt_bundle.build_plan", lambda *arguments, **options: b"a plan")
    add_plans(engine, rtx, ((8, 9),), BuildOptions())
    add_plans(engine, rtx, ((12, 0),), BuildOptions())
    bundle = Bundle.open(engine)
    assert len(bundle.plans()) == 2 * len(bundle.graphs())
    plan = bundle.plans()[0]
    assert plan.flavour == "rtx"
    assert plan.capabilities == ((8, 9),)
    assert plan.precision == "fp16"
    assert listed_plans(engine) == plan_files(engine)

    add_graphs(engine, "fp16")  # they come out as they were, so the plans still fit
    assert len(Bundle.open(engine).plans()) == 2 * len(bundle.graphs())
    add_plans(engine, rtx, ((8, 9), (12, 0)), BuildOptions())  # serves all that the earlier ones served
    assert len(Bundle.open(engine).plans()) == len(bundle.graphs())
    assert listed_plans(engine) == plan_files(engine)

    plan = Bundle.open(engine).plans()[0]
    (engine / plan.file).write_bytes(b"another")
    with pytest.raises(EngineError, match=r"SHA-256|bytes"):
        Bundle.open(engine).file(plan.file)


def test_plans_of_other_graphs_are_deleted(
    rtx: Flavour, gpu_engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tmp_path / "engine"
    shutil.copytree(gpu_engine, engine)
    monkeypatch.setattr("export.tensorrt_bundle.build_plan", lambda *arguments, **options: b"a plan")
    add_plans(engine, rtx, ((8, 9),), BuildOptions())
    add_graphs(engine, "fp32")
    kept = Bundle.open(engine).plans()
    assert {plan.graph for plan in kept}.isdisjoint(Bundle.open(engine).transforms())
    assert listed_plans(engine) == plan_files(engine)


def listed_plans(engine: Path) -> set[str]:
    return {plan.file for plan in Bundle.open(engine).plans()}


def plan_files(engine: Path) -> set[str]:
    return {path.relative_to(engine).as_posix() for path in (engine / "plans").iterdir()}


def test_plans_that_fail_their_check_are_not_kept(
    rtx: Flavour, gpu_engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tmp_path / "engine"
    shutil.copytree(gpu_engine, engine)
    monkeypatch.setattr("export.tensorrt_bundle.build_plan", lambda *arguments, **options: b"a plan")
    add_plans(engine, rtx, ((8, 9),), BuildOptions())
    files = [engine / plan.file for plan in Bundle.open(engine).plans()]
    monkeypatch.setattr("export.check_plans.TensorRTBackend", lambda bundle: OnnxRuntimeBackend(bundle, 1))
    monkeypatch.setattr("export.check_plans.conformance.check", lambda bundle, backend: 1)
    monkeypatch.setattr("export.check_plans.transform_psnr", lambda bundle, plans: 20.0)
    with pytest.raises(EngineError, match=r"20\.0 dB .* --precision"):
        check_plans(engine, lambda plan: True)
    assert files
    assert not any(path.exists() for path in files)
    assert not Bundle.open(engine).plans()


def test_the_command_refuses_what_it_cannot_build_for(
    rtx: Flavour,
    gpu_engine: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine = tmp_path / "engine"
    shutil.copytree(gpu_engine, engine)
    assert main(["--engine", str(engine), "--compute-capability", "9.0", "--flavour", "rtx"]) == 1
    assert "TensorRT-RTX does not serve compute capability 9.0" in capsys.readouterr().err
    Bundle.open(engine).graph("analysis", [TENSORRT])  # the bundle stays valid


def test_without_any_tensorrt_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glic_deploy.tensorrt.flavours.installed", list)
    with pytest.raises(EngineError, match="no TensorRT is installed: pip install tensorrt or pip install tensorrt-rtx"):
        choose(None)
    with pytest.raises(EngineError, match="flavour rtx is not installed: pip install tensorrt-rtx"):
        choose((8, 9), "rtx")


@pytest.mark.parametrize("sizes", [((128, 128), (100, 128), (512, 512)), ((256, 128), (128, 128), (512, 512))])
def test_profiles_that_cannot_be_are_refused(sizes: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(EngineError, match=r"expected (multiples of 128|smallest)"):
        Profile(*sizes)


def test_half_precision_keeps_the_complexity_map_and_norms_in_float32(gpu_engine: Path) -> None:
    model = onnx.load(gpu_engine / "graphs" / "analysis.base.onnx")
    half = in_half_precision(model, "fp16")
    kinds = {
        value.name: value.type.tensor_type.elem_type
        for value in onnx.shape_inference.infer_shapes(half).graph.value_info
    }
    kinds |= {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    for node in half.graph.node:
        if node.op_type in ("LayerNormalization", "Sqrt", "ReduceMean"):
            assert all(kinds[name] in (TensorProto.FLOAT, TensorProto.INT64) for name in node.input)
        if node.op_type == "ComplexityMap":  # reads what a convolution gave, in halves, and computes in float32
            assert [kinds[name] for name in (*node.input, *node.output)] == [TensorProto.FLOAT16, TensorProto.FLOAT]
        if node.op_type == "MatMul":
            assert all(kinds[name] == TensorProto.FLOAT16 for name in node.input)
    assert [node.op_type for node in half.graph.node].count("ComplexityMap") == 2
    assert [(v.name, v.type) for v in half.graph.output] == [(v.name, v.type) for v in model.graph.output]
