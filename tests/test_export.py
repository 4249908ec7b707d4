"""The bundle that an export writes: complete, checked, the same for the same checkpoint, whole or absent."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from export.assembly import _warn_of_unmatched, entropy_tables, forms_for_kernels, model_fingerprint
from export.bundle import bundle_directory
from export.checkpoint import Checkpoint, from_state, load_checkpoint
from export.graphs import transform_graphs
from export.native import for_kernels, unmatched
from export.progress import Progress
from export.to_onnx import export_bundle, main
from export.tracing import trace
from glic_deploy.backends.onnxruntime import open_session
from glic_deploy.errors import CheckpointError, GlicError

from .conftest import ROOT, SAMPLE_CHECKPOINT


def manifest(engine: Path) -> dict:  # type: ignore[type-arg]
    return json.loads((engine / "manifest.json").read_text())


def test_manifest_lists_every_file_with_its_hash(engine: Path) -> None:
    listed = manifest(engine)["files"]
    present = {path.relative_to(engine).as_posix() for path in engine.rglob("*") if path.is_file()}
    assert present - set(listed) == {"manifest.json"}
    for name, entry in listed.items():
        data = (engine / name).read_bytes()
        assert entry == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_graphs_are_valid_and_their_ends_are_as_the_manifest_says(engine: Path) -> None:
    entries = manifest(engine)["graphs"]
    assert {"analysis", "hyper_analysis", "hyper_synthesis", "synthesis"} <= set(entries)
    for entry in entries.values():
        for form in entry["forms"].values():
            model = onnx.load(engine / form["file"])
            onnx.checker.check_model(model)
            for ports, values in ((entry["inputs"], model.graph.input), (entry["outputs"], model.graph.output)):
                assert [port["name"] for port in ports] == [value.name for value in values]
                for port, value in zip(ports, values, strict=True):
                    kind = value.type.tensor_type
                    assert np.dtype(port["dtype"]) == onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
                    assert port["shape"] == [d.dim_param or d.dim_value for d in kind.shape.dim]


def test_transforms_hold_the_graph_ops_as_nodes(engine: Path, checkpoint: Checkpoint) -> None:
    entries = manifest(engine)["graphs"]
    blocks = sum(graph.depth for graph in checkpoint.config.graphs)
    counted = sum(entries[name]["forms"]["base"]["plugins"] for name in ("analysis", "synthesis"))
    # A complexity map and two choices of neighbours for each, and an aggregation for each block.
    assert counted == 3 * len(checkpoint.config.graphs) + blocks
    entropy = [name for name in entries if name.startswith(("hyper", "slice"))]
    assert not any(entries[name]["forms"]["base"]["plugins"] for name in entropy)


def test_no_pickle_anywhere(engine: Path) -> None:
    kinds = {path.suffix for path in engine.rglob("*") if path.is_file()}
    assert kinds == {".json", ".onnx", ".bin", ".npz"}
    for path in engine.glob("*.npz"):
        with np.load(path, allow_pickle=False) as arrays:
            assert arrays.files


def test_exporting_again_gives_the_same_fingerprints(engine: Path, checkpoint: Checkpoint) -> None:
    state = {f"module.{key}": value.clone() for key, value in reversed(checkpoint.state.items())}
    again = from_state(state, "again")
    assert model_fingerprint(again) == manifest(engine)["model"]["fingerprint"]
    changed = checkpoint.state | {"g_a.down0.bias": checkpoint.state["g_a.down0.bias"] + 1}
    assert model_fingerprint(from_state(changed, "changed")) != model_fingerprint(again)


@pytest.mark.parametrize("name", ["analysis", "synthesis"])
def test_the_forms_for_our_kernels_compute_the_same(name: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    spec = next(spec for spec in transform_graphs(checkpoint) if spec.name == name)
    base = trace(spec, spec.build())
    forms = forms_for_kernels(base)
    native = forms["native"]
    kinds = Counter(node.op_type for node in native.graph.node)
    assert kinds["Scan"] == kinds["DepthwiseMix"] == 3
    assert kinds["DepthwiseGate"] == kinds["ScatterAggregate"] > 0
    assert kinds["WinogradInput"] == kinds["WinogradShuffle"] == (2 if name == "synthesis" else 0)
    assert kinds["LayerNormalization"] == 2  # those before which nothing is added
    assert not {"Gelu", "Split", "DepthToSpace", "LeakyRelu"} & set(kinds)
    scans = [node.attribute for node in native.graph.node if node.op_type == "Scan"]
    bodies = [attribute.g.node for attributes in scans for attribute in attributes if attribute.name == "body"]
    assert [[node.op_type for node in body] for body in bodies] == [["MatMul", "Gate", "MatMul"]] * 3

    example = spec.examples(2, 1)[0].numpy()
    results = []
    for kind, model in {"base": base, **forms}.items():
        path = tmp_path / f"{kind}.onnx"
        onnx.save(model, path)
        results.append(open_session(path, threads=1).run(None, {spec.inputs[0].name: example})[0].astype(np.float32))
    # A last-place difference before a graph is built may flip an edge of it; nothing else may differ.
    for result in results[1:]:
        differing = np.abs(results[0] - result) > 1e-4 * np.abs(results[0]).max()
        assert differing.mean() < 0.01


def test_only_transforms_have_a_native_form_of_this_kind(checkpoint: Checkpoint) -> None:
    native = {spec.name for spec in transform_graphs(checkpoint) if spec.native_ops}
    assert native == {"analysis", "synthesis"}


def test_interrupted_export_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with bundle_directory(tmp_path / "bundle") as directory:
            (directory / "half").write_text("written")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_only_bundles_are_replaced(tmp_path: Path) -> None:
    precious = tmp_path / "photos"
    precious.mkdir()
    (precious / "a.png").write_text("mine")
    with pytest.raises(GlicError, match="is no engine bundle"), bundle_directory(precious):
        raise AssertionError("never entered")
    assert (precious / "a.png").read_text() == "mine"
    (precious / "manifest.json").write_text('{"name": "a web application"}')
    with pytest.raises(GlicError, match="not that of an engine bundle"), bundle_directory(precious):
        raise AssertionError("never entered")
    assert sorted(os.listdir(precious)) == ["a.png", "manifest.json"]


def test_a_bundle_with_files_of_others_is_not_replaced(engine: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "glic.engine"
    shutil.copytree(engine, bundle)
    with bundle_directory(bundle) as directory:
        shutil.copytree(engine, directory, dirs_exist_ok=True)
    shutil.copy(SAMPLE_CHECKPOINT, bundle / "glic.pth")
    (bundle / "graphs" / "notes.txt").write_text("mine")
    with pytest.raises(GlicError, match=r"holds 2 files that are not the bundle's .glic\.pth, graphs/notes\.txt"):
        export_bundle(load_checkpoint(bundle / "glic.pth"), bundle)
    assert (bundle / "glic.pth").read_bytes() == SAMPLE_CHECKPOINT.read_bytes()
    assert (bundle / "graphs" / "notes.txt").read_text() == "mine"


def test_command_line_refuses_a_file_that_is_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"fc.weight": torch.zeros(3)}, path)
    assert main(["--checkpoint", str(path), "--output", str(tmp_path / "out")]) == 1
    assert "error: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_prior_that_gives_no_tables_is_refused(checkpoint: Checkpoint) -> None:
    key = "latent_codec.hyper.entropy_bottleneck.quantiles"
    wide = checkpoint.state[key] * 1e6
    with pytest.raises(CheckpointError, match=r"quantiles of a channel span .* download the checkpoint again"):
        entropy_tables(replace(checkpoint, state=checkpoint.state | {key: wide}))


def test_float_profile_is_marked(checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.to_onnx.add_traced_graphs", lambda *args: None)
    said = io.StringIO()
    export_bundle(checkpoint, tmp_path / "float", Progress(said), entropy="float", previews=False)
    written = manifest(tmp_path / "float")
    assert written["arithmetic"]["profile"] == "float"
    assert "preview" not in written["graphs"]
    assert "decode only where they were written" in said.getvalue()


def test_every_pattern_of_the_sample_network_is_rewritten(engine: Path, checkpoint: Checkpoint) -> None:
    for spec in transform_graphs(checkpoint):
        if spec.native_ops:
            for form, ops in spec.native_ops.items():
                assert unmatched(onnx.load(engine / "graphs" / f"{spec.name}.{form}.onnx"), ops) == []


@pytest.mark.slow
def test_every_pattern_of_a_network_of_released_size_is_rewritten(tmp_path: Path) -> None:
    full_size = tmp_path / "full.pth"
    subprocess.run([sys.executable, "-m", "benchmarks.full_size_checkpoint", full_size], check=True, cwd=ROOT)
    for spec in transform_graphs(load_checkpoint(full_size)):
        if spec.native_ops:
            for form, model in forms_for_kernels(trace(spec, spec.build().eval())).items():
                assert unmatched(model, spec.native_ops[form]) == []


def test_a_pattern_that_a_rewrite_misses_is_told(
    engine: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (spec,) = (spec for spec in transform_graphs(checkpoint) if spec.name == "analysis")
    monkeypatch.setattr("export.native._fuse_depthwise_mixer", lambda graph, node: None)
    forms = forms_for_kernels(onnx.load(engine / "graphs" / "analysis.base.onnx"))
    with caplog.at_level(logging.WARNING, "glic_deploy"):
        for form, model in forms.items():
            _warn_of_unmatched(spec, form, model)
    for form, op in (("native", "DepthwiseMix"), ("fused", "GatedTransform")):
        assert f"graph analysis has 0 nodes {op} in its form {form}, expected 3" in caplog.text
    assert "pip install torch==" in caplog.text


def test_a_norm_of_a_product_without_a_residual_stays() -> None:
    """As in the float entropy path, whose bias is no map that a product updates."""
    model = onnx.parser.parse_model("""
        <ir_version: 9, opset_import: ["" : 20]>
        g (float[1,h,w,4] x) => (float[1,h,w,4] y)
        <float[4,4] first = {1,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,0,1}, float[4] bias = {1,2,3,5},
         float[4] weight = {1,1,1,1}, float[4] offset = {0,0,0,0},
         float[4,4] second = {1,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,0,1}>
        {
            product = MatMul (x, first)
            biased = Add (product, bias)
            normed = LayerNormalization <epsilon = 1e-5> (biased, weight, offset)
            y = MatMul (normed, second)
        }
    """)
    assert [node.op_type for node in for_kernels(model).graph.node].count("LayerNormalization") == 1
