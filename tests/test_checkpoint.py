"""Checkpoints: every layout that exists loads as the same model; other tensors are refused with a reason."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from export.assembly import model_fingerprint
from export.checkpoint import Checkpoint, from_state, load_checkpoint
from export.layouts import with_haar
from export.schema import Config, expected_shapes, read_config
from glic_deploy.bundle import GraphAggregation
from glic_deploy.errors import CheckpointError

from .conftest import SAMPLE_CHECKPOINT

SAMPLE_FINGERPRINT = "8d0a3c8d6d0abb2bfe16f6b24803e287012ba9feb23e4b1bd3886c1d1db23fbc"
UNREAD = ("_offset", "_quantized_cdf", "_cdf_length", "scale_table", "bound", "target")
PRIOR = "latent_codec.hyper.entropy_bottleneck."
NEW_TO_OLD = {"matrices.": "_matrix", "biases.": "_bias", "factors.": "_factor"}


def old_name(key: str) -> str:
    for new, old in NEW_TO_OLD.items():
        key = key.replace(PRIOR + new, PRIOR + old)
    return key


def filled(state: dict[str, Tensor]) -> dict[str, Tensor]:
    tables = {key: torch.ones(5, 7) for key in state if key.endswith(("_quantized_cdf", "scale_table"))}
    return state | tables


def fork_name(key: str) -> str:
    """The name of a tensor in the fork of CompressAI."""
    for ours, theirs in (("hyper.h_a.", "h_a."), ("hyper.h_s.", "h_s."), ("hyper.", "z.")):
        if key.startswith(f"latent_codec.{ours}"):
            key = f"latent_codec.{theirs}" + key.removeprefix(f"latent_codec.{ours}")
            break
    if ".residual_group.blocks." not in key:
        key = key.replace(".norm2.", ".norm.")
    return key.replace(".OLP.", ".olp.").replace(".mixer.adaptor.", ".mixer.skip.")


def fork(state: dict[str, Tensor], wavelets: bool = False) -> dict[str, Tensor]:
    """The fork's layout, with or without the filters of its own wavelet transform."""
    result = {fork_name(key): value for key, value in state.items() if "dwt." not in key}
    if wavelets:
        taps = {"h0_col": (0.5, 0.5), "h1_col": (0.5, -0.5), "h0_row": (0.5, 0.5), "h1_row": (0.5, -0.5)}
        for i in range(4):
            for name, (a, b) in taps.items():
                filters = torch.tensor([a, b]).mul(2**0.5).reshape((1, 1, 2, 1) if "col" in name else (1, 1, 1, 2))
                result[f"g_a.AuxT_enc.{i}.dwt.transform.{name}"] = filters
                result[f"g_s.AuxT_dec.{i}.idwt.inverse.{name.replace('h', 'g')}"] = filters
    return result


def without_unread(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not key.endswith(UNREAD)}


def in_precision(state: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}


LAYOUTS = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}},
    "model_state_dict": lambda state: {"model_state_dict": state},
    "data parallel": lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
    "older prior": lambda state: {"state_dict": {old_name(key): value for key, value in state.items()}},
    "filled tables": lambda state: {"state_dict": filled(state)},
    "no unread tensors": without_unread,
    "compiled and data parallel": lambda state: {f"module._orig_mod.{key}": value for key, value in state.items()},
    "parameters": lambda state: {key: torch.nn.Parameter(value, requires_grad=False) for key, value in state.items()},
    "not contiguous": lambda state: {
        key: value.transpose(0, 1).contiguous().transpose(0, 1) if value.ndim == 4 else value
        for key, value in state.items()
    },
    "double": lambda state: in_precision(state, torch.float64),
    "fork": fork,
    "fork with wavelets": lambda state: {"state_dict": fork(state, wavelets=True)},
    "fork with older prior": lambda state: fork({old_name(key): value for key, value in state.items()}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_the_same_model(layout: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    torch.save(LAYOUTS[layout](checkpoint.state), path)
    loaded = load_checkpoint(path)
    assert loaded.config == checkpoint.config
    assert model_fingerprint(loaded) == model_fingerprint(checkpoint)


def test_the_fingerprint_of_the_sample_stays(checkpoint: Checkpoint) -> None:
    assert model_fingerprint(checkpoint) == SAMPLE_FINGERPRINT


def test_the_fork_renames_what_it_should(checkpoint: Checkpoint) -> None:
    names = set(fork(checkpoint.state))
    assert "g_a.g2.residual_group.blocks.0.norm2.weight" in names
    assert "g_a.g1.0.norm.weight" in names
    assert "latent_codec.z.entropy_bottleneck.quantiles" in names
    assert any(".mixer.skip." in name for name in names)
    assert not any(".norm2." in name and ".residual_group.blocks." not in name for name in names)


def test_haar_buffers_are_made_as_the_released_files_hold_them(checkpoint: Checkpoint) -> None:
    made = with_haar({}, checkpoint.state)
    assert len(made) == 20
    stored = torch.load(SAMPLE_CHECKPOINT, weights_only=True)["state_dict"]
    assert all(torch.equal(value, stored[key]) for key, value in made.items())


def test_other_wavelets_are_kept_or_refused(checkpoint: Checkpoint) -> None:
    changed = checkpoint.state | {"g_s.AuxT_dec.0.idwt.filters": torch.rand(4, 1, 2, 2)}
    assert model_fingerprint(from_state(changed, "c")) != SAMPLE_FINGERPRINT
    longer = fork(checkpoint.state) | {"g_a.AuxT_enc.0.dwt.transform.h0_col": torch.rand(1, 1, 4, 1)}
    with pytest.raises(CheckpointError, match=r"wavelets other than Haar's: .*h0_col"):
        from_state(longer, "c")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", ["bare", "fork"])
def test_half_precision_is_the_model_of_its_widened_values(
    layout: str, dtype: torch.dtype, checkpoint: Checkpoint
) -> None:
    half = in_precision(checkpoint.state, dtype)
    widened = from_state(in_precision(half, torch.float32), "widened")
    loaded = from_state(LAYOUTS[layout](half), "half")
    assert {value.dtype for value in loaded.state.values()} == {torch.float32, torch.int64}
    assert model_fingerprint(loaded) == model_fingerprint(widened) != SAMPLE_FINGERPRINT


def test_the_result_has_memory_of_its_own(checkpoint: Checkpoint) -> None:
    again = from_state(checkpoint.state, "again")
    assert list(again.state) == list(from_state(dict(reversed(checkpoint.state.items())), "reversed").state)
    assert all(value.data_ptr() != checkpoint.state[key].data_ptr() for key, value in again.state.items() if len(value))


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


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e35])
def test_values_that_no_training_gives_are_refused(value: float, checkpoint: Checkpoint, tmp_path: Path) -> None:
    broken = checkpoint.state["g_a.down0.bias"].clone()
    broken[0] = value
    message = refused(checkpoint.state | {"g_a.down0.bias": broken}, tmp_path / "c.pth")
    assert "not numbers, infinite or beyond 1e+09 in g_a.down0.bias; download the file again" in message


KEY = "g_a.down0.weight"
INDEX = "g_a.g2.residual_group.blocks.0.grapher.relative_position_index"


def unfit(kind: str, value: Tensor) -> Tensor:
    """A tensor of the same shape that is no weight."""
    if kind == "sparse":
        return value.to_sparse()
    if kind == "meta":
        return value.to("meta")
    if kind == "quantized":
        return torch.quantize_per_tensor(value, 0.1, 0, torch.qint8)
    if kind == "expanded":
        return torch.zeros(1).expand(value.shape)
    return value.to(getattr(torch, kind))


@pytest.mark.filterwarnings("ignore:.*quantize")
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("float8_e4m3fn", "is float8_e4m3fn, expected float32"),
        ("int32", "is int32, expected float32"),
        ("bool", "is bool, expected float32"),
        ("complex64", "is complex64, expected float32"),
        ("sparse", "is float32 in sparse_coo form, expected a dense tensor"),
        ("meta", "is float32 without values"),
        ("quantized", "is qint8, expected float32"),
        ("expanded", "claims 648 values and stores fewer"),
    ],
)
def test_tensors_that_are_no_weights_are_named(kind: str, reason: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    state = checkpoint.state | {KEY: unfit(kind, checkpoint.state[KEY])}
    assert f"{KEY} {reason}" in refused(state, tmp_path / "c.pth")


def test_indexes_must_be_integers(checkpoint: Checkpoint, tmp_path: Path) -> None:
    index = checkpoint.state[INDEX]
    message = refused(checkpoint.state | {INDEX: index.bfloat16()}, tmp_path / "c.pth")
    assert f"{INDEX} is bfloat16, expected integers" in message
    assert torch.equal(from_state(checkpoint.state | {INDEX: index.int()}, "c").state[INDEX], index)


def test_doubles_that_would_be_rounded_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    message = refused(checkpoint.state | {KEY: checkpoint.state[KEY].double() / 3}, tmp_path / "c.pth")
    assert f"float64 values that float32 cannot hold in {KEY}; save as float32" in message


def test_a_tensor_under_two_names_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    state = checkpoint.state | {f"module.{KEY}": checkpoint.state[KEY]}
    assert f"{KEY} and module.{KEY} are the same tensor" in refused(state, tmp_path / "c.pth")
    theirs = "latent_codec.h_a.0.weight"
    state = checkpoint.state | {theirs: checkpoint.state["latent_codec.hyper.h_a.0.weight"]}
    assert f"{theirs} are the same tensor" in refused(state, tmp_path / "c.pth")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"g_a.down3.weight": (48, 32, 3, 3)}, "5 slices have 64 channels, expected the 48 of y"),
        ({"g_a.down1.weight": (31, 24, 3, 3)}, "g_a.g2 has 32 channels and 4 heads, expected 31"),
        ({"g_a.down0.weight": (1 << 40, 3, 3, 3)}, "expected 4 dimensions of 1 to 65536"),
        ({"g_a.down0.weight": (3,)}, r"g_a.down0.weight is \[3\], expected 4 dimensions"),
        ({"g_a.down0.weight": (1,) * 1000}, "is of 1000 dimensions"),
        ({INDEX: (1024, 256)}, "windows of 32 exceed the 16"),
    ],
)
def test_contradicting_dimensions_are_refused(
    changed: dict[str, tuple[int, ...]], reason: str, checkpoint: Checkpoint
) -> None:
    shapes = {key: tuple(value.shape) for key, value in checkpoint.state.items()} | changed
    with pytest.raises(ValueError, match=reason):
        read_config(shapes)


@pytest.mark.parametrize(
    "name",
    [
        "g_a.g2.residual_group.blocks.10000000.norm1.weight",
        "g_a.g2.residual_group.blocks.²." + "9" * 5000,
        "latent_codec.y.latent_codec.y99999999.context_prediction.weight",
        "module." * 100_000 + "x",
        "\x1b[31m\n" * 1000,
        "",
    ],
)
def test_odd_names_are_refused_at_once(name: str, checkpoint: Checkpoint) -> None:
    start = time.monotonic()
    with pytest.raises(CheckpointError, match="1 unexpected") as caught:
        from_state(checkpoint.state | {name: torch.zeros(1)}, "c")
    assert time.monotonic() - start < 60
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


def test_many_slices_take_linear_time(checkpoint: Checkpoint) -> None:
    slices = 20_000
    shapes = {key: tuple(value.shape) for key, value in checkpoint.state.items()} | {
        f"latent_codec.y.latent_codec.y{k}.context_prediction.weight": (2, 1, 5, 5) for k in range(slices)
    }
    start = time.monotonic()
    shapes["g_a.down3.weight"] = (slices, 32, 3, 3)
    assert len(read_config(shapes).groups) == slices
    assert time.monotonic() - start < 60


def test_a_key_that_is_no_name_and_a_value_that_is_no_tensor_are_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match=r"holds what is no tensor: g_a\.x is a list"):
        from_state(checkpoint.state | {"g_a.x": [1]}, "c")  # type: ignore[dict-item]


SMALL = Config(
    widths=(2, 2, 2),
    latent=2,
    hyper=2,
    groups=(1, 1),
    graphs=tuple(GraphAggregation(name, 2, depth=1, heads=1) for name in ("g_a.g2", "g_a.g3", "g_s.g1", "g_s.g2")),
    window=2,
    sample=4,
)


def small_state() -> dict[str, Tensor]:
    return {
        key: torch.zeros(shape or 0, dtype=torch.int64 if key.endswith("index") else torch.float32)
        for key, shape in expected_shapes(SMALL).items()
    }


def test_a_small_network_loads() -> None:
    assert from_state(small_state(), "small").config == SMALL


VALUES = st.sampled_from(
    [
        torch.zeros(()),
        torch.zeros(0),
        torch.zeros(1),
        torch.zeros(2, 2, 3, 3),
        torch.zeros(2, 2, dtype=torch.int64),
        torch.zeros(1).expand(1 << 40, 1 << 20),
        torch.zeros(2, 2, device="meta"),
        torch.full((2,), float("nan")),
        torch.full((2,), 1e300, dtype=torch.float64),
        torch.ones(2).to_sparse(),
        torch.ones(2, dtype=torch.complex64),
        torch.ones(2, dtype=torch.float8_e5m2),
        torch.zeros((1,) * 64),
        None,
        "text",
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_mutations_of_a_state_dict_raise_nothing_else(data: st.DataObject) -> None:
    state = small_state()
    names = st.sampled_from(sorted(state))
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(names)
        action = data.draw(st.sampled_from(["drop", "replace", "rename", "add", "transpose", "cast"]))
        value = state.get(name, torch.zeros(1))
        if action == "drop":
            state.pop(name, None)
        elif action == "replace":
            state[name] = data.draw(VALUES)
        elif action == "add":
            state[data.draw(st.text(max_size=20) | names.map(lambda key: f"module.{key}"))] = data.draw(VALUES)
        elif action == "rename":
            at = data.draw(st.integers(0, len(name)))
            state[name[:at] + data.draw(st.text(max_size=3)) + name[at:]] = state.pop(name, value)
        elif action == "cast" and isinstance(value, Tensor) and value.device.type == "cpu" and value.numel() < 1000:
            state[name] = value.to(data.draw(st.sampled_from([torch.float16, torch.int8, torch.bool, torch.float64])))
        elif isinstance(value, Tensor) and value.layout == torch.strided:
            state[name] = value.mT if value.ndim > 1 else value[None]
    try:
        loaded = from_state(state, "mutated")
    except CheckpointError:
        return
    assert set(loaded.state) <= set(expected_shapes(loaded.config))
