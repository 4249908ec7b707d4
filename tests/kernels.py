"""The CPU kernels of the graph ops, called through their plain C interface (libglic_kernels.so)."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from glic_deploy import native

OK, INVALID = 0, 1
# The instruction sets of this architecture that kernels of floats, and those of integers, are built for.
if platform.machine() in ("aarch64", "arm64"):
    ISAS: tuple[str, ...] = ("neon", "portable")
    INTEGER_ISAS: tuple[str, ...] = ("neoni8mm", "neondotprod", "neon", "portable")
else:
    ISAS = INTEGER_ISAS = ("avx512", "avx2", "portable")
BFLOAT16 = ml_dtypes.bfloat16
ELEMENTS = {np.dtype(np.float32): 0, np.dtype(np.float16): 1, np.dtype(BFLOAT16): 2}
MESSAGE_SIZE = 320

_Body = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t)
_Run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t, _Body, ctypes.c_void_p)


class Shape(ctypes.Structure):
    """glic_shape"""

    _fields_ = (("dims", ctypes.POINTER(ctypes.c_int64)), ("rank", ctypes.c_size_t))

    def __init__(self, *dims: int) -> None:
        super().__init__((ctypes.c_int64 * max(1, len(dims)))(*dims), len(dims))


class Parallel(ctypes.Structure):
    """glic_parallel"""

    _fields_ = (("context", ctypes.c_void_p), ("lanes", ctypes.c_size_t), ("run", _Run))


class MapSize(ctypes.Structure):
    """glic_complexity_map_size"""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("n", "h", "w", "c"))


class KnnSize(ctypes.Structure):
    """glic_dynamic_knn_size"""

    _fields_ = (*((name, ctypes.c_int64) for name in ("n", "h", "w", "c")), ("sampling", ctypes.c_int32))


class AggregateSize(ctypes.Structure):
    """glic_scatter_aggregate_size"""

    _fields_ = (*((name, ctypes.c_int64) for name in ("n", "h", "w", "c", "heads")), ("sampling", ctypes.c_int32))


@cache
def library() -> ctypes.CDLL:
    lib = native.load("glic_kernels")
    lib.glic_selected_isa.restype = ctypes.c_char_p
    lib.glic_complexity_map_check.argtypes = [Shape, ctypes.c_void_p, ctypes.c_char_p]
    for check, shapes in (lib.glic_dynamic_knn_check, 2), (lib.glic_scatter_aggregate_check, 5):
        check.argtypes = [Shape] * shapes + [ctypes.c_int64] * 3 + [ctypes.c_void_p, ctypes.c_char_p]
    return lib


@contextmanager
def isa(name: str) -> Iterator[bool]:
    """Run the kernels with these instructions meanwhile; yields False where processor or build lack them."""
    before = library().glic_selected_isa()
    yield library().glic_select_isa(name.encode()) == OK
    library().glic_select_isa(before)


def threads(count: int) -> Parallel:
    """A glic_parallel of this many Python threads (the kernels release the GIL)."""

    def run(_: int, bodies: int, body: ctypes._CFunctionType, argument: int) -> None:
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(lambda index: body(argument, index), range(bodies)))

    return Parallel(None, count, _Run(run))


def check_dynamic_knn(
    x: Shape, complexity: Shape, sampling: int = 0, window: int = 8, sample: int = 16
) -> tuple[int, KnnSize, str]:
    """The result, the size found and the message of the kernel's own check."""
    size, message = KnnSize(), ctypes.create_string_buffer(MESSAGE_SIZE)
    result = library().glic_dynamic_knn_check(x, complexity, sampling, window, sample, ctypes.byref(size), message)
    return result, size, message.value.decode()


def check_scatter_aggregate(
    *shapes: Shape, sampling: int = 0, window: int = 8, sample: int = 16
) -> tuple[int, AggregateSize, str]:
    """The result, the size found and the message of the kernel's own check; shapes: q, kv, graph, bias, scale."""
    size, message = AggregateSize(), ctypes.create_string_buffer(MESSAGE_SIZE)
    result = library().glic_scatter_aggregate_check(*shapes, sampling, window, sample, ctypes.byref(size), message)
    return result, size, message.value.decode()


def _pointer(array: NDArray[np.generic]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def complexity_map(x: NDArray[np.floating], parallel: Parallel | None = None) -> NDArray[np.float32]:
    size, message = MapSize(), ctypes.create_string_buffer(MESSAGE_SIZE)
    if library().glic_complexity_map_check(Shape(*x.shape), ctypes.byref(size), message) != OK:
        raise ValueError(message.value.decode())
    x, complexity = np.ascontiguousarray(x), np.empty((size.n, size.h, size.w), np.float32)
    result = library().glic_complexity_map_cpu(
        ctypes.byref(size),
        ELEMENTS[x.dtype],
        _pointer(x),
        _pointer(complexity),
        ctypes.byref(parallel) if parallel else None,
    )
    assert result == OK
    return complexity


def dynamic_knn(
    x: NDArray[np.floating], complexity: NDArray[np.float32], sampling: int, parallel: Parallel | None = None
) -> NDArray[np.int32]:
    result, size, message = check_dynamic_knn(Shape(*x.shape), Shape(*complexity.shape), sampling)
    if result != OK:
        raise ValueError(message)
    x, complexity = np.ascontiguousarray(x), np.ascontiguousarray(complexity, np.float32)
    graph = np.empty((size.n, (size.h // 8) * (size.w // 8), 64, 8), np.int32)
    result = library().glic_dynamic_knn_cpu(
        ctypes.byref(size),
        ELEMENTS[x.dtype],
        _pointer(x),
        _pointer(complexity),
        _pointer(graph),
        ctypes.byref(parallel) if parallel else None,
    )
    assert result == OK
    return graph


def scatter_aggregate(
    q: NDArray[np.floating],
    kv: NDArray[np.floating],
    graph: NDArray[np.int32],
    bias: NDArray[np.float32],
    scale: NDArray[np.float32],
    sampling: int,
    parallel: Parallel | None = None,
    *,
    in_place: bool = False,
) -> NDArray[np.floating]:
    """in_place: the result takes the memory of a copy of q."""
    arrays = [np.ascontiguousarray(a) for a in (q, kv, graph, bias, scale)]
    result, size, message = check_scatter_aggregate(*(Shape(*a.shape) for a in arrays), sampling=sampling)
    if result != OK:
        raise ValueError(message)
    arrays[0] = arrays[0].copy()
    out = arrays[0] if in_place else np.empty_like(arrays[0])
    result = library().glic_scatter_aggregate_cpu(
        ctypes.byref(size),
        ELEMENTS[out.dtype],
        *map(_pointer, arrays),
        _pointer(out),
        ctypes.byref(parallel) if parallel else None,
    )
    assert result == OK
    return out
