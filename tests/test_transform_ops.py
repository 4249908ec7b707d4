"""The ops of the transforms' CPU form: every implementation against NumPy."""

from __future__ import annotations

import ctypes
import math
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

from export.ops.functions import attach_functions
from export.ops.translation import DOMAIN
from glic_deploy.backends.onnxruntime import session_options

from . import kernels

Array = NDArray[np.float32]
ISAS = ("avx512", "avx2", "portable")


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


ORACLES: dict[str, Callable[..., Array]] = {
    "Gate": gate,
    "DepthwiseGate": depthwise_gate,
    "PixelShuffle": pixel_shuffle,
}
INPUTS = {"Gate": ("x",), "DepthwiseGate": ("x", "filter"), "PixelShuffle": ("x",)}


# ---- Implementations ----


def session(op: str, arrays: tuple[Array, ...], *, kernels: bool) -> onnxruntime.InferenceSession:
    attributes = {"channels": arrays[0].shape[-1]} if op == "DepthwiseGate" else {}
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * array.ndim)
        for name, array in zip(INPUTS[op], arrays, strict=False)
    ]
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, [None] * arrays[0].ndim)
    node = helper.make_node(op, INPUTS[op], ["out"], domain=DOMAIN, **attributes)
    model = helper.make_model(
        helper.make_graph([node], op, inputs, [output]),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)],
        ir_version=10,
    )
    attach_functions(model)
    onnx.checker.check_model(model)
    options = session_options(2) if kernels else onnxruntime.SessionOptions()
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def through_onnxruntime(op: str, *arrays: Array, kernels: bool) -> Array:
    made = session(op, arrays, kernels=kernels)
    result: Array = made.run(None, dict(zip(INPUTS[op], arrays, strict=True)))[0]
    return result


def native(op: str, *arrays: Array, isa: str = "portable", threads: int = 1) -> Array:
    name = {"Gate": "gate", "DepthwiseGate": "depthwise_gate", "PixelShuffle": "pixel_shuffle"}[op]
    check = getattr(kernels.library(), f"glic_{name}_check")
    check.argtypes = [kernels.Shape] * len(arrays) + [ctypes.c_void_p, ctypes.c_char_p]
    size, message = (ctypes.c_int64 * 8)(), ctypes.create_string_buffer(kernels.MESSAGE_SIZE)
    if check(*(kernels.Shape(*a.shape) for a in arrays), size, message) != kernels.OK:
        raise ValueError(message.value.decode())
    out = np.empty(ORACLES[op](*arrays).shape, np.float32)
    parallel = kernels.threads(threads)
    pointers = [ctypes.c_void_p(np.ascontiguousarray(a).ctypes.data) for a in (*arrays, out)]
    with kernels.isa(isa) as available:
        if not available:
            pytest.skip(f"needs a processor and a build with {isa}")
        run = getattr(kernels.library(), f"glic_{name}_cpu")
        assert run(size, *pointers, ctypes.byref(parallel)) == kernels.OK
    return out


class Implementation(NamedTuple):
    name: str
    run: Callable[..., Array]


IMPLEMENTATIONS = [
    Implementation("function", lambda op, *arrays: through_onnxruntime(op, *arrays, kernels=False)),
    Implementation("onnxruntime", lambda op, *arrays: through_onnxruntime(op, *arrays, kernels=True)),
    *(Implementation(isa, lambda op, *arrays, isa=isa: native(op, *arrays, isa=isa)) for isa in ISAS),
]
ALL = pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=lambda i: i.name)


def assert_agrees(implementation: Implementation, op: str, *arrays: Array) -> None:
    want = ORACLES[op](*arrays)
    tolerance = 0 if op == "PixelShuffle" else 2e-6 * max(1.0, np.abs(want).max(initial=0))
    np.testing.assert_allclose(implementation.run(op, *arrays), want, rtol=0, atol=tolerance)


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
    got, want = implementation.run("Gate", x)[:, 0], gate(x)[:, 0]
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
    np.testing.assert_allclose(got, depthwise_gate(x, filters), rtol=0, atol=1e-4)
    np.testing.assert_array_equal(got, native("DepthwiseGate", x, filters, isa=isa))


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
        ("PixelShuffle", [(1, 6, 4, 4)], "glic::PixelShuffle: x has 6 channels, expected a multiple of 4"),
    ],
)
def test_wrong_shapes_are_named(
    implementation: Implementation, op: str, shapes: list[tuple[int, ...]], message: str
) -> None:
    arrays = [np.zeros(shape, np.float32) for shape in shapes]
    with pytest.raises(Exception, match=message):
        implementation.run(op, *arrays)
