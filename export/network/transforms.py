"""Analysis transform: image to latent y. Synthesis transform: y_hat to image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import Conv, GatedTransform, SubpelConv, WaveletDown, WaveletUp, channels_first, channels_last, sequence
from .graph import GraphAggregation
from .scope import Scope


class Analysis(nn.Module):
    """g_a with its wavelet branch: uint8 (H, W, 3), sides multiples of 128, to float32 y (1, M, H/16, W/16)."""

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self.down = nn.ModuleList(Conv(scope / f"down{i}", stride=2) for i in range(4))
        self.wavelet = nn.ModuleList(WaveletDown(scope / "AuxT_enc" / i) for i in range(4))
        self.stages = nn.ModuleList(
            [sequence(GatedTransform, scope / "g1"), GraphAggregation(scope / "g2"), GraphAggregation(scope / "g3")]
        )

    def forward(self, image: Tensor) -> Tensor:
        x = u = channels_first(image[None].float() / 255)
        for down, wavelet, stage in zip(self.down, self.wavelet, [*self.stages, nn.Identity()], strict=True):
            u = wavelet(u)
            x = stage(down(x)) + u
        return x


class Synthesis(nn.Module):
    """g_s with its wavelet branch: float32 y_hat (1, M, H/16, W/16) to uint8 (H, W, 3), rounded half up."""

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self.up = nn.ModuleList(SubpelConv(scope / f"up{i}") for i in range(4))
        self.wavelet = nn.ModuleList(WaveletUp(scope / "AuxT_dec" / i) for i in range(4))
        self.stages = nn.ModuleList(
            [GraphAggregation(scope / "g1"), GraphAggregation(scope / "g2"), sequence(GatedTransform, scope / "g3")]
        )

    def reconstruct(self, y_hat: Tensor) -> Tensor:
        """Return the image before clamping and rounding, float32 (1, 3, H, W), nominally in [0, 1]."""
        x = u = y_hat
        for up, wavelet, stage in zip(self.up, self.wavelet, [*self.stages, nn.Identity()], strict=True):
            u = wavelet(u)
            x = stage(up(x)) + u
        return x

    def forward(self, y_hat: Tensor) -> Tensor:
        image = torch.clamp(self.reconstruct(y_hat), 0, 1)
        return torch.floor(channels_last(image)[0] * 255 + 0.5).to(torch.uint8)
