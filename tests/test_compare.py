"""`python -m export.compare`, and Polygraphy's own tools on a bundle's graphs."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from glic_deploy.backends.onnxruntime import OnnxRuntimeBackend
from glic_deploy.bundle import MANIFEST, Bundle, sha256
from glic_deploy.errors import EngineError
from glic_deploy.image import load_image
from glic_deploy.saving import save_image

from .conftest import PHOTOS, ROOT

pytest.importorskip("polygraphy", reason="needs Polygraphy: pip install 'glic-deploy[polygraphy]'")

from polygraphy import cuda
from polygraphy.backend.base import BaseRunner
from polygraphy.common import TensorMetadata
from polygraphy.comparator import RunResults
from polygraphy.json import load_json
from polygraphy.tools import main as polygraphy

from export.compare import main
from export.comparison.inputs import coding_inputs, shipped_image
from export.comparison.outcomes import compare_graph
from export.comparison.report import render
from export.comparison.runners import Configuration, of_backend, require_cuda_runtime


@dataclass(frozen=True)
class Run:
    """What a run of the command gave."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def row(self, name: str) -> str:
        return next(line for line in self.lines if line.startswith(f"{name} "))


def command(*arguments: str | Path) -> Run:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(map(str, arguments)))
    return Run(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "crop.png"
    save_image(load_image(PHOTOS / "kodim23.png")[:100, 200:320], path)
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("comparisons") / "saved"


@pytest.fixture(scope="module")
def whole(engine: Path, image: Path, saved: Path) -> Run:
    """All graphs on all runners that work here."""
    return command("--engine", engine, image, "--save", saved)


def test_all_graphs_agree_on_all_runners(whole: Run, engine: Path) -> None:
    assert whole.code == 0, whole.out + whole.err
    graphs = Bundle.open(engine).graphs()
    assert whole.lines[-1] == f"all {len(graphs)} graphs on 1 image agree"
    runners = whole.lines[1].split()
    assert runners[:4] == ["base", "native", "fused", "integer"]
    for graph in graphs:
        exact = whole.row(graph).count("exact")
        of_transforms = 1  # fused
        assert exact == len(runners) - 1 - of_transforms or not graph.startswith(("slice", "hyper_synthesis"))


def test_a_runner_that_cannot_be_had_is_listed_with_the_reason(whole: Run) -> None:
    runners = whole.lines[1].split()
    for name in ("openvino", "openvino-bf16", "onnxruntime-cuda", "tensorrt", "tensorrt-plan"):
        reasons = [
            line for line in whole.lines if name in re.findall(r"[\w-]+", line.partition(": ")[2].partition(": ")[0])
        ]
        assert (name in runners) != bool(reasons), name


def test_polygraphy_does_not_write_into_the_table(whole: Run) -> None:
    assert not [line for line in (whole.out + whole.err).splitlines() if line.startswith(("[I]", "[W]", "[E]", "[!]"))]


def test_what_is_saved_is_read_by_polygraphys_tools(
    whole: Run, saved: Path, engine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = Bundle.open(engine)
    for graph in bundle.graphs():
        (inputs,) = load_json(str(saved / graph / "inputs.json"))
        assert set(inputs) == {port.name for port in bundle.ports(graph)[0]}
        results = RunResults.load(str(saved / graph / "results.json"))
        assert set(results["base"][0]) == set(bundle.outputs(graph))
    for name in ("inputs", "results", "accuracy"):
        assert polygraphy(["inspect", "data", str(saved / "slice0_anchors" / f"{name}.json")]) == 0
    graph = engine / "graphs" / "slice0_anchors.base.onnx"
    given = ("--load-inputs", str(saved / "slice0_anchors" / "inputs.json"))
    wanted = ("--load-outputs", str(saved / "slice0_anchors" / "results.json"), "--atol", "0", "--rtol", "0")
    assert polygraphy(["run", str(graph), "--onnxrt", *given, *wanted]) == 0
    assert "FAILED" not in capsys.readouterr().out


def test_only_an_earlier_comparison_is_overwritten(whole: Run, saved: Path, engine: Path, image: Path) -> None:
    few = ("--engine", engine, image, "--runners", "base,native", "--threads", "1", "--save")
    other = saved.parent / "other"
    other.mkdir()
    (other / "thesis.txt").touch()
    refused = command(*few, other)
    assert refused.code == 2
    assert f"error: {other} exists and is no earlier comparison" in refused.err
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]
    copy = saved.parent / "copy"
    shutil.copytree(saved, copy)
    assert command(*few, copy).code == 0
    summary = json.loads((copy / "comparison.json").read_text())
    assert {outcome["runner"] for outcome in summary["outcomes"]} == {"base", "native"}
    assert [path.name for path in saved.parent.iterdir() if path.name.startswith(".")] == []


def spoil(engine: Path, graph: str, change: Callable[[np.ndarray], np.ndarray], kind: int) -> None:
    """Change the first constant of a type inside a native graph's file, and the manifest so that the bundle loads."""
    name = f"graphs/{graph}.native.onnx"
    model = onnx.load(engine / name, load_external_data=False)
    tensor = next(
        tensor
        for tensor in model.graph.initializer
        if tensor.data_type == kind and tensor.data_location != TensorProto.EXTERNAL and np.prod(tensor.dims) >= 4
    )
    changed = change(numpy_helper.to_array(tensor))
    tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
    (engine / name).write_bytes(model.SerializeToString())
    manifest = json.loads((engine / MANIFEST).read_bytes())
    manifest["files"][name] = {"bytes": (engine / name).stat().st_size, "sha256": sha256(engine / name)}
    (engine / MANIFEST).write_text(json.dumps(manifest))


def test_a_graph_that_is_spoilt_is_found(engine: Path, image: Path, tmp_path: Path) -> None:
    copy = tmp_path / "spoilt"
    shutil.copytree(engine, copy)
    spoil(copy, "slice1_anchors", lambda values: values + 40, TensorProto.INT32)
    spoil(copy, "synthesis", lambda values: values + np.float32(0.25), TensorProto.FLOAT)
    found = command("--engine", copy, image, "--runners", "base,native")
    assert found.code == 1
    for graph in Bundle.open(engine).graphs():
        assert found.row(graph).count("WRONG") == (graph in ("slice1_anchors", "synthesis"))
    assert any(line.startswith("WRONG: slice1_anchors on native: ") for line in found.lines)
    assert any(line.startswith("WRONG: synthesis on native: image differs by ") for line in found.lines)
    assert found.lines[-1].endswith("graphs on 1 image differ: slice1_anchors, synthesis")


class Altered(BaseRunner):
    """Gives what `change` makes of the right outputs."""

    def __init__(self, wanted: dict[str, np.ndarray], change: Callable[[dict[str, np.ndarray]], Any]) -> None:
        super().__init__(name="other")
        self._outputs, self._change = wanted, change

    def get_input_metadata_impl(self) -> TensorMetadata:
        return TensorMetadata()

    def infer_impl(self, feed_dict: object) -> Any:
        self.inference_time = 0.001
        return self._change(dict(self._outputs))


def _without(output: str) -> Callable[[dict[str, np.ndarray]], Any]:
    return lambda outputs: {name: value for name, value in outputs.items() if name != output}


def _raise(outputs: object) -> Any:
    raise RuntimeError("the runtime says no")


@pytest.mark.parametrize(
    ("change", "right", "said"),
    [
        (lambda outputs: outputs, True, "exact"),
        (lambda outputs: outputs | {"indexes": outputs["indexes"] ^ 1}, False, "WRONG 1"),
        (lambda outputs: outputs | {"means": np.nextafter(outputs["means"], np.float32(9e9))}, False, "WRONG"),
        (lambda outputs: outputs | {"means": np.full_like(outputs["means"], np.nan)}, False, "WRONG nan"),
        (lambda outputs: outputs | {"means": outputs["means"][:, :, :, :-1]}, False, "WRONG nan"),
        (_without("means"), False, "means differs by nan"),
        (_raise, False, "FAILED: slice0_anchors on other: the runtime says no"),
    ],
    ids=["nothing", "an index", "the last bit", "NaN", "a shape", "no output", "an error"],
)
def test_every_value_of_the_entropy_path_counts(
    engine: Path, image: Path, change: Callable[[dict[str, np.ndarray]], Any], right: bool, said: str
) -> None:
    bundle = Bundle.open(engine)
    backend = OnnxRuntimeBackend(bundle, 1)
    feed = coding_inputs(bundle, backend, load_image(image))["slice0_anchors"]
    wanted = dict(zip(bundle.outputs("slice0_anchors"), backend.run("slice0_anchors", feed), strict=True))
    reference = of_backend(backend, bundle, "reference")
    other = Configuration("other", "fp16", lambda graph: Altered(wanted, change))
    outcomes = compare_graph(bundle, "slice0_anchors", [feed, feed], [reference, other]).outcomes
    assert [outcome.right for outcome in outcomes] == [True, right]
    assert said in render(outcomes, ["reference", "other"], {}, 2)


def test_one_image_of_several_that_differs_is_enough(engine: Path, image: Path) -> None:
    bundle = Bundle.open(engine)
    pixels = load_image(image)
    backend = OnnxRuntimeBackend(bundle, 1)
    feeds = [coding_inputs(bundle, backend, image)["hyper_analysis"] for image in (pixels, pixels[::-1])]
    wanted = dict(zip(bundle.outputs("hyper_analysis"), backend.run("hyper_analysis", feeds[0]), strict=True))
    reference = of_backend(backend, bundle, "reference")
    other = Configuration("other", "fp32", lambda graph: Altered(wanted, lambda outputs: outputs))
    *_, outcome = compare_graph(bundle, "hyper_analysis", feeds, [reference, other]).outcomes
    assert not outcome.right  # the runner gives the first image's result for the second as well
    *_, outcome = compare_graph(bundle, "hyper_analysis", feeds[:1], [reference, other]).outcomes
    assert outcome.right


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--runners", "base,nativ"], "no runner of .* is called 'nativ'; there are: base, "),
        (["--runners", "base"], "there is nothing to compare base with"),
        (["--runners", "integer,base"], "integer, which the other runners are compared with, cannot run analysis"),
        (["--runners", "base,tensorrt"], "runner tensorrt does not work here: "),
        (["missing.png"], "missing.png"),
    ],
)
def test_errors_exit_with_2(engine: Path, arguments: list[str], said: str) -> None:
    if "tensorrt" in arguments[-1]:
        from glic_deploy.backends.cuda import gpu_capability

        if gpu_capability() is not None:
            pytest.skip("needs a machine without an NVIDIA GPU")
    found = command("--engine", engine, *arguments)
    assert found.code == 2
    assert found.err.splitlines()[-1].startswith("error: ")
    assert re.search(said, found.err)


def test_what_is_no_bundle_exits_with_2(tmp_path: Path) -> None:
    found = command("--engine", tmp_path)
    assert (found.code, found.out) == (2, "")
    assert "is no engine bundle" in found.err


def test_without_polygraphy_it_says_what_to_install(engine: Path) -> None:
    program = (
        "import sys; sys.modules['polygraphy'] = None; from export.compare import main; "
        f"sys.exit(main(['--engine', {str(engine)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: polygraphy is not installed: pip install 'glic-deploy[polygraphy]'\n"


def test_the_shipped_image_is_of_moderate_size() -> None:
    assert load_image(shipped_image()).shape == (256, 256, 3)


def test_the_cuda_runtime_of_nvidias_wheels_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "")
    monkeypatch.setattr("polygraphy.cuda.cuda.G_CUDA", None)
    libraries = tmp_path / "nvidia" / "cu13" / "lib"
    libraries.mkdir(parents=True)
    shutil.copy(ROOT / "glic_deploy" / "_native" / "librans.so", libraries / "libcudart.so.13")
    monkeypatch.syspath_prepend(tmp_path)
    require_cuda_runtime()
    assert cuda.wrapper().handle._name == str(libraries / "libcudart.so.13")


def test_without_a_cuda_runtime_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise OSError("libcudart.so: cannot open shared object file")

    monkeypatch.setattr(cuda, "wrapper", missing)
    with pytest.raises(EngineError, match="pip install nvidia-cuda-runtime"):
        require_cuda_runtime()


def test_polygraphy_inspects_every_graph(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted((engine / "graphs").glob("*.onnx"))
    assert len(files) == sum(len(graph.forms) for graph in Bundle.open(engine).manifest.graphs.values())
    for file in files:
        assert polygraphy(["inspect", "model", str(file)]) == 0, capsys.readouterr().out
        assert f"Name: {file.name.split('.')[0]}" in capsys.readouterr().out


def test_polygraphy_runs_every_base_graph(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = Bundle.open(engine)
    for graph in bundle.graphs():
        taken = {port.name: port.at(128, 256) for port in bundle.ports(graph)[0]}
        shapes = [f"{name}:[{','.join(map(str, shape))}]" for name, shape in taken.items()]
        path = bundle.graph(graph, ["base"])
        code = polygraphy(["run", str(path), "--onnxrt", "--input-shapes", *shapes])
        out = capsys.readouterr().out
        assert code == 0, out
        given = bundle.output_shapes(graph, taken)
        for port in bundle.ports(graph)[1]:
            assert f"{port.name} [dtype={port.dtype}, shape={given[port.name]}]" in out
