"""Which nodes are the queries and candidates of each group: specification §3, read out literally."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

LOCAL, GLOBAL = 0, 1


@cache
def query_nodes(h: int, w: int, sampling: int) -> NDArray[np.int64]:
    """G×64 node numbers, row·W + col."""
    table = np.empty(((h // 8) * (w // 8), 64), np.int64)
    for i in range(h // 8):
        for j in range(w // 8):
            for s in range(8):
                for t in range(8):
                    row, col = (8 * i + s, 8 * j + t) if sampling == LOCAL else (s * (h // 8) + i, t * (w // 8) + j)
                    table[i * (w // 8) + j, 8 * s + t] = row * w + col
    return table


@cache
def candidate_nodes(h: int, w: int, sampling: int) -> NDArray[np.int64]:
    """G×256 node numbers, row·W + col; h·w stands for a node outside the map."""
    table = np.empty(((h // 8) * (w // 8), 256), np.int64)
    for i in range(h // 8):
        for j in range(w // 8):
            for u in range(16):
                for v in range(16):
                    if sampling == LOCAL:
                        row, col = 8 * i - 4 + u, 8 * j - 4 + v
                    else:
                        row, col = u * (h // 16) + i % (h // 16), v * (w // 16) + j % (w // 16)
                    inside = 0 <= row < h and 0 <= col < w
                    table[i * (w // 8) + j, 16 * u + v] = row * w + col if inside else h * w
    return table


def with_outside(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """H×W×C → (H·W + 1)×C: the nodes in order, and a node of zeros that stands for those outside the map."""
    nodes = x.reshape(-1, x.shape[-1])
    return np.concatenate([nodes, np.zeros_like(nodes[:1])])


def pack(edges: NDArray[np.bool_]) -> NDArray[np.int32]:
    """…×256 booleans → …×8 words: candidate m is bit m & 31 of word m >> 5."""
    return np.packbits(edges, axis=-1, bitorder="little").view("<i4").astype(np.int32)


def unpack(graph: NDArray[np.int32]) -> NDArray[np.bool_]:
    """…×8 words → …×256 booleans."""
    return np.unpackbits(np.ascontiguousarray(graph, "<i4").view(np.uint8), axis=-1, bitorder="little").astype(bool)
