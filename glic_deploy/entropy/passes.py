"""Define the coding order of the latents: z, then the anchors and the non-anchors of each slice of y.

Encoder and decoder run the same passes with the same graphs; only the source of the symbols differs. Anchors are the
positions of even row + column. Packed maps contain one parity at half width, row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..values import Settled, Value

MAX_SYMBOL = 2047
"""Largest magnitude of a symbol. Encoders clamp symbols to it, so that symbol + mean is exact in float32."""

Symbols = NDArray[np.int16]
Indexes = NDArray[np.uint8]
Means = NDArray[np.float32]
RunGraph = Callable[..., Sequence[Value]]
"""Function that runs a graph, like `Backend.start`; its arguments are the graph's name and, by keyword, its inputs."""
Step = Callable[["Pass", Indexes, Value], Symbols]
"""Function that returns the symbols of a pass. The copy of the means may still be in flight when it is called."""


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


def walk(groups: tuple[int, ...], run: RunGraph, z_symbols: Symbols, step: Step) -> NDArray[np.float32]:
    """Run all passes of y and return y_hat, float32 (1, M, h, w).

    Args:
        groups: the number of channels of each slice.
        run: function that runs a graph.
        z_symbols: the symbols of z, int16 (1, N, h/4, w/4).
        step: function that returns the symbols of a pass.
    """
    hyper = run("hyper_synthesis", z_symbols=z_symbols)[0]
    height, width = (4 * side for side in z_symbols.shape[2:])
    y_hat = np.zeros((1, sum(groups), height, width), np.float32)
    for k, start, stop in slices(groups):
        before = {"y_hat": Settled(y_hat, start)} if k else {}
        indexes, means, support = run(f"slice{k}_anchors", hyper=hyper, **before)
        anchors = np.zeros((1, stop - start, height, width), np.float32)
        unpack_into(anchors, _latents(step, Pass(k, start, stop, 0), indexes, means), 0)
        indexes, means = run(f"slice{k}_nonanchors", anchors=anchors, support=support)
        y_hat[:, start:stop] = anchors
        unpack_into(y_hat[:, start:stop], _latents(step, Pass(k, start, stop, 1), indexes, means), 1)
    return y_hat


def _latents(step: Step, part: Pass, indexes: Value, means: Value) -> NDArray[np.float32]:
    symbols = step(part, np.asarray(indexes), means)
    latents: NDArray[np.float32] = np.add(symbols, np.asarray(means), dtype=np.float32)
    return latents


def quantize(y: NDArray[np.float32], means: NDArray[np.float32]) -> Symbols:
    """Return the symbols of latents: the differences from the means, rounded half to even, clamped, as int16."""
    return clamped(np.rint(y - means))


def clamped(values: NDArray[np.float32]) -> Symbols:
    """Return whole numbers as symbols: clamped to ± MAX_SYMBOL, int16."""
    symbols: Symbols = np.clip(values, -MAX_SYMBOL, MAX_SYMBOL).astype(np.int16)
    return symbols
