"""The network against values that the authors' model computes: each stage from the golden input of that stage.

The small network's are here; those of a full-size one are large and looked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from unittest.mock import patch

import numpy as np
import pytest
import torch

from benchmarks.full_size_checkpoint import make_state
from export.checkpoint import Checkpoint, from_state
from export.network import Analysis, HyperAnalysis, HyperSynthesis, SliceAnchors, SliceNonanchors, Synthesis
from export.network.graph import GraphAggregation
from export.network.scope import Scope
from glic_deploy.image import pad

from .conftest import DATA, large_data

Golden = Mapping[str, np.ndarray]


@pytest.fixture(scope="module")
def official() -> Checkpoint:
    return from_state(make_state(), "the full-size checkpoint")


CASES = ["tiny_graphic_256x256", "tiny_photo_250x200", "official_photo_250x200", "official_graphic_256x256"]


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Iterator[tuple[Checkpoint, Golden]]:
    kept = DATA / "golden" / f"{request.param}.npz"
    path = kept if kept.exists() else large_data(f"golden/{request.param}.npz")
    name = "checkpoint" if request.param.startswith("tiny") else "official"
    with np.load(path) as values:
        yield request.getfixturevalue(name), values


def tensor(values: Golden, name: str) -> torch.Tensor:
    return torch.from_numpy(values[name])[None]


def assert_close(result: torch.Tensor, expected: np.ndarray, tolerance: float) -> None:
    """Equal within a fraction of each channel's range."""
    expected = expected.reshape(expected.shape[0], -1)
    spread = np.maximum(np.ptp(expected, axis=1, keepdims=True), 1e-6)
    difference = np.abs(result.numpy().reshape(expected.shape) - expected) / spread
    assert difference.max() <= tolerance


def run(module: torch.nn.Module, *inputs: torch.Tensor):  # type: ignore[no-untyped-def]
    with torch.inference_mode():
        return module(*inputs)


def test_hyper_transforms(case: tuple[Checkpoint, Golden]) -> None:
    checkpoint, golden = case
    hyper = Scope(checkpoint.state) / "latent_codec" / "hyper"
    z = run(HyperAnalysis(hyper), tensor(golden, "y"))
    np.testing.assert_array_equal(z[0].numpy(), golden["z_symbols"])
    assert_close(run(HyperSynthesis(hyper), z), golden["hyper_params"], 1e-5)


def test_entropy_parameters(case: tuple[Checkpoint, Golden]) -> None:
    checkpoint, golden = case
    scope = Scope(checkpoint.state) / "latent_codec" / "y"
    y_hat, hyper, start = tensor(golden, "y_hat"), tensor(golden, "hyper_params"), 0
    rows, columns = np.indices(golden["y_hat"].shape[1:])
    for k, group in enumerate(checkpoint.config.groups):
        before = (y_hat[:, :start],) if k else ()
        indexes, means, support = run(SliceAnchors(scope, k), hyper, *before)
        assert_close(means, golden[f"slice{k}_anchor_means"], 1e-5)
        np.testing.assert_array_equal(indexes[0].numpy(), golden[f"slice{k}_anchor_indexes"])
        anchors = y_hat[:, start : start + group] * torch.from_numpy((rows + columns) % 2 == 0)
        indexes, means = run(SliceNonanchors(scope, k), anchors, support)
        assert_close(means, golden[f"slice{k}_nonanchor_means"], 1e-5)
        np.testing.assert_array_equal(indexes[0].numpy(), golden[f"slice{k}_nonanchor_indexes"])
        start += group


def golden_graphs(golden: Golden, name: str) -> tuple[torch.Tensor, ...]:
    edges = (golden[f"{name}_{kind}_edges"] for kind in ("local", "global"))
    return tuple(torch.from_numpy(e.view("<i4").reshape(1, -1, 64, 8).astype(np.int32)) for e in edges)


def test_transforms_over_golden_graphs(case: tuple[Checkpoint, Golden]) -> None:
    """One flipped edge moves the output, so the edges are given and only the arithmetic is compared."""
    checkpoint, golden = case
    root = Scope(checkpoint.state)
    analysis, synthesis = Analysis(root / "g_a"), Synthesis(root / "g_s")
    places = {"g_a.g2": analysis.stages[1], "g_a.g3": analysis.stages[2]}
    places |= {"g_s.g1": synthesis.stages[0], "g_s.g2": synthesis.stages[1]}
    forced = {
        id(stage): golden_graphs(golden, name) for name, stage in places.items() if f"{name}_local_edges" in golden
    }

    def graphs(self: GraphAggregation, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return forced[id(self)]

    with patch.object(GraphAggregation, "graphs", graphs):
        y = run(analysis, torch.from_numpy(pad(golden["image"])))
        assert_close(y, golden["y"], 1e-4)
        if id(synthesis.stages[0]) in forced:
            with torch.inference_mode():
                image = synthesis.reconstruct(tensor(golden, "y_hat"))
            assert_close(image, golden["x_hat_unclamped"], 1e-4)


def test_synthesis_rounds_half_up(checkpoint: Checkpoint) -> None:
    synthesis = Synthesis(Scope(checkpoint.state) / "g_s")
    levels = torch.tensor([-0.1, 0.0, 0.49 / 255, 0.5 / 255, 254.5 / 255, 1.0, 7.0]).reshape(1, 1, 1, -1)
    with patch.object(Synthesis, "reconstruct", lambda self, y_hat: levels.expand(1, 3, 1, -1)):
        image = run(synthesis, torch.zeros(1))
    assert image[0, :, 0].tolist() == [0, 0, 0, 1, 255, 255, 255]
