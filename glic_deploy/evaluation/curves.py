"""Hold rate-distortion curves, the published ones of GLIC among them, and compare two curves."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST_POINTS = 4
BD_RATE_REMEDY = "pip install 'glic-deploy[bench]'"


@dataclass(frozen=True)
class Point:
    """Hold means over a set of images: bits per pixel, PSNR in dB, and MS-SSIM (0 to 1) or None."""

    bpp: float
    psnr: float
    ms_ssim: float | None = None


@dataclass(frozen=True)
class Curve:
    """Hold the points of one codec over one set of images, sorted by rate."""

    title: str
    points: tuple[Point, ...]

    @classmethod
    def of(cls, title: str, points: Sequence[Point]) -> Curve:
        return cls(title, tuple(sorted(points, key=lambda point: point.bpp)))


def _published(*pairs: tuple[float, float]) -> Curve:
    return Curve.of("GLIC, published", [Point(bpp, psnr) for bpp, psnr in pairs])


# The six released models, lambda 0.05 to 0.0017 (arXiv 2603.25316).
# fmt: off
PUBLISHED = {
    "kodak": _published(
        (0.8175, 38.1210), (0.5845, 36.2082), (0.4138, 34.4241), (0.2808, 32.6607), (0.1822, 30.9614), (0.1083, 29.2139)
    ),
    "clic": _published(
        (0.6088, 38.8689), (0.4257, 37.2540), (0.2995, 35.7457), (0.2057, 34.2421), (0.1359, 32.7341), (0.0829, 31.1126)
    ),
    "tecnick": _published(
        (0.5640, 38.8924), (0.3993, 37.3865), (0.2874, 35.9622), (0.2038, 34.5074), (0.1413, 33.0265), (0.0928, 31.3966)
    ),
}
# fmt: on


def bd_rate_installed() -> bool:
    """Check whether the package that `bd_rate` needs is installed."""
    return importlib.util.find_spec("bjontegaard") is not None


def bd_rate(test: Curve, anchor: Curve) -> float | None:
    """Compute the Bjøntegaard delta rate in percent at equal PSNR, with Akima interpolation.

    The value is negative if `test` needs fewer bits than `anchor`. Returns None if a curve has fewer than FEWEST_POINTS
    points, if its PSNR does not rise with the rate, or if the curves have no range of PSNR in common.
    """
    import bjontegaard

    if min(len(test.points), len(anchor.points)) < FEWEST_POINTS:
        return None
    (test_rates, test_psnr), (anchor_rates, anchor_psnr) = (
        np.array([(point.bpp, point.psnr) for point in curve.points]).T for curve in (test, anchor)
    )
    if any(np.any(np.diff(values) <= 0) for values in (test_psnr, anchor_psnr)):
        return None
    if max(test_psnr[0], anchor_psnr[0]) >= min(test_psnr[-1], anchor_psnr[-1]):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a small overlap: the result contains both curves
        value = bjontegaard.bd_rate(
            anchor_rates, anchor_psnr, test_rates, test_psnr, method="akima", require_matching_points=False
        )
    return float(value)


def psnr_at(curve: Curve, bpp: float) -> float | None:
    """Interpolate the PSNR, in dB, of a curve at a rate, linearly over the logarithm of the rate.

    Returns None for a rate outside the curve.
    """
    rates = [point.bpp for point in curve.points]
    if not rates or not rates[0] <= bpp <= rates[-1]:
        return None
    return float(np.interp(np.log(bpp), np.log(rates), [point.psnr for point in curve.points]))
