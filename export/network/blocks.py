"""Building blocks shared by the transforms and the entropy model.

Maps are float32. They are channels-first (N, C, H, W) for convolutions, and channels-last (N, H, W, C) for modules that
work on one position at a time (layer norms, gated feed-forward networks) and for attention.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .scope import Scope


def channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def channels_first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


class Conv(nn.Module):
    """Convolution of a channels-first map, padded by half its kernel."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, scope: Scope, stride: int = 1, depthwise: bool = False) -> None:
        super().__init__()
        self.register_buffer("weight", scope["weight"])
        self.register_buffer("bias", scope.get("bias"))
        self.stride = stride
        self.groups = self.weight.shape[0] if depthwise else 1

    def forward(self, x: Tensor) -> Tensor:
        padding = self.weight.shape[-1] // 2
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, groups=self.groups)


class Linear(nn.Module):
    """Linear map over the last axis, from the weights of a linear layer or of a 1×1 convolution."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight.flatten(1))
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class LayerNorm(nn.Module):
    """Normalises over the last axis, biased variance."""

    weight: Tensor
    bias: Tensor

    def __init__(self, scope: Scope, eps: float) -> None:
        super().__init__()
        self.register_buffer("weight", scope["weight"])
        self.register_buffer("bias", scope["bias"])
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, list(self.weight.shape), self.weight, self.bias, self.eps)


class SubpelConv(nn.Module):
    """3×3 convolution to four times the channels, then pixel shuffle by 2."""

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self.conv = Conv(scope / 0)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.conv(x), 2)


class GatedFFN(nn.Module):
    """GELU(a)·b projected back, where a and b are the halves of the projected input; channels-last."""

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self.project_in = Linear((scope / "project_in")["weight"])
        self.project_out = Linear((scope / "project_out")["weight"])

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.project_in(x).chunk(2, dim=-1)
        projected: Tensor = self.project_out(F.gelu(a) * b)
        return projected


class FeedForward(nn.Module):
    """x + FFN(norm(x)) at every position; channels-last."""

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self.norm = LayerNorm(scope / "norm2", eps=1e-6)
        self.ffn = GatedFFN(scope / "mlp")

    def forward(self, x: Tensor) -> Tensor:
        update: Tensor = self.ffn(self.norm(x))
        return x + update


class DepthwiseMixer(nn.Module):
    """1×1, LeakyReLU, 5×5 depthwise, 1×1 convolutions beside the identity or its 1×1 adaptor; channels-first."""

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self.expand = Conv(scope / "conv1" / 0)
        self.depthwise = Conv(scope / "depth_conv", depthwise=True)
        self.project = Conv(scope / "conv2")
        self.adaptor = Conv(scope / "adaptor") if "adaptor.weight" in scope else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.depthwise(F.leaky_relu(self.expand(x), 0.01))
        projected: Tensor = self.project(mixed)
        identity: Tensor = self.adaptor(x)
        return projected + identity


class GatedTransform(nn.Module):
    """A depthwise mixer, then a feed-forward block; channels-first."""

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self.mixer = DepthwiseMixer(scope / "mixer")
        self.feed_forward = FeedForward(scope)

    def forward(self, x: Tensor) -> Tensor:
        return channels_first(self.feed_forward(channels_last(self.mixer(x))))


class ParameterAggregation(nn.Module):
    """A linear mixer, then a feed-forward block: all of it pointwise; channels-last."""

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self.mixer = Linear((scope / "mixer")["weight"], (scope / "mixer")["bias"])
        self.feed_forward = FeedForward(scope)

    def forward(self, x: Tensor) -> Tensor:
        aggregated: Tensor = self.feed_forward(self.mixer(x))
        return aggregated


def sequence(kind: type[nn.Module], scope: Scope) -> nn.Sequential:
    return nn.Sequential(*(kind(child) for child in scope.children()))


class WaveletDown(nn.Module):
    """Haar transform, per-channel scale and linear projection (WLS) as one 2×2 convolution of stride 2."""

    weight: Tensor
    bias: Tensor

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        bands = torch.cat([(scope / "dwt")[f"w_{band}"] for band in ("ll", "lh", "hl", "hh")]).double()  # 4,1,2,2
        linear = (scope / "OLP" / "linear")["weight"].double() * scope["scaling_factors"].double().exp().flatten()
        per_band = linear.unflatten(1, (4, -1))  # outputs, band, inputs
        self.register_buffer("weight", torch.einsum("obc,bij->ocij", per_band, bands[:, 0]).float())
        self.register_buffer("bias", (scope / "OLP" / "linear")["bias"])

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, stride=2)


class WaveletUp(nn.Module):
    """Linear projection, division by the scale and inverse Haar transform (iWLS): a 1×1 convolution and pixel shuffle.

    A strided transposed convolution would do as well but for the bias, which differs between the four output phases.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        filters = (scope / "idwt")["filters"].double()[:, 0]  # band, 2, 2
        linear = scope / "OLP" / "linear"
        scale = scope["scaling_factors"].double().exp().flatten()
        weight = (linear["weight"].double() / scale[:, None]).unflatten(0, (4, -1))  # band, outputs, inputs
        bias = (linear["bias"].double() / scale).unflatten(0, (4, -1))
        self.register_buffer("weight", _phases(weight, filters)[:, :, None, None])
        self.register_buffer("bias", _phases(bias[..., None], filters)[:, 0])

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(F.conv2d(x, self.weight, self.bias), 2)


def _phases(per_band: Tensor, filters: Tensor) -> Tensor:
    """(band, outputs, inputs) and (band, 2, 2) to (outputs·4, inputs), in pixel-shuffle order."""
    return torch.einsum("boc,bij->oijc", per_band, filters).flatten(0, 2).float().contiguous()
