"""What is computed between the graphs of the entropy path, by NumPy or by a backend on its device.

`glic_deploy.entropy.passes` walks the passes, and `glic_deploy.entropy.quantizer` chooses symbols.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .values import Value


@dataclass(frozen=True)
class Pass:
    """Describe one pass over a slice of y.

    Attributes:
        k: the number of the slice.
        start, stop: the first channel of the slice, and the channel behind its last.
        parity: 0 for the anchors, 1 for the non-anchors.
    """

    k: int
    start: int
    stop: int
    parity: int

    @property
    def graph(self) -> str:
        """The graph that computes the indexes and means of the pass."""
        return f"slice{self.k}_{'nonanchors' if self.parity else 'anchors'}"


class CostTables(Protocol):
    """Declares what symbols cost, for all images; see `glic_deploy.entropy.quantizer.Costs`."""

    @property
    def gains(self) -> NDArray[np.float64]: ...
    @property
    def expected(self) -> NDArray[np.int32]: ...


class Weigher(Protocol):
    """Declares how bits are weighed against error in one image; see `glic_deploy.entropy.quantizer.Quantizer`."""

    most_strength: float
    detail_share: float

    @property
    def costs(self) -> CostTables: ...
    @property
    def weights(self) -> NDArray[np.float32]: ...
    @property
    def strength(self) -> float: ...

    def symbols(self, y: NDArray[np.float32], means: NDArray[np.float32], indexes: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the symbols of the next pass."""

    def usual_units(self, symbols: int) -> float:
        """Begin a pass of so many symbols; return the usual bits of all symbols up to its end."""


class Steps(Protocol):
    """Declares what encoder and decoder compute between the graphs of the passes, for one image."""

    def first(self, channels: int) -> Value:
        """Return the first channels of y_hat, which the passes have filled."""

    def quantize(self, part: Pass, y: Value, means: Value, indexes: Value, weigher: Weigher | None) -> Value:
        """Return the symbols of a pass, int16. y: the latents of all slices. None rounds to the nearest symbol."""

    def place(self, part: Pass, symbols: Value, means: Value, anchors: Value | None) -> Value:
        """Return the slice that a pass has completed: symbol + mean at its positions, the rest from `anchors`, or 0."""
