"""Compute the complexity map of specification §3, steps 1 and 2, in PyTorch ops that export as standard ONNX ops."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

SIGMA = 0.8
CONTRAST = 1.5


def _depthwise(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolve each channel of N×C×H×W with one 3×3 kernel; borders are replicated and the shape is kept."""
    channels = x.shape[1]
    return conv2d(pad(x, (1, 1, 1, 1), mode="replicate"), kernel.expand(channels, 1, 3, 3), groups=channels)


def complexity_map(x: Tensor) -> Tensor:
    """Compute how much detail surrounds each node: the blurred gradient magnitude, drawn towards the image's mean.

    Args:
        x: float32 N×C×H×W, the input of the graph feature aggregation.

    Returns:
        float32 N×H×W, positive: the input `complexity` of `dynamic_knn`.
    """
    sobel_x = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 4
    taps = torch.tensor([math.exp(-0.5 * (offset / SIGMA) ** 2) for offset in (-1, 0, 1)])
    taps = taps / taps.sum()
    magnitude = (_depthwise(x, sobel_x).square() + _depthwise(x, sobel_x.T).square() + 1e-9).sqrt()
    # Replicated borders commute with a separable blur. Therefore one convolution replaces its two passes.
    blurred = _depthwise(magnitude, torch.outer(taps, taps))
    d = blurred.square().mean(1).sqrt()
    mean = d.mean((1, 2), keepdim=True)
    return mean + (d - mean) / CONTRAST
