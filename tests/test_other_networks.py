"""Checkpoints of other networks are recognised by their keys, and codecs named only where the keys tell them apart."""

from __future__ import annotations

import pytest
import torch

from export.checkpoint import from_state
from export.other_networks import guess
from glic_deploy.errors import CheckpointError

Shapes = dict[str, tuple[int, ...]]
LATENT, HYPER = 24, 16


def keys(text: str) -> Shapes:
    return {key: (2,) for key in text.split()}


PRIOR = keys("entropy_bottleneck.quantiles entropy_bottleneck._matrix0")
GAUSSIAN = PRIOR | keys("gaussian_conditional.scale_table")
GDN = {"g_a.6.weight": (LATENT, HYPER, 5, 5)} | keys("g_a.0.weight g_a.1.beta g_a.1.gamma g_s.0.weight")
HYPER_A = keys("h_a.0.weight h_a.2.weight h_a.4.weight")
CONTEXT = keys(
    "context_prediction.weight context_prediction.mask entropy_parameters.0.weight entropy_parameters.4.weight"
)
ANCHOR = GAUSSIAN | CONTEXT | keys("g_a.0.conv1.weight g_a.0.gdn.beta g_a.6.weight h_a.8.weight h_s.4.weight")
SLICES = keys(
    "cc_mean_transforms.0.0.weight cc_scale_transforms.0.0.weight lrp_transforms.0.0.weight h_mean_s.0.weight"
)
CHECKERBOARD = keys("local_context.0.weight channel_context.1.fushion.0.weight entropy_parameters_anchor.0.x.weight")

CODECS: dict[str, Shapes] = {
    "bmshj2018-factorized": PRIOR | GDN,
    "bmshj2018-hyperprior": GAUSSIAN | GDN | HYPER_A | {"h_s.4.weight": (LATENT, HYPER, 3, 3)},
    "mbt2018-mean": GAUSSIAN | GDN | HYPER_A | {"h_s.4.weight": (2 * LATENT, 36, 3, 3)},
    "mbt2018": GAUSSIAN | GDN | HYPER_A | CONTEXT | {"h_s.4.weight": (2 * LATENT, 36, 3, 3)},
    "cheng2020-anchor": ANCHOR,
    "cheng2020-attn": ANCHOR | keys("g_a.3.conv_a.0.conv.0.weight"),
    "ELIC": GAUSSIAN | CHECKERBOARD | keys("g_a.analysis_transform.0.weight"),
    "MLIC++ (or another of the MLIC family)": GAUSSIAN
    | CHECKERBOARD
    | keys(
        "g_a.analysis_transform.0.conv1.weight global_inter_context.1.keys.weight lrp_anchor.0.lrp_transform.0.weight"
    ),
    "TCM": GAUSSIAN
    | SLICES
    | keys("atten_mean.0.0.in_conv.weight atten_scale.0.0.in_conv.weight g_a.1.trans_block.ln1.weight"),
    "DCAE": GAUSSIAN | SLICES | keys("dt dt_cross_attention.0.q.weight"),
    "FTIC": GAUSSIAN | keys("tca.TCA.layers.0.q1.weight tca.hyper_trans.weight h_mean_s.0.conv.weight"),
    "CCA": GAUSSIAN
    | keys("mean_NAF_transforms.0.in_conv.weight scale_NAF_transforms.0.in_conv.weight mean_cc_transforms.0.0.weight"),
}


@pytest.mark.parametrize("codec", CODECS)
def test_known_codecs_are_named(codec: str) -> None:
    assert guess(CODECS[codec]) == f"it looks like {codec}, another learned image codec"


def test_elic_as_compressai_has_it_is_named() -> None:
    names = "g_a.1.conv3.weight latent_codec.y.channel_context.y1.0.weight"
    inner = "latent_codec.y.latent_codec.y0.context_prediction.weight latent_codec.hyper.entropy_bottleneck.quantiles"
    assert "it looks like ELIC" in guess(keys(f"{names} {inner}"))


@pytest.mark.parametrize(
    "shapes",
    [
        GAUSSIAN,
        PRIOR | keys("g_a.0.weight g_a.2.weight g_a.6.weight"),
        GAUSSIAN | SLICES,
        GAUSSIAN | GDN | HYPER_A,
        GAUSSIAN | GDN | HYPER_A | {"h_s.4.weight": (3 * LATENT, 36, 3, 3)},
        GAUSSIAN | GDN | HYPER_A | {"h_s.4.weight": ()},
        keys("z_entropy_bottleneck.quantiles"),
    ],
)
def test_codecs_that_the_keys_do_not_identify_are_not_named(shapes: Shapes) -> None:
    assert guess(shapes) == "it looks like another learned image codec"


def test_the_name_is_in_the_error() -> None:
    state = {f"module.{key}": torch.zeros(shape) for key, shape in CODECS["mbt2018-mean"].items()}
    with pytest.raises(
        CheckpointError, match=r"no GLIC network \(it looks like mbt2018-mean, .*\): .* is missing; pass"
    ):
        from_state(state, "c")


def test_names_of_any_length_are_read() -> None:
    assert "something else" in guess({"." * 1_000_000: (), "x" * 1_000_000: (1,)})
