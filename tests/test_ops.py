"""The two ops of the graph of edges: every implementation against the NumPy oracle (specification §3)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

import export.ops as torch_ops
from export.ops.functions import attach_functions
from export.ops.translation import PLUGIN, TRANSLATION_TABLE
from glic_deploy import native
from glic_deploy.ops import DOMAIN, OPS

from . import kernels
from .conftest import DATA, large_data
from .kernels import ISAS
from .oracles import complexity as complexity_oracle
from .oracles import dynamic_knn as knn_oracle
from .oracles import scatter_aggregate as aggregate_oracle
from .oracles.grouping import GLOBAL, LOCAL, candidate_nodes, query_nodes, unpack

Array = NDArray[np.generic]
SAMPLINGS = pytest.mark.parametrize("sampling", [LOCAL, GLOBAL], ids=["local", "global"])
HALVES = pytest.mark.parametrize("dtype", [np.float16, kernels.BFLOAT16])
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float16])


# ---- The implementations, as NumPy functions ----


@dataclass(frozen=True)
class Implementation:
    name: str
    dynamic_knn: Callable[..., Array]
    scatter_aggregate: Callable[..., Array]


def _torch(op: Callable[..., torch.Tensor]) -> Callable[..., Array]:
    def call(*arrays: Array, sampling: int) -> Array:
        return op(*map(torch.from_numpy, arrays), sampling).numpy()

    return call


_ELEMENT = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.float16): TensorProto.FLOAT16,
    np.dtype(np.int32): TensorProto.INT32,
}
ORACLES = {"DynamicKnn": knn_oracle, "ScatterAggregate": aggregate_oracle}
_INPUTS = {name: (tuple(op.inputs), next(iter(op.outputs))) for name, op in OPS.items()}


def node_model(op: str, kinds: tuple[tuple[np.dtype, int], ...], sampling: int, **attributes: object) -> bytes:
    """A serialized model of one node of the op and its function body, for inputs of these types and ranks."""
    names, result = _INPUTS[op]
    inputs = [
        helper.make_tensor_value_info(name, _ELEMENT[dtype], [None] * rank)
        for name, (dtype, rank) in zip(names, kinds, strict=True)
    ]
    element = TensorProto.INT32 if op == "DynamicKnn" else _ELEMENT[kinds[0][0]]
    output = helper.make_tensor_value_info(result, element, [None] * 4)
    node = helper.make_node(op, names, [result], domain=DOMAIN, sampling=sampling, **PLUGIN | attributes)
    model = helper.make_model(
        helper.make_graph([node], op, inputs, [output]),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)],
        ir_version=10,
    )
    attach_functions(model)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def open_session(model: bytes, *, registered: bool, profile: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    if registered:
        options.register_custom_ops_library(str(native.library_path("glic_onnxruntime")))
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@cache
def _session(
    op: str, kinds: tuple[tuple[np.dtype, int], ...], sampling: int, registered: bool
) -> onnxruntime.InferenceSession:
    return open_session(node_model(op, kinds, sampling), registered=registered)


def kinds_of(arrays: Sequence[Array]) -> tuple[tuple[np.dtype, int], ...]:
    return tuple((a.dtype, a.ndim) for a in arrays)


def _onnx(op: str, *, registered: bool) -> Callable[..., Array]:
    def call(*arrays: Array, sampling: int) -> Array:
        session = _session(op, kinds_of(arrays), sampling, registered)
        return session.run(None, dict(zip(_INPUTS[op][0], arrays, strict=True)))[0]

    return call


def _native(op: Callable[..., Array], isa: str) -> Callable[..., Array]:
    def call(*arrays: Array, sampling: int) -> Array:
        with kernels.isa(isa) as available:
            if not available:
                pytest.skip(f"needs a processor and a build with {isa}")
            return op(*arrays, sampling)

    return call


IMPLEMENTATIONS = [
    Implementation("torch", _torch(torch_ops.dynamic_knn), _torch(torch_ops.scatter_aggregate)),
    Implementation("function", _onnx("DynamicKnn", registered=False), _onnx("ScatterAggregate", registered=False)),
    Implementation("onnxruntime", _onnx("DynamicKnn", registered=True), _onnx("ScatterAggregate", registered=True)),
    *(Implementation(isa, _native(kernels.dynamic_knn, isa), _native(kernels.scatter_aggregate, isa)) for isa in ISAS),
]
ALL = pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=lambda i: i.name)
NATIVE = pytest.mark.parametrize("implementation", IMPLEMENTATIONS[2:], ids=lambda i: i.name)


# ---- Inputs ----


def random_map(rng: np.random.Generator, n: int = 2, h: int = 32, w: int = 48, c: int = 24) -> Array:
    return (rng.normal(size=(n, h, w, c)) + 0.3).astype(np.float32)


def few_vectors(rng: np.random.Generator) -> Array:
    """Every node is one of four vectors: candidates tie."""
    return rng.normal(size=(4, 24)).astype(np.float32)[rng.integers(0, 4, (1, 32, 32))]


def natural_map(name: str) -> Array:
    with np.load(DATA / "gfa_inputs.npz") as archive:
        return archive[name].astype(np.float32)


MAPS: dict[str, Callable[[np.random.Generator], Array]] = {
    "random": random_map,
    "smallest": lambda rng: random_map(rng, 1, 16, 16, 8),
    "odd channels": lambda rng: random_map(rng, 1, 32, 16, 21),
    "ties": few_vectors,
    "photo": lambda rng: natural_map("photo"),
    "graphic": lambda rng: natural_map("graphic"),
    "flat": lambda rng: np.full((1, 16, 32, 24), 0.7, np.float32),
    "huge": lambda rng: random_map(rng, 1, 16, 16, 24) * 1e4,
    "minute": lambda rng: random_map(rng, 1, 16, 16, 24) * 1e-4,
}


def complexity_of(x: Array) -> Array:
    return complexity_oracle.complexity_map(x).astype(np.float32)


def random_bias(rng: np.random.Generator, heads: int) -> Array:
    return (16 / (1 + np.exp(-rng.normal(size=(heads, 64, 256))))).astype(np.float32)


# ---- What agreement means ----


def assert_same_graph(got: Array, want: Array, similarity: Array) -> None:
    """At most one edge in a thousand differs, leaving out rows whose similarities span less than 1e-6."""
    assert got.dtype == np.int32
    assert got.shape == want.shape
    clear = ~(np.ptp(similarity, axis=-1) < 1e-6)
    different = (unpack(got) != unpack(want))[clear]
    assert different.sum() <= max(1, different.size // 1000)


def assert_same_result(got: Array, want: Array, graph: Array, scale: Array, sampling: int, values: Array) -> None:
    """Equal within what rounding a logit of this scale costs: a row without an edge is rounded at −100 × scale."""
    assert got.dtype == values.dtype
    n, h, w, c = got.shape
    degrees = unpack(graph).sum(-1)
    empty = np.zeros((n, h * w), bool)
    empty[:, query_nodes(h, w, sampling)] = degrees == 0
    highest = float(np.abs(values).max())
    tolerance = highest * np.where(empty, 4e-5 * scale.max() + 1e-5, 2e-6 * scale.max() + 1e-5)
    if got.dtype == np.float16:
        tolerance += highest * 2**-10
    error = np.abs(got.astype(np.float64) - want).reshape(n, h * w, c).max(-1)
    assert np.all(error <= tolerance), f"{error.max()} of {highest}"


# ---- DynamicKnn ----


@cache
def selection_case(kind: str, dtype: type, sampling: int) -> tuple[Array, Array, Array, Array]:
    """x, complexity, and the oracle's graph and similarities."""
    x = MAPS[kind](np.random.default_rng(1)).astype(dtype)
    complexity = complexity_of(x)
    want = knn_oracle.dynamic_knn(x, complexity, sampling)
    return x, complexity, want, knn_oracle.similarities(x, sampling)


@ALL
@SAMPLINGS
@DTYPES
@pytest.mark.parametrize("kind", MAPS)
def test_dynamic_knn_agrees(implementation: Implementation, sampling: int, dtype: type, kind: str) -> None:
    x, complexity, want, similarity = selection_case(kind, dtype, sampling)
    assert_same_graph(implementation.dynamic_knn(x, complexity, sampling=sampling), want, similarity)


@ALL
@SAMPLINGS
def test_dynamic_knn_of_zero_vectors_is_empty(implementation: Implementation, sampling: int) -> None:
    zeros, ones = np.zeros((1, 16, 16, 8), np.float32), np.ones((1, 16, 16), np.float32)
    assert not implementation.dynamic_knn(zeros, ones, sampling=sampling).any()


@ALL
@SAMPLINGS
def test_dynamic_knn_gives_no_edge_where_a_similarity_is_nan(implementation: Implementation, sampling: int) -> None:
    rng = np.random.default_rng(2)
    x = random_map(rng, 1, 32, 32, 8)
    complexity = rng.uniform(0.5, 2, x.shape[:3]).astype(np.float32)
    clean = implementation.dynamic_knn(x, complexity, sampling=sampling)
    x[0, 9, 20, 3] = np.nan
    got = implementation.dynamic_knn(x, complexity, sampling=sampling)
    node = 9 * 32 + 20
    touched = (candidate_nodes(32, 32, sampling) == node).any(-1)[:, None] | (query_nodes(32, 32, sampling) == node)
    np.testing.assert_array_equal(got[0][~touched], clean[0][~touched])
    assert not got[0][touched].any()


@NATIVE
@SAMPLINGS
def test_dynamic_knn_has_no_limit_where_the_complexity_is_nan(implementation: Implementation, sampling: int) -> None:
    rng = np.random.default_rng(3)
    x, complexity = random_map(rng, 1, 32, 32, 8), np.ones((1, 32, 32), np.float32)
    complexity[0, 5, 6] = np.nan
    got = implementation.dynamic_knn(x, complexity, sampling=sampling)
    assert_same_graph(got, knn_oracle.dynamic_knn(x, complexity, sampling), knn_oracle.similarities(x, sampling))


@pytest.mark.parametrize("name", ["official_photo_250x200", "official_graphic_256x256"])
@pytest.mark.parametrize("implementation", [IMPLEMENTATIONS[0], IMPLEMENTATIONS[2]], ids=lambda i: i.name)
def test_dynamic_knn_reproduces_the_authors_graphs(implementation: Implementation, name: str) -> None:
    with np.load(large_data(f"golden/{name}.npz")) as golden:
        stages = [key.removesuffix("_input") for key in golden if key.endswith("_input")]
        assert stages
        for stage in stages:
            features = golden[f"{stage}_input"][None]
            x = np.ascontiguousarray(features.transpose(0, 2, 3, 1))
            complexity = torch_ops.complexity_map(torch.from_numpy(x)).numpy()
            for sampling, kind in enumerate(("local", "global")):
                want = np.ascontiguousarray(golden[f"{stage}_{kind}_edges"]).view("<i4")[None]
                got = implementation.dynamic_knn(x, complexity, sampling=sampling)
                assert_same_graph(got, want, knn_oracle.similarities(x, sampling))


@given(
    seed=st.integers(0, 2**32 - 1),
    # Of one channel, all similarities are ±1 and rounding alone decides.
    size=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.integers(2, 40)),
    sampling=st.sampled_from([LOCAL, GLOBAL]),
    dtype=st.sampled_from([np.float32, np.float16]),
    isa=st.sampled_from(ISAS),
)
@settings(max_examples=40, deadline=None)
def test_dynamic_knn_of_any_size(
    seed: int, size: tuple[int, int, int, int], sampling: int, dtype: type, isa: str
) -> None:
    rng = np.random.default_rng(seed)
    n, rows, cols, c = size
    x = random_map(rng, n, 16 * rows, 16 * cols, c).astype(dtype)
    complexity = rng.uniform(0.1, 3, x.shape[:3]).astype(np.float32)
    with kernels.isa(isa):
        got = kernels.dynamic_knn(x, complexity, sampling)
    want = knn_oracle.dynamic_knn(x, complexity, sampling)
    assert_same_graph(got, want, knn_oracle.similarities(x, sampling))


# ---- ScatterAggregate ----


@dataclass
class Aggregation:
    """Inputs of ScatterAggregate, some rows without an edge."""

    q: Array
    kv: Array
    graph: Array
    bias: Array
    scale: Array
    sampling: int

    @classmethod
    def of(cls, x: Array, heads: int, sampling: int, scale: float, rng: np.random.Generator) -> Aggregation:
        c = x.shape[-1]
        wide = x @ rng.normal(size=(c, 3 * c)).astype(np.float32) / np.float32(c**0.5)
        graph = torch_ops.dynamic_knn(torch.from_numpy(x), torch.from_numpy(complexity_of(x)), sampling).numpy()
        graph[:, :: max(2, graph.shape[1] // 3), 5:9] = 0
        scales = (scale * rng.uniform(0.5, 1, heads)).astype(np.float32)
        q, kv = np.ascontiguousarray(wide[..., :c]), np.ascontiguousarray(wide[..., c:])
        return cls(q, kv, graph, random_bias(rng, heads), scales, sampling)

    def cast(self, dtype: type) -> Aggregation:
        return Aggregation(
            self.q.astype(dtype), self.kv.astype(dtype), self.graph, self.bias, self.scale, self.sampling
        )

    @property
    def tensors(self) -> tuple[Array, ...]:
        return self.q, self.kv, self.graph, self.bias, self.scale

    @cached_property
    def wanted(self) -> Array:
        return aggregate_oracle.scatter_aggregate(*self.tensors, self.sampling)

    def check(self, got: Array) -> None:
        values = self.kv[..., self.q.shape[-1] :]
        assert_same_result(got, self.wanted, self.graph, self.scale, self.sampling, values)


@cache
def aggregation_case(kind: str, heads: int, sampling: int, scale: float, dtype: type) -> Aggregation:
    rng = np.random.default_rng(4)
    return Aggregation.of(MAPS[kind](rng), heads, sampling, scale, rng).cast(dtype)


@ALL
@SAMPLINGS
@DTYPES
@pytest.mark.parametrize("scale", [0.1, 1.2, 10.0, 100.0])
@pytest.mark.parametrize(("kind", "heads"), [("random", 1), ("odd channels", 3), ("photo", 4), ("graphic", 4)])
def test_scatter_aggregate_agrees(
    implementation: Implementation, sampling: int, dtype: type, scale: float, kind: str, heads: int
) -> None:
    case = aggregation_case(kind, heads, sampling, scale, dtype)
    case.check(implementation.scatter_aggregate(*case.tensors, sampling=sampling))


@ALL
@SAMPLINGS
@pytest.mark.parametrize("graph", ["no edges", "all edges", "one edge"])
def test_scatter_aggregate_of_extreme_graphs(implementation: Implementation, sampling: int, graph: str) -> None:
    rng = np.random.default_rng(5)
    case = Aggregation.of(random_map(rng, 1, 32, 32, 24), 1, sampling, 10, rng)
    words = {"no edges": 0, "all edges": -1, "one edge": 0}[graph]
    case.graph[:] = words
    if graph == "one edge":
        case.graph[..., 7] = np.int32(-(2**31))  # bit 255
    case.check(implementation.scatter_aggregate(*case.tensors, sampling=sampling))


@ALL
@SAMPLINGS
def test_scatter_aggregate_of_zero_vectors(implementation: Implementation, sampling: int) -> None:
    """Zero queries and keys have similarity 0 to everything; values count as ever."""
    rng = np.random.default_rng(6)
    case = Aggregation.of(random_map(rng, 1, 16, 32, 24), 3, sampling, 10, rng)
    case.q[:, ::2] = 0
    case.kv[:, :, ::3, :24] = 0
    case.check(implementation.scatter_aggregate(*case.tensors, sampling=sampling))


@ALL
@SAMPLINGS
@pytest.mark.parametrize("part", ["query", "key", "value"])
def test_scatter_aggregate_passes_nan_along_edges(implementation: Implementation, sampling: int, part: str) -> None:
    """NaN reaches every result that its edges lead to, and none that does not have it among its candidates."""
    rng = np.random.default_rng(7)
    case = Aggregation.of(random_map(rng, 1, 32, 32, 24), 3, sampling, 10, rng)
    row, col, channel, node = 9, 20, 10, 9 * 32 + 20  # channel 10 is of head 1
    clean = implementation.scatter_aggregate(*case.tensors, sampling=sampling)
    target = case.q if part == "query" else case.kv
    target[0, row, col, channel + (24 if part == "value" else 0)] = np.nan
    got = implementation.scatter_aggregate(*case.tensors, sampling=sampling)

    queries, candidates = query_nodes(32, 32, sampling), candidate_nodes(32, 32, sampling)
    reached, reachable = np.zeros(32 * 32, bool), np.zeros(32 * 32, bool)
    if part == "query":
        reached[node] = reachable[node] = True
    else:
        here = candidates == node
        reached[queries] = (unpack(case.graph[0]) & here[:, None]).any(-1)
        reachable[queries] = here.any(-1)[:, None]
    head = slice(channel, channel + 1) if part == "value" else slice(8, 16)
    result, before = got.reshape(-1, 24), clean.reshape(-1, 24)
    assert np.isnan(result[reached, head]).all()
    np.testing.assert_array_equal(result[~reachable], before[~reachable])
    np.testing.assert_array_equal(result[:, :8], before[:, :8])


@ALL
def test_scatter_aggregate_of_a_bias_that_outweighs_the_penalty(implementation: Implementation) -> None:
    """A bias may lift a non-edge above the edges: it is not skipped then."""
    rng = np.random.default_rng(8)
    case = Aggregation.of(random_map(rng, 1, 16, 16, 8), 1, LOCAL, 2, rng)
    case.bias[:, :, 100] += 500
    case.check(implementation.scatter_aggregate(*case.tensors, sampling=LOCAL))


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 2)),
    heads=st.integers(1, 3),
    width=st.integers(1, 40),
    scale=st.sampled_from([0.05, 1.25, 3.0, 30.0]),
    sampling=st.sampled_from([LOCAL, GLOBAL]),
    dtype=st.sampled_from([np.float32, np.float16]),
    isa=st.sampled_from(ISAS),
)
@settings(max_examples=40, deadline=None)
def test_scatter_aggregate_of_any_size(
    seed: int,
    size: tuple[int, int, int],
    heads: int,
    width: int,
    scale: float,
    sampling: int,
    dtype: type,
    isa: str,
) -> None:
    rng = np.random.default_rng(seed)
    n, rows, cols = size
    x = random_map(rng, n, 16 * rows, 16 * cols, heads * width)
    case = Aggregation.of(x, heads, sampling, scale, rng).cast(dtype)
    with kernels.isa(isa):
        case.check(kernels.scatter_aggregate(*case.tensors, sampling))


@SAMPLINGS
@HALVES
@pytest.mark.parametrize("isa", ISAS)
def test_half_precision_only_rounds_what_comes_out(sampling: int, dtype: type, isa: str) -> None:
    rng = np.random.default_rng(9)
    case = Aggregation.of(natural_map("photo"), 4, sampling, 10, rng).cast(dtype)
    case.kv *= dtype(1e-6)  # subnormal halves too
    single = case.cast(np.float32)
    with kernels.isa(isa):
        half = kernels.scatter_aggregate(*case.tensors, sampling)
        np.testing.assert_array_equal(half, kernels.scatter_aggregate(*single.tensors, sampling).astype(dtype))


@SAMPLINGS
@HALVES
@pytest.mark.parametrize("isa", ISAS)
def test_half_precision_chooses_as_its_values_do(sampling: int, dtype: type, isa: str) -> None:
    x = natural_map("photo").astype(dtype)
    complexity = np.random.default_rng(10).uniform(-1, 1, (x.shape[0], *x.shape[1:3])).astype(np.float32)
    with kernels.isa(isa):
        got = kernels.dynamic_knn(x, complexity, sampling)
        np.testing.assert_array_equal(got, kernels.dynamic_knn(x.astype(np.float32), complexity, sampling))


@pytest.mark.parametrize("isa", ISAS)
def test_every_half_survives_a_single_edge(isa: str) -> None:
    """With one edge, to itself, a node's result is its value: all finite halves, subnormal ones too."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = np.where(np.isfinite(halves), halves, np.float16(0)).reshape(1, 16, 16, 256)
    kv = np.concatenate([np.ones_like(finite), finite], -1)
    own = (candidate_nodes(16, 16, LOCAL)[:, None] == query_nodes(16, 16, LOCAL)[..., None])[None]
    graph = np.packbits(own, axis=-1, bitorder="little").view("<i4")
    bias, scale = np.zeros((1, 64, 256), np.float32), np.array([10], np.float32)
    with kernels.isa(isa):
        got = kernels.scatter_aggregate(np.ones_like(finite), kv, graph, bias, scale, LOCAL)
    np.testing.assert_array_equal(got, finite)


@SAMPLINGS
def test_threads_and_memory_reuse_change_nothing(sampling: int) -> None:
    """Bit for bit the same on any number of threads, and when the result takes the queries' memory."""
    rng = np.random.default_rng(10)
    case = Aggregation.of(random_map(rng), 3, sampling, 10, rng)
    alone = kernels.scatter_aggregate(*case.tensors, sampling)
    graph = kernels.dynamic_knn(case.q, complexity_of(case.q), sampling)
    for count in (1, 3):
        np.testing.assert_array_equal(kernels.scatter_aggregate(*case.tensors, sampling, kernels.threads(count)), alone)
        np.testing.assert_array_equal(
            kernels.dynamic_knn(case.q, complexity_of(case.q), sampling, kernels.threads(count)), graph
        )
    np.testing.assert_array_equal(kernels.scatter_aggregate(*case.tensors, sampling, in_place=True), alone)


# ---- What is refused ----

KNN_SHAPES = {"x": (1, 32, 48, 8), "complexity": (1, 32, 48)}
AGGREGATE_SHAPES = {
    "q": (1, 32, 48, 8),
    "kv": (1, 32, 48, 16),
    "graph": (1, 24, 64, 8),
    "bias": (2, 64, 256),
    "scale": (2,),
}
BAD_SHAPES = [
    ("DynamicKnn", "x", (1, 24, 48, 8), r"x has shape .1, 24, 48, 8., expected .*multiples of 16"),
    ("DynamicKnn", "x", (32, 48, 8), r"x has shape .32, 48, 8., expected"),
    ("DynamicKnn", "complexity", (1, 48, 32), r"complexity has shape .1, 48, 32., expected .1, 32, 48."),
    ("ScatterAggregate", "q", (1, 32, 40, 8), r"q has shape .1, 32, 40, 8., expected .*multiples of 16"),
    ("ScatterAggregate", "kv", (1, 32, 48, 8), r"kv has shape .1, 32, 48, 8., expected .1, 32, 48, 16."),
    ("ScatterAggregate", "graph", (1, 23, 64, 8), r"graph has shape .1, 23, 64, 8., expected .1, 24, 64, 8."),
    ("ScatterAggregate", "bias", (2, 256, 64), r"bias has shape .2, 256, 64., expected .2, 64, 256."),
    ("ScatterAggregate", "bias", (3, 64, 256), r"scale has shape .2,?., expected .3,?."),
    ("ScatterAggregate", "scale", (1,), r"scale has shape .1,?., expected .2,?."),
]


def zeros_of(op: str, changed: dict[str, tuple[int, ...]]) -> list[Array]:
    shapes = (KNN_SHAPES if op == "DynamicKnn" else AGGREGATE_SHAPES) | changed
    return [np.zeros(shape, np.int32 if name == "graph" else np.float32) for name, shape in shapes.items()]


@pytest.mark.parametrize("implementation", [i for i in IMPLEMENTATIONS if i.name != "function"], ids=lambda i: i.name)
@pytest.mark.parametrize(("op", "tensor", "shape", "message"), BAD_SHAPES)
def test_wrong_shapes_are_named(
    implementation: Implementation, op: str, tensor: str, shape: tuple[int, ...], message: str
) -> None:
    call = implementation.dynamic_knn if op == "DynamicKnn" else implementation.scatter_aggregate
    with pytest.raises(Exception, match=f"glic::{op}: {message}"):
        call(*zeros_of(op, {tensor: shape}), sampling=LOCAL)


@pytest.mark.parametrize("op", ["DynamicKnn", "ScatterAggregate"])
@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"sampling": 2}, "sampling is 2, expected 0"),
        ({"window": 4}, "expected 8, 16"),
        ({"sample": 8}, "expected 8, 16"),
    ],
)
def test_wrong_attributes_are_named(op: str, attributes: dict[str, int], message: str) -> None:
    arrays, given = zeros_of(op, {}), {"sampling": 0, "window": 8, "sample": 16} | attributes
    torch_op = torch_ops.dynamic_knn if op == "DynamicKnn" else torch_ops.scatter_aggregate
    with pytest.raises(ValueError, match=f"glic::{op}: .*{message}"):
        torch_op(*map(torch.from_numpy, arrays), **given)

    check = kernels.check_dynamic_knn if op == "DynamicKnn" else kernels.check_scatter_aggregate
    result, _, text = check(*(kernels.Shape(*a.shape) for a in arrays), **given)
    assert result == kernels.INVALID
    assert message in text

    session = open_session(node_model(op, kinds_of(arrays), **given), registered=True)
    with pytest.raises(Exception, match=message):
        session.run(None, dict(zip(_INPUTS[op][0], arrays, strict=True)))


def test_an_unknown_instruction_set_is_refused() -> None:
    with kernels.isa("avx1024") as available:
        assert not available


# ---- Through export ----


class _Network(torch.nn.Module):
    """The three ops, as a graph feature aggregation uses them."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        rng = np.random.default_rng(11)
        self.bias = torch.nn.Buffer(torch.from_numpy(random_bias(rng, heads)))
        self.scale = torch.nn.Buffer(torch.full((heads,), 10.0))
        self.kv = torch.nn.Linear(channels, 2 * channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        nodes = out = x.permute(0, 2, 3, 1).contiguous()
        complexity = torch_ops.complexity_map(nodes)
        for sampling in (LOCAL, GLOBAL):
            graph = torch_ops.dynamic_knn(nodes, complexity, sampling)
            out = out + torch_ops.scatter_aggregate(out, self.kv(out), graph, self.bias, self.scale, sampling)
        return out


@pytest.fixture(scope="module")
def exported() -> tuple[_Network, bytes]:
    torch.manual_seed(0)
    network = _Network(16, 2).eval()
    height, width = torch.export.Dim("height", min=1, max=256), torch.export.Dim("width", min=1, max=256)
    program = torch.onnx.export(
        network,
        (torch.randn(1, 16, 32, 48),),
        dynamo=True,
        verbose=False,
        dynamic_shapes={"x": {2: 16 * height, 3: 16 * width}},
        custom_translation_table=TRANSLATION_TABLE,
    )
    model = program.model_proto
    attach_functions(model)
    attach_functions(model)  # again changes nothing
    onnx.checker.check_model(model, full_check=True)
    assert [f.name for f in model.functions if f.domain == DOMAIN] == [
        "ComplexityMap",
        "DynamicKnn",
        "ScatterAggregate",
    ]
    return network, model.SerializeToString()


@contextmanager
def executed_ops(model: bytes, folder: Path, *, registered: bool) -> Iterator[tuple[Callable[..., Array], list[str]]]:
    """A call of the model, and the op types that ran, filled on leaving."""
    session = open_session(model, registered=registered, profile=folder / "profile")
    ran: list[str] = []
    yield lambda x: session.run(None, {"x": x})[0], ran
    events = json.loads(Path(session.end_profiling()).read_text())
    ran += [e["args"]["op_name"] for e in events if e["cat"] == "Node" and e["name"].endswith("kernel_time")]


@pytest.mark.parametrize("registered", [True, False], ids=["kernels", "function bodies"])
def test_exported_model_runs_with_and_without_the_library(
    exported: tuple[_Network, bytes], tmp_path: Path, registered: bool
) -> None:
    network, model = exported
    with executed_ops(model, tmp_path, registered=registered) as (run, ran):
        for size in (32, 48), (16, 80):
            x = np.random.default_rng(12).normal(size=(1, 16, *size)).astype(np.float32)
            with torch.no_grad():
                want = network(torch.from_numpy(x)).numpy()
            np.testing.assert_allclose(run(x), want, atol=1e-4)
    # The library's kernels win over the bodies; without it the bodies are all there is.
    assert ran.count("DynamicKnn") == ran.count("ScatterAggregate") == (4 if registered else 0)
    assert ran.count("ComplexityMap") == (2 if registered else 0)


def test_fake_kernels_agree_with_the_real_ones() -> None:
    arrays = [torch.from_numpy(a) for a in zeros_of("ScatterAggregate", {})]
    utilities = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.glic.scatter_aggregate.default, (*arrays, LOCAL), test_utils=utilities)
    arrays = [torch.from_numpy(a) for a in zeros_of("DynamicKnn", {})]
    torch.library.opcheck(torch.ops.glic.dynamic_knn.default, (*arrays, GLOBAL), test_utils=utilities)
