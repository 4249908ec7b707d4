"""Call the ops' CUDA kernels on PyTorch tensors through their plain C interface (libglic_cuda.so)."""

from __future__ import annotations

import ctypes
from functools import cache

import torch
from torch import Tensor

from glic_deploy import native

ELEMENTS = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}


class _KnnSize(ctypes.Structure):
    """Mirror the C struct glic_dynamic_knn_size."""

    _fields_ = (*((name, ctypes.c_int64) for name in ("n", "h", "w", "c")), ("sampling", ctypes.c_int32))


class _AggregateSize(ctypes.Structure):
    """Mirror the C struct glic_scatter_aggregate_size."""

    _fields_ = (*((name, ctypes.c_int64) for name in ("n", "h", "w", "c", "heads")), ("sampling", ctypes.c_int32))


@cache
def library() -> ctypes.CDLL:
    return native.load("glic_cuda")


def _call(name: str, size: ctypes.Structure, element: int, *tensors: Tensor) -> None:
    assert all(tensor.is_cuda and tensor.is_contiguous() for tensor in tensors)
    addresses = [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    result = getattr(library(), name)(ctypes.byref(size), element, *addresses, stream)
    if result:
        raise RuntimeError(f"{name}: CUDA error {result}")


def dynamic_knn(x: Tensor, complexity: Tensor, sampling: int) -> Tensor:
    """Run the op on tensors of the GPU; see export.ops.dynamic_knn."""
    n, h, w, c = x.shape
    graph = torch.empty((n, h * w // 64, 64, 8), dtype=torch.int32, device=x.device)
    _call("glic_dynamic_knn_cuda", _KnnSize(n, h, w, c, sampling), ELEMENTS[x.dtype], x, complexity, graph)
    return graph


def scatter_aggregate(
    q: Tensor, kv: Tensor, graph: Tensor, bias: Tensor, scale: Tensor, sampling: int, out: Tensor | None = None
) -> Tensor:
    """Run the op on tensors of the GPU; see export.ops.scatter_aggregate.

    out: tensor to write to, which may be `q`; None for a new tensor.
    """
    out = torch.empty_like(q) if out is None else out
    size = _AggregateSize(*q.shape, len(scale), sampling)
    _call("glic_scatter_aggregate_cuda", size, ELEMENTS[q.dtype], q, kv, graph, bias, scale, out)
    return out
