"""The convolution of the CPU kernels: every instruction set, precision and method against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glic_deploy.backends.base import Precision

from .kernels import ISAS
from .test_block_ops import TOLERANCES, Array, Wide, isa, run


def convolution(x: Array, weight: Array, bias: Array, *, stride: int, shuffle: int, winograd: int = 0) -> Wide:
    """Sum tap by tap in float64; the method that `winograd` selects has the same results."""
    side, before = len(weight), (len(weight) - 1) // 2
    images, height, width, _ = x.shape
    around = np.pad(x.astype(np.float64), ((0, 0), (before, side), (before, side), (0, 0)))
    results: Wide = np.zeros((images, height // stride, width // stride, len(bias))) + bias
    for i in range(side):
        for j in range(side):
            taps = around[:, i : i + height : stride, j : j + width : stride]
            results += taps[:, : height // stride, : width // stride] @ weight[i, j].astype(np.float64)
    n, rows, columns, outputs = results.shape
    phases = results.reshape(n, rows, columns, shuffle, shuffle, outputs // shuffle**2)
    return phases.transpose(0, 1, 3, 2, 4, 5).reshape(n, rows * shuffle, columns * shuffle, -1)


ORACLES = {"Convolution": convolution}


def drawn(rng: np.random.Generator, shape: tuple[int, ...], side: int, outputs: int) -> list[Array]:
    """Draw a map, filters and biases; the results have a deviation near 1."""
    inputs = side * side * shape[-1]
    sizes = (shape, (side, side, shape[-1], outputs), (outputs,))
    x, weight, bias = (rng.normal(size=size).astype(np.float32) for size in sizes)
    return [x, weight / np.float32(np.sqrt(inputs)), bias]


def assert_near(result: Array, want: Wide, precision: Precision, winograd: int) -> None:
    assert result.shape == want.shape
    # Sums are up to twice as long as those of other ops. The transformations of F(4×4, 3×3) sum values that are up to
    # ten times as large as the results.
    scale = 10 if winograd else 2
    assert np.abs(result - want).max() <= scale * TOLERANCES[precision] * max(1, np.abs(want).max())


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("name", ISAS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_agrees_with_the_oracle(name: str, precision: Precision, data: st.DataObject) -> None:
    """Also in sizes, channels and filters that fill no vector, panel or tile."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    stride, shuffle = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 2))
    side = data.draw(st.integers(stride, 7))
    winograd = data.draw(st.integers(0, 1)) if (side, stride) == (3, 1) else 0
    rows, columns = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 60))
    shape = (data.draw(st.integers(1, 2)), rows * stride, columns * stride, data.draw(st.integers(1, 40)))
    outputs = data.draw(st.integers(1, 40)) * shuffle**2
    attributes = {"stride": stride, "shuffle": shuffle, "winograd": winograd}
    arrays = drawn(rng, shape, side, outputs)
    with isa(name):
        (result,) = run("Convolution", *arrays, precision=precision, threads=data.draw(st.integers(1, 3)), **attributes)
    assert_near(result, convolution(*arrays, **attributes), precision, winograd)


RELEASED: list[tuple[tuple[int, ...], int, int, dict[str, Any]]] = [
    ((1, 70, 230, 192), 3, 512, {"stride": 1, "shuffle": 2, "winograd": 1}),
    ((1, 64, 96, 128), 3, 192, {"stride": 2, "shuffle": 1, "winograd": 0}),
    ((1, 64, 200, 3), 2, 128, {"stride": 2, "shuffle": 1, "winograd": 0}),
    ((1, 33, 101, 128), 3, 12, {"stride": 1, "shuffle": 2, "winograd": 0}),
]


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize(("shape", "side", "outputs", "attributes"), RELEASED)
def test_released_sizes_on_any_number_of_threads(
    shape: tuple[int, ...], side: int, outputs: int, attributes: dict[str, Any], precision: Precision
) -> None:
    """Many tiles and tasks; the number of threads changes no bit."""
    arrays = drawn(np.random.default_rng(3), shape, side, outputs)
    (one,) = run("Convolution", *arrays, precision=precision, **attributes)
    assert_near(one, convolution(*arrays, **attributes), precision, attributes["winograd"])
    for threads in (2, 3):
        (again,) = run("Convolution", *arrays, precision=precision, threads=threads, **attributes)
        assert np.array_equal(one, again)
