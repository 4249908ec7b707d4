"""Chooses the symbols of y: rounded to the nearest, or weighed by rate against distortion.

Rounding to the nearest minimises the error of a latent and ignores what its symbol costs. A positive strength moves a
symbol step by step toward zero while the bits that a step saves outweigh the rise of the squared error. Regions that
hide error bear more of it. The encoder decides in coding order, with the CDF indexes that the decoder will compute too,
so decoders need not know of it.

The decisions are exact: the same latents, means and indexes give the same symbols on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .costs import symbol_bits
from .passes import Indexes, Means, Symbols, clamped, pack

LEVELS = 64
"""Symbols of this magnitude or more are rounded to the nearest: they are rare, and a step saves them few bits."""

COST_UNIT = 1 / 256
"""Costs are whole multiples of this many bits, because logarithms differ between machines in their last digit."""

LATER_BITS = 1.0
"""The bits that a step toward zero saves in later passes, whose scales shrink with it: measured on the sample network,
where 0 and 2 gain 0.2 % less."""

DETAIL_SHARE = np.float32(0.4)
"""The share of the strength at which the step from 1 to 0 is judged, because it removes a detail of the image and not
only some of its contrast. With 1, the same bits cost 0.07 dB more of MS-SSIM and gain nothing in PSNR."""

MAX_STRENGTH = 2.0
"""The largest strength, which needs about half of the bits. Beyond it, a smaller lambda is always better."""


@dataclass(frozen=True)
class Weighing:
    """How strongly bits are weighed against error.

    At an exchange rate in percent of the bits per dB, an image of a high rate has a large error, which can bear more
    added error for each saved bit: the best strength rises about with the 1.5th power of the rate (docs/rate.md).

    Attributes:
        strength: the squared error that may be added to save one bit. 0 rounds to the nearest.
        usual_bits: the expected bits of a symbol in each pass, for images to which `strength` applies as it is. For
            others, the strength is adapted. Empty: the strength is the same for all images.
    """

    strength: float = 0.0
    usual_bits: tuple[float, ...] = ()


NEAREST = Weighing()


class Costs:
    """What symbols cost under the tables of y, in multiples of COST_UNIT.

    Attributes:
        saved: the bits that the step from magnitude n to n − 1 saves, (rows, LEVELS). The tables are symmetric up to
            the rounding of their frequencies, so positive symbols stand for both signs.
        gains: `saved` and LATER_BITS, 0 where no step is made: from 0, and from the last magnitude.
        expected: the expected bits of a symbol with each index, in multiples of COST_UNIT, int32 (rows).
    """

    def __init__(self, tables: Mapping[str, NDArray[np.int32]]) -> None:
        cdfs, lengths, offsets = (tables[f"y_{part}"] for part in ("cdfs", "lengths", "offsets"))
        rows = np.arange(len(cdfs), dtype=np.uint8)[:, None]

        def bits(symbols: NDArray[Any]) -> NDArray[np.float64]:
            shape = len(cdfs), symbols.shape[-1]
            exact = symbol_bits(np.broadcast_to(symbols, shape), np.broadcast_to(rows, shape), cdfs, lengths, offsets)
            return np.rint(exact / COST_UNIT) * COST_UNIT

        costs = bits(np.arange(LEVELS))
        self.saved = np.diff(costs, axis=1, prepend=costs[:, :1])
        self.gains = self.saved + LATER_BITS
        self.gains[:, [0, -1]] = 0
        slots = np.arange(cdfs.shape[1] - 1)
        counts = np.where(slots < lengths[:, None] - 2, np.diff(cdfs, axis=1), 0)
        expected = (counts * bits(slots + offsets[:, None])).sum(axis=1)
        self.expected = np.rint(expected / cdfs.max(axis=1) / COST_UNIT).astype(np.int32)

    def expected_bits(self, indexes: Indexes) -> float:
        """Return the expected bits of a symbol with these indexes, on average."""
        return self.expected_units(indexes) * COST_UNIT / indexes.size

    def expected_units(self, indexes: Indexes) -> int:
        """Return the expected bits of all symbols with these indexes, in multiples of COST_UNIT."""
        counts = np.bincount(indexes.ravel(), minlength=len(self.expected))
        return int(counts @ self.expected.astype(np.int64))


class Quantizer:
    """Quantises the latents of one image, pass by pass.

    Args:
        costs: what symbols cost.
        weighing: how strongly bits are weighed against error.
        weights: how much error each position hides, float32 (h, w); see `glic_deploy.entropy.masking`.
    """

    most_strength = MAX_STRENGTH
    detail_share = float(DETAIL_SHARE)

    def __init__(self, costs: Costs, weighing: Weighing, weights: NDArray[np.float32]) -> None:
        self.costs = costs
        self.strength = weighing.strength
        self.weights = weights
        self._packed_weights = [pack(weights[None, None], parity).ravel() for parity in (0, 1)]
        self._usual_bits = weighing.usual_bits
        self._passes = self._units = 0
        self._usual = 0.0

    def usual_units(self, symbols: int) -> float:
        """Begin a pass of so many symbols; return the usual bits of all symbols up to its end, in COST_UNITs.

        0 says that the strength is not adapted to the image.
        """
        if self._usual_bits:
            self._usual += self._usual_bits[self._passes] * symbols / COST_UNIT
        self._passes += 1
        return self._usual

    def symbols(self, y: NDArray[np.float32], means: Means, indexes: Indexes) -> Symbols:
        """Return the symbols of the next pass, int16, within ± `MAX_SYMBOL`.

        Args:
            y: the latents of the pass, float32 (1, C, h, w/2).
            means: their means, of y's shape.
            indexes: their CDF indexes, of y's shape.
        """
        weights = self._packed_weights[self._passes % 2]
        bearable = self._bearable(self._strength(indexes))
        difference = y - means
        nearest = np.rint(difference)
        places = np.flatnonzero(nearest)  # what is zero stays zero, and most symbols are
        symbols = nearest.take(places)
        magnitudes = np.abs(symbols)
        weights = weights.take(places % weights.size)
        rise = 2 * (np.abs(difference.take(places)) - magnitudes) + 1  # of the squared error, one step lower
        entries = np.minimum(magnitudes, np.float32(LEVELS - 1)).astype(np.intp)
        entries += np.multiply(indexes.take(places), LEVELS, dtype=np.intp)
        while places.size:  # most symbols are lowered once at most, so that the rounds become short
            lowered = np.flatnonzero(rise < bearable.take(entries, mode="clip") * weights)
            places, symbols, entries = places[lowered], symbols[lowered], entries[lowered] - 1
            symbols -= np.copysign(np.float32(1), symbols)
            rise, weights = rise[lowered] + np.float32(2), weights[lowered]
            nearest.put(places, symbols)
        return clamped(nearest)

    def _strength(self, indexes: Indexes) -> float:
        """Return the strength of the next pass, adapted to the expected bits of the passes up to this one."""
        usual = self.usual_units(indexes.size)
        if not usual:
            return self.strength
        self._units += self.costs.expected_units(indexes)
        ratio = self._units / usual
        return min(self.strength * ratio * math.sqrt(ratio), MAX_STRENGTH)

    def _bearable(self, strength: float) -> NDArray[np.float32]:
        """Return how much the squared error may rise with a step, float32 (rows * LEVELS), by index and magnitude.

        A latent at a distance n + e from its mean has the squared error e² at the magnitude n. One step lower, the
        error rises by 2e + 1, which is never negative, so magnitudes that may rise by 0 stay.
        """
        bearable = (self.costs.gains * strength).astype(np.float32)
        bearable[:, 1] *= DETAIL_SHARE
        return bearable.ravel()
