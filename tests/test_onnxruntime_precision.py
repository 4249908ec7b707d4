"""bfloat16 in onnxruntime on the CPU: its noise, when it is chosen, and who may not have it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from glic_deploy import Codec, conformance, machine
from glic_deploy.backends import precision_trial
from glic_deploy.backends.base import Backend
from glic_deploy.backends.noise import NOISE_LIMIT
from glic_deploy.backends.onnxruntime import OnnxRuntimeBackend
from glic_deploy.bundle import MANIFEST, Bundle
from glic_deploy.errors import EngineError


@pytest.fixture(scope="module")
def bundle(engine: Path) -> Bundle:
    return Bundle.open(engine)


def test_the_noise_of_bfloat16_is_negligible(bundle: Bundle) -> None:
    plain, low = OnnxRuntimeBackend(bundle, 2), OnnxRuntimeBackend(bundle, 2, precision="bf16", emulate=True)
    trial = precision_trial.run_trial(plain, low)
    assert NOISE_LIMIT < trial.noise < 75
    assert precision_trial.run_trial(plain, plain).noise == float("inf")


def test_the_entropy_path_stays_exact(bundle: Bundle) -> None:
    assert conformance.check(bundle, OnnxRuntimeBackend(bundle, 1, precision="bf16", emulate=True)) > 10_000


@pytest.mark.parametrize(("noise", "gain", "chosen"), [(65.0, 2.0, "bf16"), (60.0, 2.0, "fp32"), (65.0, 1.0, "fp32")])
def test_a_trial_chooses(
    noise: float, gain: float, chosen: str, engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def run_trial(plain: Backend, low: Backend) -> precision_trial.Trial:
        tried.append(low.precision)
        return precision_trial.Trial(noise, gain)

    monkeypatch.setenv("GLIC_CACHE", str(tmp_path))
    monkeypatch.setattr(machine, "has_bfloat16", lambda: True)
    monkeypatch.setattr(precision_trial, "run_trial", run_trial)
    for _ in range(2):  # the second time it is known
        with Codec(engine, backend="onnxruntime") as codec:
            assert codec.describe()["backend"]["precision"] == chosen
    assert tried == ["bf16"]
    for named in ("fp32", "bf16"):
        with Codec(engine, backend="onnxruntime", precision=named) as codec:  # type: ignore[arg-type]
            assert codec.describe()["backend"]["precision"] == named
    assert tried == ["bf16"]


def test_a_processor_without_bfloat16_is_not_tried(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "has_bfloat16", lambda: False)
    monkeypatch.setattr(precision_trial, "run_trial", lambda *_: pytest.fail("tried"))
    with Codec(engine, backend="onnxruntime") as codec:
        assert codec.describe()["backend"]["precision"] == "fp32"
    with pytest.raises(EngineError, match=re.escape("this CPU has no bfloat16")):
        Codec(engine, backend="onnxruntime", precision="bf16")


def test_a_bundle_without_the_form_runs_in_float32(
    engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle of an earlier version, on a processor with bfloat16."""
    old = tmp_path / "old.engine"
    shutil.copytree(engine, old)

    manifest = json.loads((old / MANIFEST).read_text())
    for graph in manifest["graphs"].values():
        graph["forms"].pop("fused", None)
    (old / MANIFEST).write_text(json.dumps(manifest))
    monkeypatch.setattr(machine, "has_bfloat16", lambda: True)
    with Codec(old, backend="onnxruntime") as codec:
        assert codec.describe()["backend"]["precision"] == "fp32"
    with pytest.raises(EngineError, match="have no form fused, which precision bf16 needs; export the checkpoint"):
        Codec(old, backend="onnxruntime", precision="bf16")
