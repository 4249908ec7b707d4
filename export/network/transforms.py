"""Analysis transform: image to latent y. Synthesis transform and previews: y_hat to image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
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
        return levels(self.reconstruct(y_hat))


class Preview(nn.Module):
    """The image at half size by a linear map: float32 y_hat (1, M, H/16, W/16) to uint8 (H/2, W/2, 3).

    Each position of y_hat becomes 8×8 pixels, by its own latents and a coarse image of the positions around it. The
    exporter fits the map to the synthesis transform (`export.previews`).

    coarse: (12, M + 1), from latents and a constant to the coarse image, which has 2×2 RGB pixels for a position. fine:
    (192, 9·12 + M + 1), from 3×3 positions of the coarse image, latents and a constant to 8×8 RGB pixels.
    """

    coarse: Tensor
    coarse_bias: Tensor
    around: Tensor
    own: Tensor
    bias: Tensor

    def __init__(self, coarse: Tensor, fine: Tensor) -> None:
        super().__init__()
        around, own = fine.split([9 * len(coarse), coarse.shape[1]], dim=1)
        self.register_buffer("coarse", coarse[:, :-1, None, None].float())
        self.register_buffer("coarse_bias", coarse[:, -1].float())
        self.register_buffer("around", around.unflatten(1, (len(coarse), 3, 3)).float())
        self.register_buffer("own", own[:, :-1, None, None].float())
        self.register_buffer("bias", own[:, -1].float())

    def forward(self, y_hat: Tensor) -> Tensor:
        coarse = with_edges_repeated(F.conv2d(y_hat, self.coarse, self.coarse_bias))
        pixels = F.conv2d(coarse, self.around) + F.conv2d(y_hat, self.own, self.bias)
        return levels(F.pixel_shuffle(pixels, 8))


def with_edges_repeated(x: Tensor) -> Tensor:
    """Extend a channels-first map by one position on each side: (N, C, h, w) to (N, C, h + 2, w + 2)."""
    x = torch.cat([x[:, :, :1], x, x[:, :, -1:]], dim=2)
    return torch.cat([x[..., :1], x, x[..., -1:]], dim=3)


def levels(image: Tensor) -> Tensor:
    """Return an image in [0, 1], float (1, 3, H, W), as uint8 (H, W, 3); other values are clamped."""
    return torch.floor(channels_last(torch.clamp(image, 0, 1))[0] * 255 + 0.5).to(torch.uint8)
