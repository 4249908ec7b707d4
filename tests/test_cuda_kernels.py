"""The CUDA kernels against the NumPy oracles, on the emulator: every CI run, no GPU."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from . import cuda_emulator
from .cuda_emulator import BFLOAT16, from_bfloat16, to_bfloat16
from .oracles import complexity as complexity_oracle
from .oracles import dynamic_knn as knn_oracle
from .oracles import scatter_aggregate as aggregate_oracle
from .oracles.grouping import GLOBAL, LOCAL, candidate_nodes, query_nodes, unpack
from .test_ops import MAPS, SAMPLINGS, Array, assert_same_graph, complexity_of, random_bias, random_map

pytestmark = pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake to build the emulator")

ELEMENTS = pytest.mark.parametrize("element", ["float32", "float16", "bfloat16"])
# What rounding to the type costs, relative to the largest value.
PRECISION = {"float32": 0.0, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def cast(values: Array, element: str) -> tuple[Array, Array]:
    """The array in the element type, and its exact values as float32."""
    if element == "bfloat16":
        bits = to_bfloat16(values)
        return bits, from_bfloat16(bits)
    rounded = values.astype(element)
    return rounded, rounded.astype(np.float32)


def as_float(values: Array) -> Array:
    return from_bfloat16(values) if values.dtype == BFLOAT16 else values.astype(np.float32)


# ---- ComplexityMap ----

# The kernel's tiles have 8 rows and 8 columns, its warps 4 columns and 32 channels, its blocks up to 192 channels.
COMPLEXITY_SHAPES = [
    (1, 16, 16, 32),
    (2, 7, 5, 21),
    (1, 1, 1, 1),
    (1, 1, 19, 40),
    (1, 18, 1, 8),
    (3, 9, 11, 33),
    (1, 8, 9, 192),
    (1, 5, 6, 250),
]


@ELEMENTS
@pytest.mark.parametrize("shape", COMPLEXITY_SHAPES)
def test_complexity_map_agrees(element: str, shape: tuple[int, int, int, int]) -> None:
    x, values = cast(random_map(np.random.default_rng(1), *shape), element)
    got, want = cuda_emulator.complexity_map(x), complexity_oracle.complexity_map(values)
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * want.max())


@pytest.mark.parametrize("kind", ["photo", "graphic", "flat", "huge", "minute"])
def test_complexity_map_of_every_kind_of_map_agrees(kind: str) -> None:
    x = MAPS[kind](np.random.default_rng(1))[:, :24, :40]
    got, want = cuda_emulator.complexity_map(x), complexity_oracle.complexity_map(x)
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * want.max())


def test_complexity_map_of_more_positions_than_a_block_flattens() -> None:
    x = random_map(np.random.default_rng(1), 2, 37, 45, 2)
    got, want = cuda_emulator.complexity_map(x), complexity_oracle.complexity_map(x)
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * want.max())


def test_a_nan_stays_in_the_complexity_map_of_its_image() -> None:
    x = random_map(np.random.default_rng(2), 2, 9, 17, 40)
    clean = cuda_emulator.complexity_map(x)
    x[1, 3, 4, 5] = np.nan
    got = cuda_emulator.complexity_map(x)
    np.testing.assert_array_equal(got[0], clean[0])
    assert np.isnan(got[1]).all()


@ELEMENTS
def test_every_order_of_threads_gives_the_same_complexity_map(element: str) -> None:
    x, _ = cast(random_map(np.random.default_rng(3), 1, 19, 21, 70), element)
    maps = [cuda_emulator.complexity_map(x, reverse=order) for order in (False, True)]
    np.testing.assert_array_equal(*maps)


# ---- DynamicKnn ----


def channels(count: int) -> Array:
    return random_map(np.random.default_rng(1), 1, 16, 16, count)


KNN_MAPS = {
    **{name: MAPS[name] for name in ("smallest", "odd channels", "ties", "flat", "huge", "minute")},
    "two images": lambda rng: random_map(rng, 2, 32, 16, 8),
    "three slices": lambda rng: random_map(rng, 1, 16, 16, 192),
    "part of a slice": lambda rng: random_map(rng, 1, 16, 16, 72),
    "one channel": lambda rng: random_map(rng, 1, 16, 16, 1),
    "photo": lambda rng: MAPS["photo"](rng)[:, :16, :32],
    "graphic": lambda rng: MAPS["graphic"](rng)[:, :32, :16],
}


@SAMPLINGS
@ELEMENTS
@pytest.mark.parametrize("kind", KNN_MAPS)
def test_dynamic_knn_agrees(sampling: int, element: str, kind: str) -> None:
    x, values = cast(KNN_MAPS[kind](np.random.default_rng(1)), element)
    complexity = complexity_of(values)
    got = cuda_emulator.dynamic_knn(x, complexity, sampling=sampling)
    want = knn_oracle.dynamic_knn(values, complexity, sampling)
    assert_same_graph(got, want, knn_oracle.similarities(values, sampling))


@SAMPLINGS
def test_dynamic_knn_of_zero_vectors_is_empty(sampling: int) -> None:
    zeros, ones = np.zeros((1, 16, 16, 8), np.float16), np.ones((1, 16, 16), np.float32)
    assert not cuda_emulator.dynamic_knn(zeros, ones, sampling=sampling).any()


@SAMPLINGS
def test_dynamic_knn_gives_no_edge_where_a_similarity_is_nan(sampling: int) -> None:
    x = random_map(np.random.default_rng(2), 1, 32, 32, 8)
    complexity = np.ones(x.shape[:3], np.float32)
    clean = cuda_emulator.dynamic_knn(x, complexity, sampling=sampling)
    x[0, 9, 20, 3] = np.nan
    got = cuda_emulator.dynamic_knn(x, complexity, sampling=sampling)
    node = 9 * 32 + 20
    touched = (candidate_nodes(32, 32, sampling) == node).any(-1)[:, None] | (query_nodes(32, 32, sampling) == node)
    np.testing.assert_array_equal(got[0][~touched], clean[0][~touched])
    assert not got[0][touched].any()


@SAMPLINGS
def test_dynamic_knn_has_no_limit_where_the_complexity_is_nan(sampling: int) -> None:
    x, complexity = random_map(np.random.default_rng(3), 1, 32, 32, 8), np.ones((1, 32, 32), np.float32)
    complexity[0, 5, 6] = np.nan
    got = cuda_emulator.dynamic_knn(x, complexity, sampling=sampling)
    assert_same_graph(got, knn_oracle.dynamic_knn(x, complexity, sampling), knn_oracle.similarities(x, sampling))


# ---- ScatterAggregate ----


def relative_bias(rng: np.random.Generator, heads: int) -> Array:
    """A bias of differences of positions alone, as GLIC's is."""
    table = 16 / (1 + np.exp(-rng.normal(size=(heads, 23, 23))))
    window, sample = np.arange(8), np.arange(16)
    rows, columns = (sample - window[:, None] + 7 for _ in range(2))
    bias = table[:, rows[:, None, :, None], columns[None, :, None, :]]
    return bias.reshape(heads, 64, 256).astype(np.float32)


class Case:
    """Inputs of the op in an element type, and what the oracle makes of them; some rows have no edge."""

    def __init__(
        self,
        sampling: int,
        element: str,
        heads: int,
        width: int,
        scale: float,
        shape: tuple[int, int, int] = (1, 16, 16),
    ) -> None:
        rng = np.random.default_rng(4)
        n, h, w = shape
        c = heads * width
        self.sampling, self.element = sampling, element
        self.q, self.q_values = cast(random_map(rng, n, h, w, c), element)
        self.kv, self.kv_values = cast(random_map(rng, n, h, w, 2 * c), element)
        features = random_map(rng, n, h, w, 8)
        self.graph = knn_oracle.dynamic_knn(features, complexity_of(features), sampling)
        self.graph[:, :: max(2, self.graph.shape[1] // 3), 5:9] = 0
        self.bias = relative_bias(rng, heads)
        self.scale = (scale * rng.uniform(0.5, 1, heads)).astype(np.float32)

    def run(self, *, reverse: bool = False) -> Array:
        return cuda_emulator.scatter_aggregate(
            self.q, self.kv, self.graph, self.bias, self.scale, sampling=self.sampling, reverse=reverse
        )

    def check(self, got: Array) -> None:
        """Equal within what rounding a logit of this scale costs, and weights and results of the element type."""
        tensors = self.q_values, self.kv_values, self.graph, self.bias, self.scale
        want = aggregate_oracle.scatter_aggregate(*tensors, self.sampling)
        n, h, w, c = want.shape
        empty = np.zeros((n, h * w), bool)
        empty[:, query_nodes(h, w, self.sampling)] = unpack(self.graph).sum(-1) == 0
        highest = float(np.abs(self.kv_values[..., c:]).max())
        scale = self.scale.max()
        tolerance = highest * np.where(empty, 4e-5 * scale + 1e-5, 2e-6 * scale + 1e-5)
        error = np.abs(as_float(got).astype(np.float64) - want).reshape(n, h * w, c).max(-1)
        assert np.all(error <= tolerance + highest * PRECISION[self.element]), f"{error.max()} of {highest}"


# Widths of heads that fill a unit of 8 channels and that do not, of each size that the kernel is built for; those
# of the released and the sample network; odd ones, whose rows are not aligned.
WIDTHS = [(4, 8), (2, 24), (1, 5), (3, 7), (1, 20), (1, 40), (1, 64), (1, 51)]


@SAMPLINGS
@ELEMENTS
@pytest.mark.parametrize(("heads", "width"), WIDTHS)
def test_scatter_aggregate_agrees(sampling: int, element: str, heads: int, width: int) -> None:
    case = Case(sampling, element, heads, width, 10.0)
    case.check(case.run())


@ELEMENTS
@pytest.mark.parametrize(("heads", "width"), [(2, 24), (3, 7), (1, 64)])
def test_scatter_aggregate_takes_any_bias(element: str, heads: int, width: int) -> None:
    """Also one that a table of differences does not hold: all of it, or one value of it."""
    case = Case(LOCAL, element, heads, width, 10.0)
    case.bias[-1, 63, 255] += 8
    case.graph[..., 63, 7] |= np.int32(-(2**31))  # the edge that the value belongs to
    case.check(case.run())
    case.bias = random_bias(np.random.default_rng(5), heads)
    case.check(case.run())


@ELEMENTS
@pytest.mark.parametrize("scale", [0.1, 1.2, 100.0])
def test_scatter_aggregate_at_every_scale(element: str, scale: float) -> None:
    case = Case(LOCAL, element, 1, 24, scale)
    case.check(case.run())


@SAMPLINGS
def test_scatter_aggregate_of_many_groups(sampling: int) -> None:
    """More groups than blocks, in two images; in either order of threads the same, to the bit."""
    case = Case(sampling, "float16", 2, 8, 10.0, (2, 32, 48))
    got = case.run()
    case.check(got)
    np.testing.assert_array_equal(case.run(reverse=True), got)


@ELEMENTS
@pytest.mark.parametrize("width", [8, 24, 7, 64])
@pytest.mark.parametrize("shape", [(1, 16, 32), (2, 48, 16)])
def test_scatter_aggregate_keeps_shared_candidates(element: str, width: int, shape: tuple[int, int, int]) -> None:
    """Blocks of three groups, which begin and end within those that share candidates, and of eight, in two images."""
    case = Case(GLOBAL, element, 1, width, 10.0, shape)
    case.check(case.run())


@pytest.mark.parametrize("element", ["float32", "float16"])
@pytest.mark.parametrize("graph", ["no edges", "all edges", "one edge"])
def test_scatter_aggregate_of_extreme_graphs(element: str, graph: str) -> None:
    case = Case(GLOBAL, element, 1, 24, 10.0)
    case.graph[:] = {"no edges": 0, "all edges": -1, "one edge": 0}[graph]
    if graph == "one edge":
        case.graph[..., 7] = np.int32(-(2**31))  # bit 255
    case.check(case.run())


def test_scatter_aggregate_of_zero_vectors() -> None:
    """Zero queries and keys have similarity 0 to everything; values count as ever."""
    case = Case(LOCAL, "float32", 1, 24, 10.0)
    for array in case.q, case.q_values:
        array[:, ::2] = 0
    for array in case.kv, case.kv_values:
        array[:, :, ::3, :24] = 0
    case.check(case.run())


@pytest.mark.parametrize("part", ["query", "key", "value"])
def test_scatter_aggregate_passes_nan_along_edges(part: str) -> None:
    """NaN reaches every result that its edges lead to, and none that does not have it among its candidates."""
    case = Case(LOCAL, "float32", 1, 24, 10.0, (1, 32, 32))
    node = 9 * 32 + 20
    clean = case.run()
    target = case.q if part == "query" else case.kv
    target[0, 9, 20, 10 + (24 if part == "value" else 0)] = np.nan
    got = case.run().reshape(-1, 24)
    queries, candidates = query_nodes(32, 32, LOCAL), candidate_nodes(32, 32, LOCAL)
    reached, reachable = np.zeros(32 * 32, bool), np.zeros(32 * 32, bool)
    if part == "query":
        reached[node] = reachable[node] = True
    else:
        reached[queries] = (unpack(case.graph[0]) & (candidates == node)[:, None]).any(-1)
        reachable[queries] = (candidates == node).any(-1)[:, None]
    channel = slice(10, 11) if part == "value" else slice(None)
    assert np.isnan(got[reached, channel]).all()
    np.testing.assert_array_equal(got[~reachable], clean.reshape(-1, 24)[~reachable])


def test_scatter_aggregate_of_a_bias_that_outweighs_the_penalty() -> None:
    """A bias may lift a non-edge above the edges: it is not skipped then."""
    case = Case(LOCAL, "float32", 1, 8, 2.0)
    case.bias[:, :, 100] += 500
    case.check(case.run())


@ELEMENTS
def test_every_order_of_threads_gives_the_same_graph(element: str) -> None:
    x, values = cast(channels(96), element)
    complexity = complexity_of(values)
    graphs = [cuda_emulator.dynamic_knn(x, complexity, sampling=LOCAL, reverse=order) for order in (False, True)]
    np.testing.assert_array_equal(*graphs)


@pytest.mark.parametrize("width", [65, 72])
def test_wider_heads_are_refused(width: int) -> None:
    with pytest.raises(RuntimeError, match="on the emulator: 11"):
        Case(LOCAL, "float32", 1, width, 10.0).run()
