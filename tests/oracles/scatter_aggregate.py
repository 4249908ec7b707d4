"""NumPy oracle of glic::ScatterAggregate: clear and slow."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .grouping import candidate_nodes, query_nodes, unpack, with_outside


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    return vectors / np.maximum(np.sqrt((vectors * vectors).sum(-1, keepdims=True)), 1e-12)


def scatter_aggregate(
    q: NDArray[np.floating],
    kv: NDArray[np.floating],
    graph: NDArray[np.int32],
    bias: NDArray[np.floating],
    scale: NDArray[np.floating],
    sampling: int,
    dtype: DTypeLike = np.float32,
) -> NDArray[np.floating]:
    """Attention over the edges of each node, N×H×W×C of dtype; the arguments are the op's."""
    n, h, w, c = q.shape
    heads = len(scale)
    width = c // heads
    query, candidate = query_nodes(h, w, sampling), candidate_nodes(h, w, sampling)
    penalty = np.where(unpack(graph), 0, -100).astype(dtype)
    out = np.empty((n, h * w, c), dtype)
    for image in range(n):
        queries = q[image].reshape(h * w, c).astype(dtype)
        nodes = with_outside(kv[image].astype(dtype))
        for group in range(len(query)):
            for head in range(heads):
                channels = slice(head * width, (head + 1) * width)
                key = nodes[candidate[group], :c][:, channels]
                value = nodes[candidate[group], c:][:, channels]
                similarity = _unit(queries[query[group], channels]) @ _unit(key).T
                logits = (similarity + penalty[image, group]) * scale[head].astype(dtype) + bias[head].astype(dtype)
                weights = np.exp(logits - logits.max(-1, keepdims=True))
                out[image, query[group], channels] = weights @ value / weights.sum(-1, keepdims=True)
    return out.reshape(n, h, w, c)
