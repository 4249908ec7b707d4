"""NumPy oracle of glic::DynamicKnn: clear and slow."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .grouping import candidate_nodes, pack, query_nodes, with_outside


def similarities(x: NDArray[np.floating], sampling: int, dtype: DTypeLike = np.float32) -> NDArray[np.floating]:
    """N×H×W×C → N×G×64×256 cosine similarities, computed in dtype."""
    n, h, w, _ = x.shape
    query, candidate = query_nodes(h, w, sampling), candidate_nodes(h, w, sampling)
    out = np.empty((n, len(query), 64, 256), dtype)
    for image in range(n):
        nodes = with_outside(x[image].astype(dtype))
        unit = nodes / np.maximum(np.sqrt((nodes * nodes).sum(-1, keepdims=True)), 1e-12)
        for group in range(len(query)):
            out[image, group] = unit[query[group]] @ unit[candidate[group]].T
    return out


def budgets(complexity: NDArray[np.floating], sampling: int, dtype: DTypeLike = np.float32) -> NDArray[np.floating]:
    """N×H×W → N×G×64 degree budgets in [1, 256]; a NaN share counts as 256."""
    n, h, w = complexity.shape
    d = complexity.reshape(n, h * w).astype(dtype)[:, query_nodes(h, w, sampling)]
    share = d / d.sum(-1, keepdims=True) * 64 * 64
    return np.where(np.isnan(share), 256, np.clip(share, 1, 256))


def dynamic_knn(
    x: NDArray[np.floating],
    complexity: NDArray[np.floating],
    sampling: int,
    dtype: DTypeLike = np.float32,
) -> NDArray[np.int32]:
    """The edge bits, int32 N×G×64×8, of a float N×H×W×C map and its float N×H×W complexity map."""
    similarity, budget = similarities(x, sampling, dtype), budgets(complexity, sampling, dtype)
    edges = np.empty(similarity.shape, bool)
    for row in np.ndindex(*budget.shape):
        low, high, t = similarity[row].min(), similarity.dtype.type(1), similarity[row].mean()
        for _ in range(5):
            if (similarity[row] > t).sum() > budget[row]:
                low, t = t, (t + high) / 2
            else:
                high, t = t, (t + low) / 2
        edges[row] = similarity[row] > t
    return pack(edges)
