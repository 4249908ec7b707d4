"""What graphs take and give: arrays, and what stands for one whose elements are on a device or on their way from it.

`np.asarray` gives the array of either.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Deferred(Protocol):
    """An array that `np.asarray` fetches, or waits for. It cannot be written to."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]: ...


Value = NDArray[Any] | Deferred


class Settled:
    """The first `channels` of a map (1, C, h, w) that is filled channel by channel: they will not change any more.

    A backend that has sent some of them to its device need not send those again.
    """

    def __init__(self, whole: NDArray[Any], channels: int) -> None:
        self.whole = whole
        self.channels = channels

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the settled part."""
        images, _, height, width = self.whole.shape
        return images, self.channels, height, width

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the elements."""
        dtype: np.dtype[Any] = self.whole.dtype
        return dtype

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return converted(self.whole[:, : self.channels], dtype)


def converted(array: NDArray[Any], dtype: DTypeLike | None) -> NDArray[Any]:
    """The array that numpy's protocol `__array__` asks for."""
    return array if dtype is None else array.astype(dtype, copy=False)
