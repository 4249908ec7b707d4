"""Call the ops' CUDA kernels on PyTorch tensors through their plain C interface (libglic_cuda.so)."""

from __future__ import annotations

import ctypes
from functools import cache

import torch
from torch import Tensor

from glic_deploy import native

ELEMENTS = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}


class _MapSize(ctypes.Structure):
    """Mirror the C struct glic_complexity_map_size."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("n", "h", "w", "c"))


class _KnnSize(ctypes.Structure):
    """Mirror the C struct glic_dynamic_knn_size."""

    _fields_ = (*((name, ctypes.c_int64) for name in ("n", "h", "w", "c")), ("sampling", ctypes.c_int32))


class _AggregateSize(ctypes.Structure):
    """Mirror the C struct glic_scatter_aggregate_size."""

    _fields_ = (*((name, ctypes.c_int64) for name in ("n", "h", "w", "c", "heads")), ("sampling", ctypes.c_int32))


class _GatedFfnSize(ctypes.Structure):
    """Mirror the C struct glic_gated_ffn_size."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("positions", "channels", "hidden"))


class _DepthwiseGatedFfnSize(ctypes.Structure):
    """Mirror the C struct glic_depthwise_gated_ffn_size."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("images", "height", "width", "channels", "hidden"))


class _LinearSize(ctypes.Structure):
    """Mirror the C struct glic_integer_linear_size."""

    _fields_ = (*((name, ctypes.c_int64) for name in ("positions", "inputs", "outputs")), ("limit", ctypes.c_int32))


class _FfnSize(ctypes.Structure):
    """Mirror the C struct glic_integer_gated_ffn_size."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("positions", "channels", "hidden")),
        *((name, ctypes.c_int32) for name in ("norm_shift", "norm_limit", "gate_limit")),
    )


class _DepthwiseSize(ctypes.Structure):
    """Mirror the C struct glic_integer_depthwise_size."""

    _fields_ = (*((name, ctypes.c_int64) for name in ("height", "width", "channels")), ("limit", ctypes.c_int32))


class _Layer(ctypes.Structure):
    """Mirror the C struct glic_integer_layer."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("weight", "bias", "shift"))


class _FfnConstants(ctypes.Structure):
    """Mirror the C struct glic_integer_gated_ffn_constants."""

    _fields_ = (
        ("norm_fraction", ctypes.c_void_p),
        ("rsqrt", ctypes.c_void_p),
        ("project_in", _Layer),
        ("gelu", ctypes.c_void_p),
        ("gate_shift", ctypes.c_void_p),
        ("project_out", _Layer),
    )


@cache
def library() -> ctypes.CDLL:
    return native.load("glic_cuda")


def _address(tensor: Tensor) -> ctypes.c_void_p:
    assert tensor.is_cuda
    assert tensor.is_contiguous()
    return ctypes.c_void_p(tensor.data_ptr())


def _launch(name: str, size: ctypes.Structure, *arguments: object) -> None:
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    result = getattr(library(), name)(ctypes.byref(size), *arguments, stream)
    if result:
        raise RuntimeError(f"{name}: CUDA error {result}")


def _call(name: str, size: ctypes.Structure, element: int, *tensors: Tensor) -> None:
    _launch(name, size, element, *map(_address, tensors))


def _workspace(name: str, size: ctypes.Structure, x: Tensor) -> Tensor:
    """Allocate the device memory that a kernel needs beside, on the GPU of x."""
    needed = getattr(library(), name)
    needed.restype = ctypes.c_size_t
    return torch.empty(needed(ctypes.byref(size)), dtype=torch.uint8, device=x.device)


def _layer(weight: Tensor, bias: Tensor, shift: Tensor) -> _Layer:
    return _Layer(*(_address(tensor) for tensor in (weight, bias, shift)))


def integer_linear(x: Tensor, weight: Tensor, bias: Tensor, shift: Tensor, *, limit: int) -> Tensor:
    """Run glic::IntegerLinear on tensors of the GPU."""
    y = x.new_empty((*x.shape[:-1], len(bias)))
    size = _LinearSize(x[..., 0].numel(), *weight.shape, limit)
    _launch("glic_integer_linear_cuda", size, _address(x), _layer(weight, bias, shift), _address(y))
    return y


def integer_depthwise(x: Tensor, weight: Tensor, bias: Tensor, shift: Tensor, *, limit: int) -> Tensor:
    """Run glic::IntegerDepthwise on tensors of the GPU."""
    y = torch.empty_like(x)
    size = _DepthwiseSize(*x.shape, limit)
    _launch("glic_integer_depthwise_cuda", size, _address(x), _layer(weight, bias, shift), _address(y))
    return y


def integer_gated_ffn(x: Tensor, *constants: Tensor, norm_shift: int, norm_limit: int, gate_limit: int) -> Tensor:
    """Run glic::IntegerGatedFfn on tensors of the GPU; constants: the op's inputs after the first, in order."""
    fraction, rsqrt, *project_in, gelu, gate_shift, weight, bias, shift = constants
    held = _FfnConstants(
        _address(fraction),
        _address(rsqrt),
        _layer(*project_in),
        _address(gelu),
        _address(gate_shift),
        _layer(weight, bias, shift),
    )
    size = _FfnSize(x[..., 0].numel(), *weight.shape[::-1], norm_shift, norm_limit, gate_limit)
    workspace = _workspace("glic_integer_gated_ffn_workspace", size, x)
    out = torch.empty_like(x)
    arguments = _address(x), ctypes.byref(held), _address(out), _address(workspace)
    _launch("glic_integer_gated_ffn_cuda", size, *arguments)
    return out


def complexity_map(x: Tensor) -> Tensor:
    """Run the op on a tensor of the GPU; see export.ops.complexity."""
    complexity = torch.empty(x.shape[:3], device=x.device)
    size = _MapSize(*x.shape)
    workspace = _workspace("glic_complexity_map_workspace", size, x)
    _call("glic_complexity_map_cuda", size, ELEMENTS[x.dtype], x, complexity, workspace)
    return complexity


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


def gated_ffn(x: Tensor, *constants: Tensor, epsilon: float) -> Tensor:
    """Run glic::GatedFfn or, with four constants, glic::DepthwiseGatedFfn on tensors of the GPU."""
    out, hidden = torch.empty_like(x), len(constants[-1])
    size: ctypes.Structure = _GatedFfnSize(x[..., 0].numel(), x.shape[-1], hidden)
    if len(constants) == 4:
        size = _DepthwiseGatedFfnSize(*x.shape, hidden)
    name = "glic_gated_ffn_cuda" if len(constants) == 3 else "glic_depthwise_gated_ffn_cuda"
    _launch(name, size, ctypes.c_float(epsilon), ELEMENTS[x.dtype], *map(_address, (x, *constants, out)))
    return out
