"""The ops of whole blocks, which multiply by constant matrices: every instruction set and precision against NumPy."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from glic_deploy import native
from glic_deploy.backends.base import Precision
from glic_deploy.backends.onnxruntime import session_options
from glic_deploy.ops import DOMAIN, OPS

from .kernels import ISAS, OK
from .test_transform_ops import depthwise_gate, depthwise_mix, gate

Array = NDArray[np.float32]
Wide = NDArray[np.float64]

EPSILON = 1e-5

# ---- Oracles, in float64 ----


def normalised(x: Wide) -> Wide:
    """A norm without weights, with the channel of ones that carries a product's bias."""
    unit = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + EPSILON)
    return np.concatenate([unit, np.ones_like(unit[..., :1])], axis=-1)


def projection(x: Array, weight: Array) -> Wide:
    return x.astype(np.float64) @ weight.astype(np.float64)


def norm_qkv(x: Array, query: Array, key_value: Array) -> tuple[Wide, Wide]:
    normed = normalised(x.astype(np.float64))
    return normed @ query, normed @ key_value


def feed_forward(x: Array, update: Array, bias: Array, expand: Array, project: Array) -> Wide:
    total = x.astype(np.float64) + update + bias
    return total + gate(normalised(total) @ expand) @ project.astype(np.float64)


def depthwise_feed_forward(x: Array, update: Array, bias: Array, expand: Array, filters: Array, project: Array) -> Wide:
    total = x.astype(np.float64) + update + bias
    return total + depthwise_gate(normalised(total) @ expand, filters) @ project.astype(np.float64)


def gated_transform(
    x: Array,
    mix_expand: Array,
    mix_filter: Array,
    mix_bias: Array,
    mix_project: Array,
    bias: Array,
    expand: Array,
    project: Array,
) -> Wide:
    mixed = depthwise_mix(projection(x, mix_expand[:-1]), mix_expand[-1], mix_filter, mix_bias)
    return feed_forward(x, mixed @ mix_project.astype(np.float64), bias, expand, project)


ORACLES: dict[str, Callable[..., Wide | tuple[Wide, ...]]] = {
    "Projection": projection,
    "NormQkv": norm_qkv,
    "FeedForward": feed_forward,
    "DepthwiseFeedForward": depthwise_feed_forward,
    "GatedTransform": gated_transform,
}

# ---- The kernels ----


@contextmanager
def isa(name: str) -> Iterator[None]:
    """Pack weights for these instructions meanwhile; skips the test where processor or build lack them."""
    library = native.load("glic_onnxruntime")
    library.glic_selected_isa.restype = ctypes.c_char_p
    before = library.glic_selected_isa()
    if library.glic_select_isa(name.encode()) != OK:
        pytest.skip(f"needs a processor and a build with {name}")
    yield
    library.glic_select_isa(before)


def session(
    op: str, *arrays: Array, precision: Precision = "fp32", threads: int = 1, **attributes: int
) -> onnxruntime.InferenceSession:
    described = OPS[op]
    names, maps = list(described.inputs), described.maps
    values = attributes or dict.fromkeys(described.attributes, EPSILON)
    node = helper.make_node(op, names, list(described.outputs), domain=DOMAIN, **values)
    graph = helper.make_graph(
        [node],
        op,
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * a.ndim)
            for name, a in zip(names[:maps], arrays, strict=False)
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in described.outputs],
        [numpy_helper.from_array(a, name) for name, a in zip(names[maps:], arrays[maps:], strict=True)],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    options = session_options(threads, products=precision)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(op: str, *arrays: Array, precision: Precision = "fp32", threads: int = 1, **attributes: int) -> list[Array]:
    made = session(op, *arrays, precision=precision, threads=threads, **attributes)
    return made.run(None, dict(zip(OPS[op].inputs, arrays[: OPS[op].maps], strict=False)))


def expected(op: str, *arrays: Array) -> tuple[Wide, ...]:
    results = ORACLES[op](*arrays)
    return results if isinstance(results, tuple) else (results,)


def drawn(
    op: str, rng: np.random.Generator, shape: tuple[int, ...], channels: int, width: int, side: int
) -> list[Array]:
    """Inputs whose sums have a deviation near 1; the channels of a position differ enough to be normalised."""

    def values(*sides: int, inputs: int = 1) -> Array:
        return (rng.normal(size=sides) / np.sqrt(inputs)).astype(np.float32)

    x = values(*shape, channels) + np.where(np.arange(channels) % 2, 4, -4).astype(np.float32)
    if op == "Projection":
        return [x, values(channels, width, inputs=channels)]
    if op == "NormQkv":
        return [x, *(values(channels + 1, parts * width, inputs=channels) for parts in (1, 2))]
    filters = [values(2 * width, 1, side, side, inputs=side**2)] if op == "DepthwiseFeedForward" else []
    expand, project = values(channels + 1, 2 * width, inputs=channels), values(width, channels, inputs=width)
    if op == "GatedTransform":
        mixed = max(1, width // 2)
        mixer = [
            values(channels + 1, mixed, inputs=channels),
            values(mixed, 1, side, side, inputs=side**2),
            values(mixed),
            values(mixed, channels, inputs=mixed),
        ]
        return [x, *mixer, values(channels), expand, project]
    return [x, values(*shape, channels), values(channels), expand, *filters, project]


# Relative to the largest result: float32's rounding of long sums, and bfloat16's of two operands in turn.
TOLERANCES: dict[Precision, float] = {"fp32": 2e-6, "bf16": 2e-2}


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("name", ISAS)
@pytest.mark.parametrize("op", ORACLES)
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_agrees_with_the_oracle(op: str, name: str, precision: Precision, data: st.DataObject) -> None:
    """Also in rows, channels and widths that fill no vector, panel or tile."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    sides = st.integers(1, 13)
    shape = data.draw(st.tuples(st.integers(1, 2), sides, sides))
    channels, width = data.draw(st.integers(2, 70)), data.draw(st.integers(1, 70))
    arrays = drawn(op, rng, shape, channels, width, data.draw(st.sampled_from([1, 3, 5])))
    with isa(name):
        results = run(op, *arrays, precision=precision, threads=data.draw(st.integers(1, 3)))
    for result, want in zip(results, expected(op, *arrays), strict=True):
        assert result.shape == want.shape
        assert np.abs(result - want).max() <= TOLERANCES[precision] * max(1, np.abs(want).max())


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize(
    ("op", "shape", "side"),
    [
        ("FeedForward", (1, 7, 50), 0),
        ("DepthwiseFeedForward", (2, 37, 211), 3),
        ("GatedTransform", (1, 33, 119), 5),
        ("NormQkv", (1, 5, 33), 0),
    ],
)
def test_released_sizes_on_any_number_of_threads(
    op: str, shape: tuple[int, ...], side: int, precision: Precision
) -> None:
    """Many tiles and tasks; neither their number nor the threads change a bit."""
    arrays = drawn(op, np.random.default_rng(5), shape, 192, 96, side)
    one = run(op, *arrays, precision=precision)
    for result, want in zip(one, expected(op, *arrays), strict=True):
        assert np.abs(result - want).max() <= TOLERANCES[precision] * np.abs(want).max()
    for threads in (2, 3):
        again = run(op, *arrays, precision=precision, threads=threads)
        assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))


def test_a_matrix_for_each_part_of_the_map() -> None:
    rng = np.random.default_rng(6)
    x, weight = (rng.normal(size=size).astype(np.float32) for size in ((36, 50, 24), (36, 24, 40)))
    for precision in TOLERANCES:
        (result,) = run("Projection", x, weight, precision=precision)
        want = projection(x, weight)
        assert np.abs(result - want).max() <= TOLERANCES[precision] * np.abs(want).max()


@pytest.mark.parametrize("name", ISAS)
def test_products_of_bfloat16_are_the_same_on_every_instruction_set(name: str) -> None:
    """What a product rounds to bfloat16 before, and in which order it sums, no instruction set decides."""
    rng = np.random.default_rng(7)
    x, weight = (rng.normal(size=size).astype(np.float32) for size in ((50, 63), (63, 40)))
    with isa("portable"):
        (want,) = run("Projection", x, weight, precision="bf16")
    with isa(name):
        (result,) = run("Projection", x, weight, precision="bf16")
    assert np.array_equal(result, want)
    rounded = [array.astype(ml_dtypes.bfloat16).astype(np.float32) for array in (x, weight)]
    assert np.abs(result - projection(*rounded)).max() < 1e-5


def test_weights_that_are_not_constant_are_refused() -> None:
    rng = np.random.default_rng(8)
    arrays = drawn("Projection", rng, (2, 3), 6, 5, 1)
    node = helper.make_node("Projection", ["x", "weight"], ["out"], domain=DOMAIN)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, a.shape)
        for name, a in zip(("x", "weight"), arrays, strict=True)
    ]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)]
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(helper.make_graph([node], "g", inputs, outputs), opset_imports=opsets, ir_version=10)
    with pytest.raises(Exception, match="input 1 has to be constant"):
        onnxruntime.InferenceSession(model.SerializeToString(), session_options(1), providers=["CPUExecutionProvider"])
