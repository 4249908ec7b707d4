"""The ops of the transforms' CPU form: every implementation against NumPy."""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.ops import winograd
from export.ops.functions import attach_functions
from export.ops.winograd import A, B
from glic_deploy.backends.onnxruntime import session_options
from glic_deploy.ops import DOMAIN, OPS

from . import kernels
from .kernels import ISAS

Array = NDArray[np.float32]


# ---- Oracles, in float64 ----


def gate(x: Array) -> Array:
    a, b = np.split(x.astype(np.float64), 2, axis=-1)
    return (a * 0.5 * (1 + np.vectorize(math.erf, otypes=[np.float64])(a / math.sqrt(2))) * b).astype(np.float32)


def depthwise_gate(x: Array, filters: Array) -> Array:
    side, (height, width) = filters.shape[-1], x.shape[1:3]
    padded = np.pad(x.astype(np.float64), ((0, 0), (side // 2,) * 2, (side // 2,) * 2, (0, 0)))
    convolved = sum(
        padded[:, i : i + height, j : j + width] * filters[:, 0, i, j] for i in range(side) for j in range(side)
    )
    return gate(np.asarray(convolved))


def pixel_shuffle(x: Array) -> Array:
    n, c, h, w = x.shape
    return x.reshape(n, c // 4, 2, 2, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, c // 4, 2 * h, 2 * w)


def depthwise_mix(x: Array, before: Array, filters: Array, after: Array) -> Array:
    side, (height, width) = filters.shape[-1], x.shape[1:3]
    biased = x.astype(np.float64) + before
    active = np.pad(np.where(biased > 0, biased, 0.01 * biased), ((0, 0), (side // 2,) * 2, (side // 2,) * 2, (0, 0)))
    convolved = sum(
        active[:, i : i + height, j : j + width] * filters[:, 0, i, j] for i in range(side) for j in range(side)
    )
    return np.asarray(convolved + after).astype(np.float32)


EPSILON = 1e-5


def residual_norm(x: Array, update: Array, bias: Array) -> tuple[Array, Array]:
    total = x.astype(np.float64) + update + bias
    unit = (total - total.mean(-1, keepdims=True)) / np.sqrt(total.var(-1, keepdims=True) + EPSILON)
    normed = np.concatenate([unit, np.ones_like(unit[..., :1])], axis=-1)
    return total.astype(np.float32), normed.astype(np.float32)


def winograd_input(x: Array) -> Array:
    n, h, w, c = x.shape
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    patches = np.lib.stride_tricks.sliding_window_view(padded, (6, 6), (1, 2))[:, ::4, ::4]
    return np.einsum("ai,bj,nhwcij->abnhwc", B, B, patches).reshape(36, n, h // 4, w // 4, c).astype(np.float32)


def winograd_shuffle(m: Array, bias: Array) -> Array:
    _, n, h, w, channels = m.shape
    tiles = np.einsum("ia,jb,abnhwk->nhiwjk", A, A, m.astype(np.float64).reshape(6, 6, *m.shape[1:])) + bias
    phases = tiles.reshape(n, 4 * h, 4 * w, 2, 2, channels // 4).transpose(0, 1, 3, 2, 4, 5)
    return phases.reshape(n, 8 * h, 8 * w, channels // 4).astype(np.float32)


ORACLES: dict[str, Callable[..., Array | tuple[Array, ...]]] = {
    "Gate": gate,
    "DepthwiseGate": depthwise_gate,
    "DepthwiseMix": depthwise_mix,
    "ResidualNorm": residual_norm,
    "WinogradInput": winograd_input,
    "WinogradShuffle": winograd_shuffle,
    "PixelShuffle": pixel_shuffle,
}
INPUTS = {name: tuple(OPS[name].inputs) for name in ORACLES}
RANKS = {"WinogradInput": 5, "WinogradShuffle": 4}  # of an output, where it is not the first input's
# The input whose type a kernel is told, and the outputs that have it too.
TYPED = {name: (OPS[name].inputs_of("T")[0], OPS[name].outputs_of("T")) for name in ORACLES if OPS[name].elements}
COUNTED = [name for name in ORACLES if "channels" in OPS[name].attributes]  # whose nodes say how many there are


def oracle(op: str, *arrays: Array) -> tuple[Array, ...]:
    results = ORACLES[op](*arrays)
    return results if isinstance(results, tuple) else (results,)


# ---- Implementations ----


def session(op: str, arrays: tuple[Array, ...], *, kernels: bool) -> onnxruntime.InferenceSession:
    attributes: dict[str, float] = {"channels": arrays[0].shape[-1]} if op in COUNTED else {}
    if op == "ResidualNorm":
        attributes = {"epsilon": EPSILON}
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * array.ndim)
        for name, array in zip(INPUTS[op], arrays, strict=False)
    ]
    names = tuple(OPS[op].outputs)
    rank = RANKS.get(op, arrays[0].ndim)
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank) for name in names]
    node = helper.make_node(op, INPUTS[op], names, domain=DOMAIN, **attributes)
    model = helper.make_model(
        helper.make_graph([node], op, inputs, outputs),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)],
        ir_version=10,
    )
    attach_functions(model)
    onnx.checker.check_model(model)
    options = session_options(2) if kernels else onnxruntime.SessionOptions()
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def through_onnxruntime(op: str, *arrays: Array, kernels: bool) -> tuple[Array, ...]:
    made = session(op, arrays, kernels=kernels)
    return tuple(made.run(None, dict(zip(INPUTS[op], arrays, strict=True))))


def native(op: str, *arrays: Array, isa: str = "portable", threads: int = 1) -> tuple[Array, ...]:
    name = re.sub(r"(?<!^)([A-Z])", r"_\1", op).lower()
    check = getattr(kernels.library(), f"glic_{name}_check")
    check.argtypes = [kernels.Shape] * len(arrays) + [ctypes.c_void_p, ctypes.c_char_p]
    size, message = (ctypes.c_int64 * 8)(), ctypes.create_string_buffer(kernels.MESSAGE_SIZE)
    if check(*(kernels.Shape(*a.shape) for a in arrays), size, message) != kernels.OK:
        raise ValueError(message.value.decode())
    typed, typed_outputs = TYPED.get(op, (0, ()))
    dtype = arrays[typed].dtype
    shapes = [want.shape for want in oracle(op, *(a.astype(np.float32) for a in arrays))]
    outs = tuple(np.empty(shape, dtype if i in typed_outputs else np.float32) for i, shape in enumerate(shapes))
    parallel = kernels.threads(threads)
    options: list[object] = [ctypes.c_int32(kernels.ELEMENTS[dtype])] if op in TYPED else []
    options += [ctypes.c_float(EPSILON)] if op == "ResidualNorm" else []
    pointers = [ctypes.c_void_p(np.ascontiguousarray(a).ctypes.data) for a in (*arrays, *outs)]
    with kernels.isa(isa) as available:
        if not available:
            pytest.skip(f"needs a processor and a build with {isa}")
        run = getattr(kernels.library(), f"glic_{name}_cpu")
        assert run(size, *options, *pointers, ctypes.byref(parallel)) == kernels.OK
    return outs


class Implementation(NamedTuple):
    name: str
    run: Callable[..., tuple[Array, ...]]


IMPLEMENTATIONS = [
    Implementation("function", lambda op, *arrays: through_onnxruntime(op, *arrays, kernels=False)),
    Implementation("onnxruntime", lambda op, *arrays: through_onnxruntime(op, *arrays, kernels=True)),
    *(Implementation(isa, lambda op, *arrays, isa=isa: native(op, *arrays, isa=isa)) for isa in ISAS),
]
ALL = pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=lambda i: i.name)


def assert_agrees(implementation: Implementation, op: str, *arrays: Array) -> None:
    for got, want in zip(implementation.run(op, *arrays), oracle(op, *arrays), strict=True):
        tolerance = 0 if op == "PixelShuffle" else 2e-6 * max(1.0, np.abs(want).max(initial=0))
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance)


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> Array:
    return rng.normal(size=shape, scale=scale).astype(np.float32)


@ALL
@pytest.mark.parametrize("shape", [(1, 5, 7, 64), (2, 1, 1, 6), (3, 258), (1, 1, 256, 1024)])
def test_gate_agrees(implementation: Implementation, shape: tuple[int, ...]) -> None:
    assert_agrees(implementation, "Gate", normal(np.random.default_rng(1), *shape, scale=3))


@ALL
def test_gate_of_every_magnitude(implementation: Implementation) -> None:
    a = np.concatenate([[0, -0.0, 1e-38, -1e-38], *(s * np.geomspace(1e-6, 1e4, 998) for s in (1, -1))])
    x = np.stack([a, np.ones_like(a)], axis=-1).astype(np.float32)
    got, want = implementation.run("Gate", x)[0][:, 0], gate(x)[:, 0]
    assert (np.abs(got - want) <= 2e-7 * np.maximum(1, np.abs(a))).all()


@ALL
@pytest.mark.parametrize("side", [1, 3, 5])
@pytest.mark.parametrize("shape", [(1, 9, 11, 40), (2, 1, 6, 32), (1, 20, 1, 6), (1, 3, 2, 66)])
def test_depthwise_gate_agrees(implementation: Implementation, shape: tuple[int, ...], side: int) -> None:
    rng = np.random.default_rng(2)
    assert_agrees(implementation, "DepthwiseGate", normal(rng, *shape), normal(rng, shape[-1], 1, side, side))


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 20), st.integers(1, 20), st.integers(1, 40)),
    st.sampled_from(ISAS),
    st.integers(1, 3),
)
def test_depthwise_gate_of_any_size(shape: tuple[int, int, int, int], isa: str, threads: int) -> None:
    rng = np.random.default_rng(3)
    x, filters = normal(rng, *shape[:3], 2 * shape[3]), normal(rng, 2 * shape[3], 1, 3, 3)
    with kernels.isa(isa) as available:
        if not available:
            return
    got = native("DepthwiseGate", x, filters, isa=isa, threads=threads)
    np.testing.assert_allclose(got[0], depthwise_gate(x, filters), rtol=0, atol=1e-4)
    np.testing.assert_array_equal(got, native("DepthwiseGate", x, filters, isa=isa))


@ALL
@pytest.mark.parametrize("side", [1, 3, 5])
@pytest.mark.parametrize("shape", [(1, 9, 13, 40), (2, 1, 6, 32), (1, 20, 1, 6), (1, 3, 2, 66), (1, 6, 30, 16)])
def test_depthwise_mix_agrees(implementation: Implementation, shape: tuple[int, ...], side: int) -> None:
    rng = np.random.default_rng(5)
    channels = shape[-1]
    filters = normal(rng, channels, 1, side, side)
    assert_agrees(
        implementation, "DepthwiseMix", normal(rng, *shape), normal(rng, channels), filters, normal(rng, channels)
    )


@ALL
@pytest.mark.parametrize("shape", [(1, 5, 7, 192), (3, 1), (2, 70, 17), (130, 40)])
def test_residual_norm_agrees(implementation: Implementation, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(6)
    x, update = normal(rng, *shape, scale=3), normal(rng, *shape)
    assert_agrees(implementation, "ResidualNorm", x, update, normal(rng, shape[-1]))


@ALL
def test_residual_norm_of_equal_channels(implementation: Implementation) -> None:
    x = np.full((2, 48), 7, np.float32)
    total, normed = implementation.run("ResidualNorm", x, -x, np.zeros(48, np.float32))
    np.testing.assert_array_equal(total, 0)
    np.testing.assert_array_equal(normed, np.eye(49, dtype=np.float32)[[-1, -1]])


@ALL
@pytest.mark.parametrize("shape", [(1, 4, 4, 16), (2, 8, 12, 5), (1, 16, 8, 40)])
def test_winograd_input_agrees(implementation: Implementation, shape: tuple[int, ...]) -> None:
    assert_agrees(implementation, "WinogradInput", normal(np.random.default_rng(7), *shape))


@ALL
@pytest.mark.parametrize("shape", [(36, 1, 1, 1, 64), (36, 2, 2, 3, 20), (36, 1, 4, 2, 160)])
def test_winograd_shuffle_agrees(implementation: Implementation, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(8)
    assert_agrees(implementation, "WinogradShuffle", normal(rng, *shape), normal(rng, shape[-1]))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.integers(1, 20), st.integers(1, 6))
def test_winograd_is_the_convolution(images: int, rows: int, columns: int, inputs: int, quarter: int) -> None:
    rng = np.random.default_rng(9)
    x, filters = normal(rng, images, 4 * rows, 4 * columns, inputs), normal(rng, 4 * quarter, inputs, 3, 3)
    bias = normal(rng, 4 * quarter)
    patches = native("WinogradInput", x)[0]
    products = np.matmul(patches.reshape(36, -1, inputs), winograd.matrices(filters))
    got = native("WinogradShuffle", products.reshape(*patches.shape[:-1], -1), bias)[0]

    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    want = (np.einsum("nhwcij,kcij->nhwk", windows, filters) + bias).astype(np.float32)
    phases = want.reshape(images, 4 * rows, 4 * columns, 2, 2, quarter).transpose(0, 1, 3, 2, 4, 5)
    np.testing.assert_allclose(got, phases.reshape(got.shape), rtol=0, atol=1e-5 * np.abs(want).max())


BFLOAT16_CASES: dict[str, tuple[tuple[int, ...], ...]] = {
    "Gate": ((3, 258),),
    "DepthwiseGate": ((2, 9, 11, 46), (46, 1, 3, 3)),
    "DepthwiseMix": ((1, 9, 13, 43), (43,), (43, 1, 5, 5), (43,)),
    "ResidualNorm": ((130, 43), (130, 43), (43,)),
    "WinogradInput": ((2, 8, 12, 37),),
    "WinogradShuffle": ((36, 1, 2, 3, 76), (76,)),
}


@pytest.mark.parametrize("op", BFLOAT16_CASES)
@pytest.mark.parametrize("isa", ISAS)
def test_bfloat16_only_rounds_what_comes_out(op: str, isa: str) -> None:
    rng = np.random.default_rng(11)
    low = [normal(rng, *shape) for shape in BFLOAT16_CASES[op]]
    low[TYPED[op][0]] = low[TYPED[op][0]].astype(kernels.BFLOAT16)
    wide = native(op, *(array.astype(np.float32) for array in low), isa=isa)
    for got, want in zip(native(op, *low, isa=isa), wide, strict=True):
        np.testing.assert_array_equal(got, want.astype(got.dtype))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=70), st.sampled_from(ISAS))
def test_every_float_is_rounded_to_the_nearest_bfloat16(bits: list[int], isa: str) -> None:
    special = [0, 0x80000000, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7F800001, 0xFFFFFFFF, 0x3F808000, 0x3F818000, 1]
    values = np.array(bits + special, np.uint32).view(np.float32)
    channels = len(values)
    with kernels.isa(isa) as available:
        if not available:
            return
    nothing = np.zeros((1, 1, 1, channels), kernels.BFLOAT16)
    none, filters = np.zeros(channels, np.float32), np.zeros((channels, 1, 1, 1), np.float32)
    with np.errstate(invalid="ignore"):
        got = native("DepthwiseMix", nothing, none, filters, values, isa=isa)[0].ravel()
        want = values.astype(kernels.BFLOAT16)
    np.testing.assert_array_equal(got.astype(np.float32), want.astype(np.float32))


@ALL
@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (2, 12, 5, 3), (1, 16, 8, 34)])
def test_pixel_shuffle_agrees(implementation: Implementation, shape: tuple[int, ...]) -> None:
    assert_agrees(implementation, "PixelShuffle", normal(np.random.default_rng(4), *shape))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS[1:3], ids=lambda i: i.name)
@pytest.mark.parametrize(
    ("op", "shapes", "message"),
    [
        ("Gate", [(2, 5)], "glic::Gate: x has 5 channels, expected an even number"),
        ("DepthwiseGate", [(1, 4, 6), (6, 1, 3, 3)], "glic::DepthwiseGate: x has 3 dimensions, expected N, H, W, 2C"),
        ("DepthwiseGate", [(1, 4, 4, 6), (6, 1, 2, 2)], "filter has side 2, expected an odd number up to 15"),
        ("DepthwiseGate", [(1, 4, 4, 6), (4, 1, 3, 3)], r"filter has shape \[4, 1, 3, 3\], expected \[6, 1, 3, 3\]"),
        ("DepthwiseMix", [(1, 4, 4, 6), (5,), (6, 1, 3, 3), (6,)], r"before has shape \[5\], expected \[6\]"),
        (
            "DepthwiseMix",
            [(1, 4, 4, 6), (6,), (6, 1, 4, 4), (6,)],
            "filter has side 4, expected an odd number",
        ),
        ("ResidualNorm", [(1, 4, 6), (1, 3, 6), (6,)], "glic::ResidualNorm: update has not the shape of x"),
        ("ResidualNorm", [(1, 4, 6), (1, 4, 6), (5,)], r"bias has shape \[5\], expected \[6\]"),
        ("WinogradInput", [(1, 4, 6, 8)], "x has height 4 and width 6, expected multiples of 4"),
        ("WinogradShuffle", [(35, 1, 1, 1, 8), (8,)], "m has 5 dimensions, expected 36, N, H/4, W/4, 4C"),
        ("WinogradShuffle", [(36, 1, 1, 1, 6), (6,)], "m has 6 channels, expected a multiple of 4"),
        ("PixelShuffle", [(1, 6, 4, 4)], "glic::PixelShuffle: x has 6 channels, expected a multiple of 4"),
    ],
)
def test_wrong_shapes_are_named(
    implementation: Implementation, op: str, shapes: list[tuple[int, ...]], message: str
) -> None:
    arrays = [np.zeros(shape, np.float32) for shape in shapes]
    with pytest.raises(Exception, match=message):
        implementation.run(op, *arrays)
