"""Hyperprior and context model in floating point: from z's symbols to a CDF index and a mean for every symbol of y.

The modules are the passes of a decoder: hyper synthesis once, then for each slice the anchors (positions of even
row + column) and, given the anchors, the non-anchors. Packed maps hold one parity at half width.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from glic_deploy.entropy.passes import MAX_SYMBOL

from ..tables import SCALE_TABLE
from .blocks import (
    Conv,
    GatedTransform,
    ParameterAggregation,
    SubpelConv,
    channels_first,
    channels_last,
    sequence,
)
from .scope import Scope


class HyperAnalysis(nn.Module):
    """h_a and the rounding of z: float32 y (1, M, h, w) to int16 symbols (1, N, h/4, w/4)."""

    medians: Tensor

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        h_a = scope / "h_a"
        self.layers = nn.Sequential(
            Conv(h_a / 0),
            GatedTransform(h_a / 1),
            GatedTransform(h_a / 2),
            Conv(h_a / 3, stride=2),
            GatedTransform(h_a / 4),
            GatedTransform(h_a / 5),
            Conv(h_a / 6, stride=2),
        )
        self.register_buffer("medians", medians(scope))

    def forward(self, y: Tensor) -> Tensor:
        return torch.round(self.layers(y) - self.medians).clamp(-MAX_SYMBOL, MAX_SYMBOL).to(torch.int16)


class HyperSynthesis(nn.Module):
    """h_s: int16 symbols of z (1, N, h/4, w/4) to hyper parameters, float32 (1, 2N, h, w)."""

    medians: Tensor

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        h_s = scope / "h_s"
        self.layers = nn.Sequential(
            SubpelConv(h_s / 0),
            GatedTransform(h_s / 1),
            GatedTransform(h_s / 2),
            SubpelConv(h_s / 3),
            GatedTransform(h_s / 4),
            GatedTransform(h_s / 5),
            Conv(h_s / 6),
        )
        self.register_buffer("medians", medians(scope))

    def forward(self, z_symbols: Tensor) -> Tensor:
        hyper: Tensor = self.layers(z_symbols.float() + self.medians)
        return hyper


def medians(scope: Scope) -> Tensor:
    """Return the value of symbol 0 in each channel of z; float32 (1, N, 1, 1)."""
    return (scope / "entropy_bottleneck")["quantiles"][:, 0, 1].reshape(1, -1, 1, 1)


def pack(x: Tensor, parity: int) -> Tensor:
    """Return the positions of one parity (0: anchors) of a map (N, C, h, w) as a map of half the width."""
    n, c, h, w = x.shape
    cells = x.reshape(n, c, h // 2, 2, w // 2, 2)
    rows = [cells[:, :, :, 0, :, parity], cells[:, :, :, 1, :, 1 - parity]]
    return torch.stack(rows, dim=3).reshape(n, c, h, w // 2)


class SliceAnchors(nn.Module):
    """Channel context and the parameters of a slice's anchors.

    The inputs are hyper parameters (1, 2N, h, w) and, from the second slice on, y_hat of the slices before
    (1, C, h, w). The outputs are CDF indexes uint8 and means float32, packed (1, C_k, h, w/2), and the packed support
    of the non-anchors.
    """

    def __init__(self, scope: Scope, k: int) -> None:
        super().__init__()
        self.context = sequence(GatedTransform, scope / "channel_context" / f"y{k}") if k else None
        self.estimate = _Estimate(scope / "latent_codec" / f"y{k}", spatial=False)

    def forward(self, hyper: Tensor, y_hat: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        support = hyper if self.context is None else torch.cat([self.context(y_hat), hyper], dim=1)
        indexes, means = self.estimate(pack(support, 0))
        return indexes, means, pack(support, 1)


class SliceNonanchors(nn.Module):
    """The parameters of a slice's non-anchors, given its anchors.

    The inputs are y_hat of the anchors as a whole map (1, C_k, h, w), zero elsewhere, and the support from
    `SliceAnchors`. The outputs are CDF indexes and means, packed.
    """

    def __init__(self, scope: Scope, k: int) -> None:
        super().__init__()
        slice_scope = scope / "latent_codec" / f"y{k}"
        self.spatial = Conv(slice_scope / "context_prediction")
        self.spatial.weight *= (slice_scope / "context_prediction")["mask"]
        self.estimate = _Estimate(slice_scope, spatial=True)

    def forward(self, anchors: Tensor, support: Tensor) -> tuple[Tensor, Tensor]:
        indexes, means = self.estimate(torch.cat([pack(self.spatial(anchors), 1), support], dim=1))
        return indexes, means


class _Estimate(nn.Module):
    """Parameter aggregation, then CDF indexes from scales. For anchors, the weights of the spatial context are cut."""

    thresholds: Tensor

    def __init__(self, scope: Scope, spatial: bool) -> None:
        super().__init__()
        self.layers = sequence(ParameterAggregation, scope / "entropy_parameters")
        if not spatial:
            mixer = cast(ParameterAggregation, self.layers[0]).mixer
            mixer.weight = mixer.weight[:, (scope / "context_prediction")["weight"].shape[0] :].contiguous()
        self.register_buffer("thresholds", torch.from_numpy(SCALE_TABLE[:-1].copy()))

    def scales_and_means(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scales, means = channels_first(self.layers(channels_last(x))).chunk(2, dim=1)
        return scales, means

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scales, means = self.scales_and_means(x)
        above = scales.unsqueeze(-1) > self.thresholds
        return above.sum(dim=-1).to(torch.uint8), means
