"""glic::ComplexityMap: every implementation on the CPU against the NumPy oracle (specification §3, steps 1 and 2)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import export.ops as torch_ops
from export.ops.functions import attach_functions
from export.precision import in_half_precision
from glic_deploy.ops import DOMAIN

from . import kernels
from .kernels import ISAS
from .oracles.complexity import complexity_map as oracle
from .test_ops import MAPS, Array, open_session, random_map

ORACLES = {"ComplexityMap": oracle}
_ELEMENTS = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float16): TensorProto.FLOAT16}


# ---- The implementations, as NumPy functions ----


def node_model(x: Array) -> bytes:
    """A serialized model of one node and its function body, for maps like this one."""
    given = helper.make_tensor_value_info("x", _ELEMENTS[x.dtype], [None] * x.ndim)
    found = helper.make_tensor_value_info("complexity", TensorProto.FLOAT, [None] * 3)
    node = helper.make_node("ComplexityMap", ["x"], ["complexity"], domain=DOMAIN, channels=x.shape[-1])
    model = helper.make_model(
        helper.make_graph([node], "map", [given], [found]),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)],
        ir_version=10,
    )
    attach_functions(model)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def through_onnxruntime(x: Array, *, registered: bool) -> Array:
    return open_session(node_model(x), registered=registered).run(None, {"x": x})[0]


def native(x: Array, isa: str, threads: int = 1) -> Array:
    with kernels.isa(isa) as available:
        if not available:
            pytest.skip(f"needs a processor and a build with {isa}")
        return kernels.complexity_map(x, kernels.threads(threads))


class Implementation(NamedTuple):
    name: str
    run: Callable[[Array], Array]


IMPLEMENTATIONS = [
    Implementation("torch", lambda x: torch_ops.complexity_map(torch.from_numpy(np.ascontiguousarray(x))).numpy()),
    Implementation("function", partial(through_onnxruntime, registered=False)),
    Implementation("onnxruntime", partial(through_onnxruntime, registered=True)),
    *(Implementation(isa, partial(native, isa=isa)) for isa in ISAS),
]
ALL = pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=lambda i: i.name)


def assert_agrees(got: Array, x: Array) -> None:
    """Equal within what rounding costs, relative to the largest value."""
    want = oracle(x.astype(np.float32))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * want.max())


# ---- Results ----

SHAPES: dict[str, tuple[int, int, int, int]] = {
    "one position": (1, 1, 1, 5),
    "one row": (1, 1, 37, 8),
    "one column": (2, 35, 1, 3),
    "odd sides": (3, 7, 5, 21),
    "part of a strip": (1, 17, 33, 40),
    "several strips": (1, 33, 65, 16),
}


@ALL
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("kind", [*MAPS, *SHAPES])
def test_every_implementation_agrees(implementation: Implementation, dtype: type, kind: str) -> None:
    rng = np.random.default_rng(13)
    x = (MAPS[kind](rng) if kind in MAPS else random_map(rng, *SHAPES[kind])).astype(dtype)
    assert_agrees(implementation.run(x), x)


@ALL
def test_borders_are_replicated(implementation: Implementation) -> None:
    """A slope along the rows is as steep at the borders as half of it inside, since the border stands for beyond."""
    ramp = np.broadcast_to(np.arange(6, dtype=np.float32)[None, None, :, None], (1, 4, 6, 2)).copy()
    got, want = implementation.run(ramp), oracle(ramp)
    assert want[0, 1, 0] < want[0, 1, 3]
    np.testing.assert_allclose(got, want, rtol=2e-6)
    np.testing.assert_allclose(got[:, :, ::-1], got, rtol=2e-6)


@ALL
def test_nan_stays_in_its_image(implementation: Implementation) -> None:
    x = random_map(np.random.default_rng(14), 2, 16, 16, 8)
    clean = implementation.run(x)
    x[1, 3, 4, 5] = np.nan
    got = implementation.run(x)
    np.testing.assert_array_equal(got[0], clean[0])
    assert np.isnan(got[1]).all()


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 2), st.integers(1, 36), st.integers(1, 70), st.integers(1, 40)),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    dtype=st.sampled_from([np.float32, np.float16]),
    isa=st.sampled_from(ISAS),
)
@settings(max_examples=60, deadline=None)
def test_any_size_agrees(seed: int, shape: tuple[int, ...], scale: float, dtype: type, isa: str) -> None:
    x = (np.random.default_rng(seed).normal(size=shape) * scale).astype(dtype)
    with kernels.isa(isa):
        assert_agrees(kernels.complexity_map(x), x)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_gives_what_its_values_do(isa: str, dtype: type) -> None:
    x = random_map(np.random.default_rng(15), 1, 17, 35, 21).astype(dtype)
    np.testing.assert_array_equal(native(x, isa), native(x.astype(np.float32), isa))


@pytest.mark.parametrize("isa", ISAS)
def test_threads_change_nothing(isa: str) -> None:
    x = random_map(np.random.default_rng(16), 2, 50, 70, 24)
    for count in (2, 3):
        np.testing.assert_array_equal(native(x, isa, count), native(x, isa))


# ---- What is refused, and the exported forms ----


@pytest.mark.parametrize("implementation", [i for i in IMPLEMENTATIONS if i.name != "function"], ids=lambda i: i.name)
@pytest.mark.parametrize("shape", [(5, 7, 6), (1, 5, 7, 0), (0, 5, 7, 6)])
def test_wrong_shapes_are_named(implementation: Implementation, shape: tuple[int, ...]) -> None:
    with pytest.raises(Exception, match=r"glic::ComplexityMap: x has .*expected N, H, W, C"):
        implementation.run(np.zeros(shape, np.float32))


def test_the_fake_kernel_agrees_with_the_real_one() -> None:
    x = torch.zeros(2, 5, 7, 6)
    utilities = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.glic.complexity_map.default, (x,), test_utils=utilities)


@pytest.mark.parametrize(("precision", "kind"), [("fp16", TensorProto.FLOAT16), ("bf16", TensorProto.BFLOAT16)])
def test_in_half_precision_it_reads_what_the_graph_ops_read(precision: str, kind: int) -> None:
    """Behind a convolution, the map is in half precision already: nothing is cast, and the result is float32."""
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["features"]),
        helper.make_node("Transpose", ["features"], ["x"], perm=[0, 2, 3, 1]),
        helper.make_node("ComplexityMap", ["x"], ["complexity"], domain=DOMAIN, channels=8),
        helper.make_node("DynamicKnn", ["x", "complexity"], ["edges"], domain=DOMAIN, sampling=0),
    ]
    weight = helper.make_tensor("weight", TensorProto.FLOAT, [8, 3, 1, 1], np.ones(24, np.float32))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 16, 16])
    edges = helper.make_tensor_value_info("edges", TensorProto.INT32, [1, 4, 64, 8])
    model = helper.make_model(
        helper.make_graph(nodes, "stage", [image], [edges], [weight]),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)],
        ir_version=10,
    )
    half = in_half_precision(model, precision)
    made = {name: node for node in half.graph.node for name in node.output}
    of_map, of_knn = (next(n for n in half.graph.node if n.op_type == op) for op in ("ComplexityMap", "DynamicKnn"))
    assert of_map.input[0] == of_knn.input[0] == "x"
    assert of_knn.input[1] == "complexity"
    assert [n.op_type for n in half.graph.node].count("Cast") == 1  # of the image
    (to,) = made[made["features"].input[0]].attribute
    assert to.i == kind
