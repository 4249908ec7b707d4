"""Represent the inputs and outputs of graphs: arrays, and deferred arrays that are still on a device or in flight.

`np.asarray` converts all of them to arrays.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Deferred(Protocol):
    """Declare a read-only array that `np.asarray` copies from a device, or waits for."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]: ...


Value = NDArray[Any] | Deferred


class Settled:
    """Wrap the first `channels` channels of a map (1, C, h, w) that is filled in this order. These channels are final.

    A backend uploads each of these channels to its device only once.
    """

    def __init__(self, whole: NDArray[Any], channels: int) -> None:
        self.whole = whole
        self.channels = channels

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the final channels."""
        images, _, height, width = self.whole.shape
        return images, self.channels, height, width

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the elements."""
        dtype: np.dtype[Any] = self.whole.dtype
        return dtype

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return converted(self.whole[:, : self.channels], dtype)


def converted(array: NDArray[Any], dtype: DTypeLike | None) -> NDArray[Any]:
    """Convert an array as numpy's protocol `__array__` requires."""
    return array if dtype is None else array.astype(dtype, copy=False)
