"""Represent the inputs and outputs of graphs: arrays, and deferred arrays that are still on a device or in flight.

`np.asarray` converts all of them to arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

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


@runtime_checkable
class Fetchable(Protocol):
    """Declare a deferred array whose copy from a device can start before it is needed."""

    def fetch(self) -> None: ...


@runtime_checkable
class Placeable(Protocol):
    """Declare a deferred array that a kernel writes to a device, each time that it is asked for."""

    def place(self) -> Value: ...


class Slices:
    """Hold a map (1, C, h, w), float32, as the slices of its channels that are known so far."""

    dtype = np.dtype(np.float32)

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.known: list[Value] = []


class Part:
    """Wrap the channels from `start` to `stop` of a map (1, C, h, w), which may be on a device."""

    def __init__(self, whole: Value, start: int, stop: int) -> None:
        self.whole, self.start, self.stop = whole, start, stop

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of these channels."""
        images, _, height, width = self.whole.shape
        return images, self.stop - self.start, height, width

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the elements."""
        return self.whole.dtype

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return converted(np.asarray(self.whole)[:, self.start : self.stop], dtype)


class Settled:
    """Wrap the first `channels` channels of a map (1, C, h, w) that is filled in this order. These channels are final.

    A backend gives each of these channels to its device only once.
    """

    def __init__(self, whole: NDArray[Any] | Slices, channels: int) -> None:
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

    def pieces(self, first: int = 0) -> Iterator[tuple[int, Value]]:
        """Yield the final channels from `first` on: the first channel of each piece, and the piece."""
        if not isinstance(self.whole, Slices):
            yield first, self.whole[:, first : self.channels]
            return
        start = 0
        for piece in self.whole.known:
            if first <= start < self.channels:
                yield start, piece
            start += piece.shape[1]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        pieces = [np.asarray(piece) for _, piece in self.pieces()]
        return converted(pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1), dtype)


def fetch(value: Value) -> None:
    """Start the copy of a value from its device, if it is on one, so that `np.asarray` waits less later."""
    if isinstance(value, Fetchable):
        value.fetch()


def converted(array: NDArray[Any], dtype: DTypeLike | None) -> NDArray[Any]:
    """Convert an array as numpy's protocol `__array__` requires."""
    return array if dtype is None else array.astype(dtype, copy=False)
