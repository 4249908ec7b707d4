"""Compute rate and distortion of images: bits per pixel, mean squared error and PSNR, defined only here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

PEAK = 255
"""The largest value of an 8-bit sample."""


def bits_per_pixel(size: int, pixels: int) -> float:
    """Return the rate of a file of `size` bytes; `pixels` is width times height of the unpadded image."""
    return 8 * size / pixels


def mean_squared_error(original: NDArray[Any], decoded: NDArray[Any]) -> float:
    """Return the mean squared difference over all samples of two arrays of equal shape, computed in float64."""
    difference = original.astype("float64") - decoded
    return float((difference * difference).mean())


def psnr(original: NDArray[Any], decoded: NDArray[Any]) -> float | None:
    """Return the peak signal-to-noise ratio in dB over all samples of two 8-bit images (H, W, 3).

    Equal images have no finite PSNR: the result is None.
    """
    return psnr_of_error(mean_squared_error(original, decoded))


def psnr_of_error(mean_squared: float) -> float | None:
    """Return the PSNR in dB of a mean squared error of 8-bit samples; None for an error of 0."""
    return 10 * math.log10(PEAK**2 / mean_squared) if mean_squared else None
