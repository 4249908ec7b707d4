"""Checkpoint files: every layout that exists loads alike; everything else is refused with a reason, and never run."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path

import pytest
import torch

from export.checkpoint import Checkpoint, load_checkpoint
from export.to_onnx import model_fingerprint
from glic_deploy.errors import CheckpointError

from .conftest import SAMPLE_CHECKPOINT

PRIOR = "latent_codec.hyper.entropy_bottleneck."
NEW_TO_OLD = {"matrices.": "_matrix", "biases.": "_bias", "factors.": "_factor"}


def old_name(key: str) -> str:
    for new, old in NEW_TO_OLD.items():
        key = key.replace(PRIOR + new, PRIOR + old)
    return key


def filled(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    tables = {key: torch.ones(5, 7) for key in state if key.endswith(("_quantized_cdf", "scale_table"))}
    return state | tables


LAYOUTS = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}},
    "model_state_dict": lambda state: {"model_state_dict": state},
    "data parallel": lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
    "older prior": lambda state: {"state_dict": {old_name(key): value for key, value in state.items()}},
    "filled tables": lambda state: {"state_dict": filled(state)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_the_same_model(layout: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    torch.save(LAYOUTS[layout](checkpoint.state), path)
    loaded = load_checkpoint(path)
    assert loaded.config == checkpoint.config
    assert model_fingerprint(loaded) == model_fingerprint(checkpoint)


def test_configuration_is_read_from_shapes(checkpoint: Checkpoint) -> None:
    config = checkpoint.config
    assert config.groups == (4, 4, 8, 16, 32)
    assert (config.widths, config.latent, config.hyper) == ((24, 32, 32), 64, 32)
    assert {(graph.depth, graph.heads) for graph in config.graphs} == {(2, 4)}
    assert (config.window, config.sample) == (8, 16)


def refused(content: object, path: Path) -> str:
    torch.save(content, path)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    return str(caught.value)


def test_missing_extra_and_misshaped_keys_are_named(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    state = dict(checkpoint.state)
    del state["g_a.down0.bias"]
    assert re.search(r"1 missing: g_a\.down0\.bias", refused(state, path))
    assert "1 unexpected: g_a.extra" in refused(checkpoint.state | {"g_a.extra": torch.zeros(1)}, path)
    wrong = refused(checkpoint.state | {"g_s.up1.0.bias": torch.zeros(3)}, path)
    assert "g_s.up1.0.bias is [3], expected [128]" in wrong
    state = {key: value for key, value in checkpoint.state.items() if not key.endswith(".bias")}
    assert re.search(r"\d+ missing: .*\.\.\. \(\d+ in all\)", refused(state, path))


@pytest.mark.parametrize(
    ("keys", "guess"),
    [
        (["g_a.0.weight", "entropy_bottleneck._matrix0"], "another learned image codec"),
        (["layer1.0.bn1.running_mean", "fc.weight"], "a convolutional classifier"),
        (["encoder.layer.0.attention.self.query.weight"], "a transformer"),
        (["w"], "something else: w"),
    ],
)
def test_other_networks_are_recognised(keys: list[str], guess: str, tmp_path: Path) -> None:
    assert guess in refused({key: torch.zeros(2) for key in keys}, tmp_path / "c.pth")


@pytest.mark.parametrize("content", [[1, 2], 7, {"epoch": 1}, {"state_dict": {}}, {"state_dict": [1]}])
def test_files_without_tensors_are_refused(content: object, tmp_path: Path) -> None:
    refused(content, tmp_path / "c.pth")


def test_not_a_number_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    broken = checkpoint.state["g_a.down0.bias"].clone()
    broken[0] = float("nan")
    assert "g_a.down0.bias" in refused(checkpoint.state | {"g_a.down0.bias": broken}, tmp_path / "c.pth")


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_pickled_code_is_never_run(save, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path, trace = tmp_path / "c.pth", tmp_path / "ran"
    save({"state_dict": Bomb(trace)}, path)
    with pytest.raises(CheckpointError, match="nothing in it was run"):
        load_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize("length", [0, 1, 100, 4096, 1_000_000, -1000, -1])
def test_cut_files_are_refused(length: int, tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    path.write_bytes(SAMPLE_CHECKPOINT.read_bytes()[:length])
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    path.write_bytes(os.urandom(5000))
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match="no such file"):
        load_checkpoint(tmp_path / "absent.pth")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path)
