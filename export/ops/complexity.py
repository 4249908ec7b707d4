"""Define `glic::complexity_map`, steps 1 and 2 of specification §3, as a PyTorch custom op.

`plugins_cpp/complexity_map/README.md` is the op's page.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from .groups import check_dtype

OP = "glic::ComplexityMap"
SIGMA = 0.8
CONTRAST = 1.5
LEAST_SQUARE = 1e-9
SOBEL = ((-0.25, 0.0, 0.25), (-0.5, 0.0, 0.5), (-0.25, 0.0, 0.25))
"""The filter of the slope along a row; its transpose is that along a column."""


def gaussian_taps() -> tuple[float, float, float]:
    """Return the three taps of the blur, whose sum is 1."""
    outer = math.exp(-0.5 / SIGMA**2)
    return outer / (1 + 2 * outer), 1 / (1 + 2 * outer), outer / (1 + 2 * outer)


def _depthwise(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolve each channel of N×C×H×W with one 3×3 kernel; borders are replicated and the shape is kept."""
    channels = x.shape[1]
    return conv2d(pad(x, (1, 1, 1, 1), mode="replicate"), kernel.expand(channels, 1, 3, 3), groups=channels)


@torch.library.custom_op("glic::complexity_map", mutates_args=())
def complexity_map(x: Tensor) -> Tensor:
    """Compute how much detail surrounds each node: the blurred gradient magnitude, drawn towards the image's mean.

    Args:
        x: float32 or float16 N×H×W×C, the input of the graph feature aggregation.

    Returns:
        float32 N×H×W, positive: the input `complexity` of `dynamic_knn`.

    Raises:
        ValueError: x is not of four dimensions, or empty.
        TypeError: an element type is not as above.
    """
    if x.ndim != 4 or 0 in x.shape:
        raise ValueError(f"{OP}: x has shape {tuple(x.shape)}, expected N, H, W, C of 1 or more")
    check_dtype(OP, "x", x, torch.float32, torch.float16)
    first = x.float().permute(0, 3, 1, 2)
    slope, taps = torch.tensor(SOBEL), torch.tensor(gaussian_taps())
    magnitude = (_depthwise(first, slope).square() + _depthwise(first, slope.T).square() + LEAST_SQUARE).sqrt()
    # Replicated borders commute with a separable blur. Therefore one convolution replaces its two passes.
    blurred = _depthwise(magnitude, torch.outer(taps, taps))
    d = blurred.square().mean(1).sqrt()
    mean = d.mean((1, 2), keepdim=True)
    return mean + (d - mean) / CONTRAST


@complexity_map.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(x.shape[:3], dtype=torch.float32)
