"""Define `glic::dynamic_knn`, the degree-adaptive neighbour selection of specification §3, as a PyTorch custom op.

The eager implementation is plain: it gathers the candidates of every group, computes all cosine similarities, and
bisects. `plugins_cpp/dynamic_knn/README.md` is the op's page.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .groups import (
    CANDIDATES,
    QUERIES,
    SAMPLE,
    WINDOW,
    WORDS,
    candidate_groups,
    check_attributes,
    check_dtype,
    check_map,
    check_shape,
    group_count,
    pack_edges,
    query_groups,
)

OP = "glic::DynamicKnn"
TOP_K = 64
BISECTIONS = 5


def degree_budgets(complexity: Tensor, sampling: int) -> Tensor:
    """Compute each node's share of its group's 64·TOP_K edges, from 1 to 256: N×H×W → N×G×64, not rounded."""
    d = query_groups(complexity.unsqueeze(-1), sampling).squeeze(-1)
    return (d / d.sum(-1, keepdim=True) * (QUERIES * TOP_K)).clamp(1, CANDIDATES)


def similarities(x: Tensor, sampling: int) -> Tensor:
    """Compute the cosine similarities of queries and candidates: N×H×W×C → float32 N×G×64×256.

    The similarity of a candidate outside the map is 0.
    """
    unit = normalize(x.float(), dim=-1, eps=1e-12)
    return query_groups(unit, sampling) @ candidate_groups(unit, sampling).transpose(-1, -2)


@torch.library.custom_op("glic::dynamic_knn", mutates_args=())
def dynamic_knn(x: Tensor, complexity: Tensor, sampling: int, window: int = WINDOW, sample: int = SAMPLE) -> Tensor:
    """Select each node's neighbours among its 256 candidates.

    Args:
        x: float32 or float16 N×H×W×C, H and W multiples of 16.
        complexity: float32 N×H×W, positive: the map d after its contrast is flattened (`complexity_map`).
        sampling: 0 local, 1 global.
        window, sample: 8 and 16, the only values that version 1 defines.

    Returns:
        int32 N×G×64×8 edge bits, G = (H/8)·(W/8): candidate m is bit m & 31 of word m >> 5.

    Raises:
        ValueError: an attribute or a shape is not as above.
        TypeError: an element type is not as above.
    """
    check_attributes(OP, sampling, window, sample)
    check_map(OP, "x", x)
    check_dtype(OP, "x", x, torch.float32, torch.float16)
    check_shape(OP, "complexity", complexity, tuple(x.shape[:3]))
    check_dtype(OP, "complexity", complexity, torch.float32)

    budget = degree_budgets(complexity, sampling)
    similarity = similarities(x, sampling)
    low, high = similarity.amin(-1), torch.ones_like(budget)
    threshold = similarity.mean(-1)
    for _ in range(BISECTIONS):
        above = (similarity > threshold.unsqueeze(-1)).sum(-1)
        too_many = above > budget
        low, high = torch.where(too_many, threshold, low), torch.where(too_many, high, threshold)
        threshold = (low + high) / 2
    return pack_edges(similarity > threshold.unsqueeze(-1))


@dynamic_knn.register_fake
def _(x: Tensor, complexity: Tensor, sampling: int, window: int = WINDOW, sample: int = SAMPLE) -> Tensor:
    check_attributes(OP, sampling, window, sample)
    n, h, w, _ = x.shape
    return x.new_empty((n, group_count(h, w), QUERIES, WORDS), dtype=torch.int32)
