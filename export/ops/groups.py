"""Group a map's nodes into 64 queries and 256 candidates, and pack edges into bit masks (specification §3).

Both samplings split the H×W nodes into G = (H/8)·(W/8) groups; H and W are multiples of 16.
"""

from __future__ import annotations

import torch
from torch import Tensor

LOCAL, GLOBAL = 0, 1
WINDOW, SAMPLE = 8, 16
QUERIES, CANDIDATES = WINDOW * WINDOW, SAMPLE * SAMPLE
WORDS = CANDIDATES // 32


def check_attributes(op: str, sampling: int, window: int, sample: int) -> None:
    """Raise ValueError for attribute values that version 1 of the ops does not define."""
    if sampling not in (LOCAL, GLOBAL):
        raise ValueError(f"{op}: attribute sampling is {sampling}, expected 0 (local) or 1 (global)")
    if (window, sample) != (WINDOW, SAMPLE):
        raise ValueError(
            f"{op}: attributes window, sample are {window}, {sample}, expected {WINDOW}, {SAMPLE}: "
            "version 1 of the op defines edges as 64 nodes by 256 bits"
        )


def check_map(op: str, name: str, got: Tensor) -> None:
    """Raise ValueError unless a tensor is N×H×W×C with H and W positive multiples of 16."""
    if got.ndim != 4 or got.shape[1] % SAMPLE or got.shape[2] % SAMPLE or 0 in got.shape:
        raise ValueError(
            f"{op}: {name} has shape {tuple(got.shape)}, expected N, H, W, C with H and W multiples of {SAMPLE}: "
            "pad the image to multiples of 128"
        )


def check_shape(op: str, name: str, got: Tensor, expected: tuple[int, ...]) -> None:
    """Raise ValueError unless a tensor has the expected shape."""
    if tuple(got.shape) != expected:
        raise ValueError(f"{op}: {name} has shape {tuple(got.shape)}, expected {expected}")


def check_dtype(op: str, name: str, got: Tensor, *expected: torch.dtype) -> None:
    """Raise TypeError unless a tensor has one of the expected element types."""
    if got.dtype not in expected:
        raise TypeError(f"{op}: {name} is {got.dtype}, expected {' or '.join(map(str, expected))}")


def group_count(h: int, w: int) -> int:
    """Return the number of groups of 64 query nodes in an H×W map."""
    return (h // WINDOW) * (w // WINDOW)


def query_groups(x: Tensor, sampling: int) -> Tensor:
    """Collect the query nodes of each group, in row-major order: N×H×W×C → N×G×64×C."""
    n, h, w, c = x.shape
    if sampling == LOCAL:
        grid = x.reshape(n, h // WINDOW, WINDOW, w // WINDOW, WINDOW, c).permute(0, 1, 3, 2, 4, 5)
    else:
        grid = x.reshape(n, WINDOW, h // WINDOW, WINDOW, w // WINDOW, c).permute(0, 2, 4, 1, 3, 5)
    return grid.reshape(n, group_count(h, w), QUERIES, c)


def scatter_groups(groups: Tensor, h: int, w: int, sampling: int) -> Tensor:
    """Invert `query_groups`: put the features of every query node back at its position, N×G×64×C → N×H×W×C."""
    n, _, _, c = groups.shape
    grid = groups.reshape(n, h // WINDOW, w // WINDOW, WINDOW, WINDOW, c)
    order = (0, 1, 3, 2, 4, 5) if sampling == LOCAL else (0, 3, 1, 4, 2, 5)
    return grid.permute(order).reshape(n, h, w, c)


def candidate_groups(x: Tensor, sampling: int) -> Tensor:
    """Collect the candidate nodes of each group: N×H×W×C → N×G×256×C. Local candidates outside the map are zeros."""
    n, h, w, c = x.shape
    if sampling == LOCAL:
        margin = (SAMPLE - WINDOW) // 2
        padded = torch.nn.functional.pad(x, (0, 0, margin, margin, margin, margin))
        grid = padded.unfold(1, SAMPLE, WINDOW).unfold(2, SAMPLE, WINDOW).permute(0, 1, 2, 4, 5, 3)
    else:
        grid = x.reshape(n, SAMPLE, h // SAMPLE, SAMPLE, w // SAMPLE, c).permute(0, 2, 4, 1, 3, 5)
        # Queries have stride H/8 and candidates H/16, so each grid of candidates serves 2 × 2 groups.
        grid = grid.repeat(1, 2, 2, 1, 1, 1)
    return grid.reshape(n, group_count(h, w), CANDIDATES, c)


def pack_edges(edges: Tensor) -> Tensor:
    """Pack edges into bit masks, bool N×G×64×256 → int32 N×G×64×8: candidate m is bit m & 31 of word m >> 5."""
    bits = edges.unflatten(-1, (WORDS, 32)).to(torch.int64) << torch.arange(32)
    return bits.sum(-1).to(torch.int32)


def unpack_edges(graph: Tensor) -> Tensor:
    """Invert `pack_edges`: int32 N×G×64×8 → bool N×G×64×256."""
    bits = graph.unsqueeze(-1) >> torch.arange(32, dtype=torch.int32)
    return (bits & 1).bool().flatten(-2)
