"""`glic::scatter_aggregate`, attention over each node's edges (specification §3), as a PyTorch custom op.

The eager implementation is the obvious one: gather every group's candidates, full 64×256 attention maps.
`plugins_cpp/scatter_aggregate/README.md` is the op's page.
"""

from __future__ import annotations

from typing import Any

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
    query_groups,
    scatter_groups,
    unpack_edges,
)

OP = "glic::ScatterAggregate"
NO_EDGE = -100.0


@torch.library.custom_op("glic::scatter_aggregate", mutates_args=())
def scatter_aggregate(
    q: Tensor,
    kv: Tensor,
    graph: Tensor,
    bias: Tensor,
    scale: Tensor,
    sampling: int,
    window: int = WINDOW,
    sample: int = SAMPLE,
) -> Tensor:
    """Attend from every node over its edges and put each result at the node's position.

    A row without an edge attends to all of its 256 candidates.

    Args:
        q: float32 or float16 N×H×W×C; heads are contiguous slices of the C channels.
        kv: the same type, N×H×W×2C: keys, then values.
        graph: int32 N×G×64×8 edge bits of `dynamic_knn` with the same sampling.
        bias: float32 heads×64×256, added to the logits: 16·sigmoid of the relative position table.
        scale: float32 heads: exp(min(logit_scale, 4.6052)).
        sampling: 0 local, 1 global.
        window, sample: 8 and 16, the only values that version 1 defines.

    Returns:
        N×H×W×C of q's type; computed in float32.

    Raises:
        ValueError, TypeError: an attribute, shape or type is not as above.
    """
    check_attributes(OP, sampling, window, sample)
    check_map(OP, "q", q)
    n, h, w, c = q.shape
    heads = bias.shape[0]
    groups = group_count(h, w)
    check_dtype(OP, "q", q, torch.float32, torch.float16)
    check_dtype(OP, "kv", kv, q.dtype)
    check_dtype(OP, "graph", graph, torch.int32)
    check_dtype(OP, "bias", bias, torch.float32)
    check_dtype(OP, "scale", scale, torch.float32)
    check_shape(OP, "kv", kv, (n, h, w, 2 * c))
    check_shape(OP, "graph", graph, (n, groups, QUERIES, WORDS))
    check_shape(OP, "bias", bias, (heads, QUERIES, CANDIDATES))
    check_shape(OP, "scale", scale, (heads,))
    if heads < 1 or c % heads:
        raise ValueError(f"{OP}: q has {c} channels, expected a multiple of the {heads} heads of bias")
    return _attention(q, kv, graph, bias, scale, sampling)


def _attention(q: Tensor, kv: Tensor, graph: Tensor, bias: Tensor, scale: Tensor, sampling: int) -> Tensor:
    _, h, w, c = q.shape
    heads = bias.shape[0]

    def by_head(grouped: Tensor) -> Tensor:
        """N×G×nodes×C → N×G×heads×nodes×(C/heads)."""
        return grouped.unflatten(-1, (heads, c // heads)).transpose(2, 3)

    keys, values = candidate_groups(kv.float(), sampling).chunk(2, dim=-1)
    query = normalize(by_head(query_groups(q.float(), sampling)), dim=-1, eps=1e-12)
    key = normalize(by_head(keys), dim=-1, eps=1e-12)
    similarity = query @ key.transpose(-1, -2)
    # The penalty acts before the scale, so a row without any edge keeps its similarities: all lose the same 100.
    penalty = torch.where(unpack_edges(graph), 0.0, NO_EDGE).unsqueeze(2)
    logits = (similarity + penalty) * scale.reshape(heads, 1, 1) + bias
    out = logits.softmax(-1) @ by_head(values)
    return scatter_groups(out.transpose(2, 3).flatten(-2), h, w, sampling).to(q.dtype)


@scatter_aggregate.register_fake
def _(
    q: Tensor,
    kv: Tensor,
    graph: Tensor,
    bias: Tensor,
    scale: Tensor,
    sampling: int,
    window: int = WINDOW,
    sample: int = SAMPLE,
) -> Tensor:
    check_attributes(OP, sampling, window, sample)
    return q.new_empty(q.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    q, kv, graph, bias, scale, sampling, *_ = inputs
    ctx.save_for_backward(q, kv, graph, bias, scale)
    ctx.sampling = sampling


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Return the gradients of q and kv; the attention maps are computed again, as they are too large to keep."""
    q, kv, graph, bias, scale = ctx.saved_tensors
    with torch.enable_grad():
        q, kv = (tensor.detach().requires_grad_() for tensor in (q, kv))
        out = _attention(q, kv, graph, bias, scale, ctx.sampling)
    dq, dkv = torch.autograd.grad(out, (q, kv), grad)
    return dq, dkv, None, None, None, None, None, None


scatter_aggregate.register_autograd(_backward, setup_context=_setup_context)
