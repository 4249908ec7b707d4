"""Compute the arithmetic of `docs/arithmetic.md` in NumPy int64: slow and plain, the reference of all other forms.

Only matrix products are computed in float64, because NumPy's int64 products are slow. Their sums stay below 2^30, so
the products are exact in any order of summation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .network import (
    FRACTION_BITS,
    LEAKY_SLOPE,
    NORM_DEVIATION,
    NORM_INPUT,
    RSQRT_BITS,
    WIDE,
    Depthwise,
    GatedFFN,
    Ints,
    Linear,
    Narrow,
    UnitNorm,
)
from .wiring import Taps


def round_shift(x: Ints, shift: Ints | int) -> Ints:
    """Return x / 2^shift, rounded to the nearest integer, halves to even."""
    below_half = np.maximum((np.int64(1) << shift) // 2 - 1, 0)
    odd = (x >> shift) & np.minimum(shift, 1)  # adds the carry that rounds a half above an odd number up
    rounded: Ints = (x + (below_half + odd)) >> shift
    return rounded


def _clamp(x: Ints, limit: int) -> Ints:
    """Return x clamped to ±limit."""
    clamped: Ints = np.clip(x, -limit, limit)
    return clamped


class Oracle:
    """Implement `Arithmetic` on int64 arrays."""

    def __init__(self, rsqrt: Ints) -> None:
        self.rsqrt = rsqrt

    def product(self, x: Ints, weight: Ints) -> Ints:
        rows = x.reshape(-1, x.shape[-1]).astype(np.float64)
        return (rows @ weight.astype(np.float64)).astype(np.int64).reshape(*x.shape[:-1], -1)

    def narrow(self, x: Ints, narrow: Narrow) -> Ints:
        return _clamp(round_shift(x, narrow.shift), narrow.limit)

    def linear(self, x: Ints, linear: Linear) -> Ints:
        sums = self.product(x, linear.weight) + linear.bias
        return _clamp(round_shift(sums, linear.shift), linear.limit)

    def leaky_relu(self, x: Ints) -> Ints:
        return np.where(x < 0, round_shift(x * LEAKY_SLOPE, 12), x)

    def depthwise(self, x: Ints, depthwise: Depthwise) -> Ints:
        h, w, _ = x.shape
        padded = np.pad(x, ((2, 2), (2, 2), (0, 0)))
        taps = zip(np.ndindex(5, 5), depthwise.weight, strict=True)
        sums = sum((padded[r : r + h, s : s + w] * weight for (r, s), weight in taps), start=depthwise.bias)
        return _clamp(round_shift(sums, depthwise.shift), depthwise.limit)

    def gated_ffn(self, stream: Ints, ffn: GatedFFN) -> Ints:
        a, b = np.split(self.linear(self.unit_norm(stream, ffn.norm), ffn.project_in), 2, axis=-1)
        gated = self.narrow(ffn.gelu[a + 2048] * b, ffn.gate)
        return _clamp(stream + self.linear(gated, ffn.project_out), WIDE)

    def unit_norm(self, stream: Ints, norm: UnitNorm) -> Ints:
        x = _clamp(round_shift(stream, norm.input_shift), NORM_INPUT)
        channels = x.shape[-1]
        deviation = channels * x - x.sum(axis=-1, keepdims=True)
        deviation = _clamp(round_shift(deviation, (channels - 1).bit_length()), NORM_DEVIATION)
        squares = np.maximum((deviation**2).sum(axis=-1, keepdims=True), 1)
        exponent = np.zeros_like(squares)
        for power in range(1, 18):
            exponent += squares >= 4**power
        reciprocal = self.rsqrt[((squares << 10) >> (2 * exponent)) - 1024]
        unit = round_shift(deviation * reciprocal, RSQRT_BITS + exponent - norm.fraction)
        return _clamp(unit, norm.limit)

    def add_identity(self, x: Ints, identity: Ints, shift: int) -> Ints:
        return _clamp(x + round_shift(identity, shift), WIDE)

    def concat(self, parts: Sequence[Ints]) -> Ints:
        return np.concatenate(parts, axis=-1)

    def unfold(self, x: Ints, taps: Taps) -> Ints:
        h, w, _ = x.shape
        padded = np.pad(x, ((2, 2), (2, 2), (0, 0)))
        return np.concatenate([padded[2 + r : 2 + r + h, 2 + s : 2 + s + w] for r, s in taps], axis=-1)

    def unfold_nonanchors(self, x: Ints, taps: Taps) -> Ints:
        return self.pack(self.unfold(x, taps), 1)

    def pixel_shuffle(self, x: Ints) -> Ints:
        h, w, c = x.shape
        return x.reshape(h, w, 2, 2, c // 4).transpose(0, 2, 1, 3, 4).reshape(2 * h, 2 * w, c // 4)

    def pack(self, x: Ints, parity: int) -> Ints:
        h, w, c = x.shape
        packed = np.empty((h, w // 2, c), dtype=x.dtype)
        packed[0::2] = x[0::2, parity::2]
        packed[1::2] = x[1::2, 1 - parity :: 2]
        return packed

    def add_medians(self, symbols: Ints, medians: Ints) -> Ints:
        return (symbols << FRACTION_BITS) + medians

    def parameters(self, stream: Ints, thresholds: Ints, mean_shift: int) -> tuple[Ints, Ints]:
        scales, means = np.split(stream, 2, axis=-1)
        indexes = np.searchsorted(thresholds, scales, side="left")
        return indexes, _clamp(means << mean_shift, 1 << 11 + FRACTION_BITS)
