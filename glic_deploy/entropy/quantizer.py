"""Chooses the symbols of y: rounded to the nearest, or weighed by rate against distortion.

Rounding to the nearest minimises the error of a latent and ignores what its symbol costs. A `Quantizer` of a positive
strength moves a symbol one step toward zero if the bits that this saves outweigh the rise of the squared error. It sees
the CDF indexes of the pass, which the decoder will compute too, so that decoders need not know of it.

The decisions are exact: the same latents, means and indexes give the same symbols on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .costs import symbol_bits
from .passes import Indexes, Means, Symbols, clamped, quantize

LEVELS = 64
"""Symbols of this magnitude or more are rounded to the nearest: they are rare, and a step saves them few bits."""

COST_UNIT = 1 / 256
"""Costs are whole multiples of this many bits, because logarithms differ between machines in their last digit."""


class Quantizer:
    """Quantises the latents of each pass. Safe to use from several threads at once.

    Args:
        tables: the bundle's tables, with the keys y_cdfs, y_lengths and y_offsets.
        strength: the squared error that may be added to save one bit. 0 rounds to the nearest.
        later_bits: the bits that a step toward zero saves in later passes on average, whose scales shrink with it.
    """

    def __init__(self, tables: Mapping[str, NDArray[np.int32]], strength: float = 0.0, later_bits: float = 0.0) -> None:
        self.strength = strength
        self._bounds = _bounds(tables, strength, later_bits) if strength > 0 else None

    def symbols(self, y: NDArray[np.float32], means: Means, indexes: Indexes) -> Symbols:
        """Return the symbols of latents, int16 of their shape, within ± `MAX_SYMBOL`.

        Args:
            y: float32.
            means: the means of a pass, of y's shape.
            indexes: the CDF indexes of the pass, of y's shape.
        """
        if self._bounds is None:
            return quantize(y, means)
        difference = y - means
        nearest = np.rint(difference)
        np.abs(difference, out=difference)
        magnitude = np.rint(difference)
        difference -= magnitude  # exact, so that the comparison below is the same on every machine
        entries = np.minimum(magnitude, np.float32(LEVELS - 1)).astype(np.intp)
        entries += np.multiply(indexes, LEVELS, dtype=np.intp)
        lower = difference < self._bounds.take(entries, mode="clip")
        nearest -= np.copysign(lower, nearest, dtype=np.float32)
        return clamped(nearest)


def _bounds(tables: Mapping[str, NDArray[np.int32]], strength: float, later_bits: float) -> NDArray[np.float32]:
    """Return the bounds below which a symbol is lowered, float32 (rows * LEVELS), by index and magnitude.

    A latent at a distance n + e from its mean, |e| <= 0.5, has the nearest magnitude n and the squared error e². One
    step lower, the error rises by 2e + 1. The step pays if strength · (bits saved) > 2e + 1.
    """
    saved = saved_bits(tables) + later_bits
    bounds = ((saved * strength - 1) / 2).astype(np.float32)
    bounds[:, 0] = bounds[:, -1] = -1  # e is never so small
    return bounds.ravel()


def saved_bits(tables: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Return the bits that the step from magnitude n to n − 1 saves, (rows, LEVELS), in multiples of COST_UNIT.

    The tables are symmetric up to the rounding of their frequencies, so positive symbols stand for both signs.
    """
    cdfs, lengths, offsets = (tables[f"y_{part}"] for part in ("cdfs", "lengths", "offsets"))
    shape = len(cdfs), LEVELS
    symbols = np.broadcast_to(np.arange(LEVELS), shape)
    indexes = np.broadcast_to(np.arange(len(cdfs), dtype=np.uint8)[:, None], shape)
    bits = np.rint(symbol_bits(symbols, indexes, cdfs, lengths, offsets) / COST_UNIT) * COST_UNIT
    return np.diff(bits, axis=1, prepend=bits[:, :1])
