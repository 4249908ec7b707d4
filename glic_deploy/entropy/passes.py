"""Define the coding order of the latents: z, then the anchors and the non-anchors of each slice of y.

Encoder and decoder run the same passes with the same graphs; only the source of the symbols differs. Anchors are the
positions of even row + column. Packed maps contain one parity at half width, row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..steps import Pass as Pass
from ..steps import Steps, Weigher
from ..values import Settled, Value

MAX_SYMBOL = 2047
"""Largest magnitude of a symbol. Encoders clamp symbols to it, so that symbol + mean is exact in float32."""

Symbols = NDArray[np.int16]
Indexes = NDArray[np.uint8]
Means = NDArray[np.float32]
RunGraph = Callable[..., Sequence[Value]]
"""Function that runs a graph, like `Backend.start`; its arguments are the graph's name and, by keyword, its inputs."""
Step = Callable[[Pass, Any, Value], Value]
"""Function that returns the symbols of a pass, from its indexes and means. Both may still be on a device."""


@dataclass(frozen=True)
class CodedPass:
    """Hold the symbols and indexes of one pass, both (1, C, h, w/2) for C channels, or (1, N, h/4, w/4) for z.

    Attributes:
        part: the pass of y; None for z, whose indexes are the numbers of the channels.
        symbols: the symbols, int16.
        indexes: the row of the CDF tables that codes each symbol, uint8.
    """

    part: Pass | None
    symbols: Symbols
    indexes: Indexes


def slices(groups: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """Yield the number and the channel range of each slice."""
    start = 0
    for k, group in enumerate(groups):
        yield k, start, start + group
        start += group


def pack(y: NDArray[np.float32], parity: int) -> NDArray[np.float32]:
    """Return the positions of one parity of a map (1, C, h, w), as (1, C, h, w/2)."""
    packed = np.empty((*y.shape[:3], y.shape[3] // 2), y.dtype)
    packed[:, :, 0::2] = y[:, :, 0::2, parity::2]
    packed[:, :, 1::2] = y[:, :, 1::2, 1 - parity :: 2]
    return packed


def unpack_into(y: NDArray[np.float32], packed: NDArray[np.float32], parity: int) -> None:
    """Write a packed map to the positions of its parity of a map (1, C, h, w)."""
    y[:, :, 0::2, parity::2] = packed[:, :, 0::2]
    y[:, :, 1::2, 1 - parity :: 2] = packed[:, :, 1::2]


class HostSteps:
    """Computes the steps between the graphs with NumPy; see `Steps`.

    Args:
        channels: the channels of y_hat.
        height: its rows.
        width: its columns.
    """

    def __init__(self, channels: int, height: int, width: int) -> None:
        self._y_hat = np.zeros((1, channels, height, width), np.float32)

    def first(self, channels: int) -> Value:
        return Settled(self._y_hat, channels)

    def quantize(self, part: Pass, y: Value, means: Value, indexes: Value, weigher: Weigher | None) -> Value:
        packed, means = pack(np.asarray(y)[:, part.start : part.stop], part.parity), np.asarray(means)
        return quantize(packed, means) if weigher is None else weigher.symbols(packed, means, np.asarray(indexes))

    def place(self, part: Pass, symbols: Value, means: Value, anchors: Value | None) -> Value:
        latents = np.add(np.asarray(symbols), np.asarray(means), dtype=np.float32)
        if anchors is None:
            completed = np.zeros((1, part.stop - part.start, *self._y_hat.shape[2:]), np.float32)
        else:
            completed = self._y_hat[:, part.start : part.stop]
            completed[...] = anchors
        unpack_into(completed, latents, part.parity)
        return completed


def walk(groups: tuple[int, ...], run: RunGraph, z_symbols: Value, step: Step, steps: Steps | None = None) -> Value:
    """Run all passes of y and return y_hat, float32 (1, M, h, w).

    Args:
        groups: the number of channels of each slice.
        run: function that runs a graph.
        z_symbols: the symbols of z, int16 (1, N, h/4, w/4).
        step: function that returns the symbols of a pass.
        steps: what is computed between the graphs. None computes it with NumPy, and `step` gets indexes as an array.
    """
    hyper = run("hyper_synthesis", z_symbols=z_symbols)[0]
    on_host = steps is None
    steps = steps or HostSteps(sum(groups), *(4 * side for side in z_symbols.shape[2:]))

    def code(part: Pass, indexes: Value, means: Value, anchors: Value | None) -> Value:
        symbols = step(part, np.asarray(indexes) if on_host else indexes, means)
        return steps.place(part, symbols, means, anchors)

    for k, start, stop in slices(groups):
        first, second = (Pass(k, start, stop, parity) for parity in (0, 1))
        before = {"y_hat": steps.first(start)} if k else {}
        indexes, means, support = run(first.graph, hyper=hyper, **before)
        anchors = code(first, indexes, means, None)
        indexes, means = run(second.graph, anchors=anchors, support=support)
        code(second, indexes, means, anchors)
    return steps.first(sum(groups))


def quantize(y: NDArray[np.float32], means: NDArray[np.float32]) -> Symbols:
    """Return the symbols of latents: the differences from the means, rounded half to even, clamped, as int16."""
    return clamped(np.rint(y - means))


def clamped(values: NDArray[np.float32]) -> Symbols:
    """Return whole numbers as symbols: clamped to ± MAX_SYMBOL, int16."""
    symbols: Symbols = np.clip(values, -MAX_SYMBOL, MAX_SYMBOL).astype(np.int16)
    return symbols
