"""One-node models that no exporter writes: each op gives a result of the shape that its page says, or refuses them.

pytest does not collect this file by itself: `test_hostile_ops.py` runs it in processes of its own, since what it looks
for ends the process. It prints a digest of the integer ops' results, which depend on no instruction set.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as onnxruntime_errors

from glic_deploy import native
from glic_deploy.ops import OPS as TABLE
from glic_deploy.ops import Op

Array = NDArray[Any]
DOMAIN = "glic"
EXAMPLES = int(os.environ.get("GLIC_HOSTILE_EXAMPLES", "150"))

F, N, W = np.float32, np.int32, np.int8
TYPES_BY_NAME: dict[str, type] = {"T": F, "float32": F, "int32": N, "int8": W}
# A valid node of each op: the shapes of its inputs, and its attributes.
CASES: dict[str, tuple[list[tuple[int, ...]], dict[str, Any]]] = {
    "ComplexityMap": ([(2, 5, 7, 6)], {"channels": 6}),
    "DynamicKnn": ([(1, 16, 16, 8), (1, 16, 16)], {"sampling": 0, "window": 8, "sample": 16}),
    "ScatterAggregate": (
        [(1, 16, 16, 8), (1, 16, 16, 16), (1, 4, 64, 8), (2, 64, 256), (2,)],
        {"sampling": 1, "window": 8, "sample": 16},
    ),
    "Gate": ([(2, 3, 6)], {}),
    "DepthwiseGate": ([(1, 4, 5, 6), (6, 1, 3, 3)], {"channels": 6}),
    "DepthwiseMix": ([(1, 4, 5, 6), (6,), (6, 1, 5, 5), (6,)], {"channels": 6}),
    "ResidualNorm": ([(2, 3, 6), (2, 3, 6), (6,)], {"epsilon": 1e-5}),
    "Projection": ([(2, 3, 6), (6, 5)], {}),
    "NormQkv": ([(2, 3, 6), (7, 6), (7, 12)], {"epsilon": 1e-5}),
    "FeedForward": ([(2, 3, 6), (2, 3, 6), (6,), (7, 8), (4, 6)], {"epsilon": 1e-5}),
    "DepthwiseFeedForward": (
        [(1, 4, 5, 6), (1, 4, 5, 6), (6,), (7, 8), (8, 1, 3, 3), (4, 6)],
        {"epsilon": 1e-5},
    ),
    "GatedTransform": (
        [(1, 4, 5, 6), (7, 5), (5, 1, 5, 5), (5,), (5, 6), (6,), (7, 8), (4, 6)],
        {"epsilon": 1e-5},
    ),
    "GatedFfn": ([(2, 3, 8), (8, 16), (16,), (8, 8)], {"epsilon": 1e-5}),
    "DepthwiseGatedFfn": (
        [(1, 4, 5, 8), (8, 16), (16,), (16, 1, 3, 3), (8, 8)],
        {"channels": 16, "epsilon": 1e-5},
    ),
    "Convolution": ([(1, 4, 6, 5), (3, 3, 5, 8), (8,)], {"stride": 1, "shuffle": 2, "winograd": 1}),
    "WinogradInput": ([(1, 4, 8, 6)], {"channels": 6}),
    "WinogradShuffle": ([(36, 1, 1, 2, 8), (8,)], {}),
    "PixelShuffle": ([(1, 8, 3, 4)], {}),
    "IntegerLinear": ([(2, 3, 6), (6, 5), (5,), (5,)], {"limit": 511}),
    "IntegerGatedFfn": (
        [(2, 3, 6), (6,), (3072,), (6, 8), (8,), (8,), (4096,), (4,), (4, 6), (6,), (6,)],
        {"norm_shift": 2, "norm_limit": 511, "gate_limit": 511},
    ),
    "IntegerDepthwise": ([(3, 4, 6), (25, 6), (6,), (6,)], {"limit": 511}),
}


def _case(op: Op) -> tuple[list[type], list[type], list[tuple[int, ...]], dict[str, Any]]:
    """The op's inputs and outputs by type, and a valid node: shapes and attributes."""
    inputs, outputs = ([TYPES_BY_NAME[kind] for kind in ports.values()] for ports in (op.inputs, op.outputs))
    return inputs, outputs, *CASES[op.name]


# Those that run on a CPU; test_op_table.py says which has no case.
OPS = {name: _case(op) for name, op in TABLE.items() if name in CASES and "onnxruntime" in op.libraries}
CONSTANT = {name for name in OPS if TABLE[name].maps}  # whose inputs after the maps are initializers
INTEGERS = {name for name in CONSTANT if name.startswith("Integer")}  # held in float32
LARGEST = {"fraction": 11, "shift": 12}


def _range(op: str, index: int) -> int | None:
    """The largest value of an input of integers that has a range, by the last word of its name."""
    return LARGEST.get(list(TABLE[op].inputs)[index].rsplit("_", 1)[-1]) if op in INTEGERS else None


def values(op: str, index: int, shape: tuple[int, ...], dtype: type, rng: np.random.Generator) -> Array:
    """Random values of the kind that the input has."""
    if dtype == F:
        large = 600 if op in INTEGERS else 2
        drawn = rng.normal(0, large, shape)
        return (np.rint(drawn) if op in INTEGERS else drawn).astype(F)
    if (largest := _range(op, index)) is not None:
        return rng.integers(0, largest, shape, endpoint=True).astype(dtype)
    bits = np.iinfo(dtype)
    return rng.integers(bits.min, bits.max, shape, endpoint=True).astype(dtype)


# What onnxruntime raises.
REFUSALS = (
    onnxruntime_errors.Fail,
    onnxruntime_errors.InvalidArgument,
    onnxruntime_errors.InvalidGraph,
    onnxruntime_errors.NotImplemented,
    onnxruntime_errors.RuntimeException,
)


class Node:
    """A node with its inputs, to be changed and run."""

    def __init__(self, op: str, seed: int = 0) -> None:
        types, self.outputs, shapes, attributes = OPS[op]
        rng = np.random.default_rng(seed)
        self.op = op
        self.inputs = [values(op, i, shape, types[i], rng) for i, shape in enumerate(shapes)]
        self.attributes = dict(attributes)
        self.names = [f"in{i}" for i in range(len(shapes))]
        self.maps = TABLE[op].maps or len(shapes)

    def model(self) -> bytes:
        inputs, constants = [], []
        for i, array in enumerate(self.inputs):
            if i >= self.maps:
                constants.append(numpy_helper.from_array(array, f"in{i}"))
            else:
                element = helper.np_dtype_to_tensor_dtype(array.dtype)
                inputs.append(helper.make_tensor_value_info(f"in{i}", element, [None] * array.ndim))
        outputs = [
            helper.make_tensor_value_info(f"out{i}", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), None)
            for i, dtype in enumerate(self.outputs)
        ]
        node = helper.make_node(
            self.op, self.names, [f"out{i}" for i in range(len(outputs))], domain=DOMAIN, **self.attributes
        )
        graph = helper.make_graph([node], self.op, inputs, outputs, constants)
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()

    def run(self) -> list[Array]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        options.log_severity_level = 4
        options.register_custom_ops_library(str(native.library_path("glic_onnxruntime")))
        session = onnxruntime.InferenceSession(self.model(), options, providers=["CPUExecutionProvider"])
        fed = {port.name: self.inputs[int(port.name[2:])] for port in session.get_inputs()}
        return session.run(None, fed)


def refusal(node: Node) -> str:
    """The message with which the node is refused."""
    with pytest.raises(REFUSALS) as caught:
        node.run()
    return str(caught.value)


def with_shapes(op: str, *shapes: tuple[int, ...]) -> Node:
    """The op on zeros of these shapes; other inputs as they are valid."""
    node = Node(op)
    for i, shape in enumerate(shapes):
        node.inputs[i] = np.zeros(shape, node.inputs[i].dtype)
    return node


@pytest.mark.parametrize("op", OPS)
def test_a_valid_node_runs(op: str) -> None:
    assert len(Node(op).run()) == len(OPS[op][1])


HUGE = 1 << 38
EMPTY: list[tuple[str, list[tuple[int, ...]], list[tuple[int, ...]]]] = [
    ("IntegerLinear", [(0, 6)], [(0, 5)]),
    ("IntegerLinear", [(3, 0, 2, 6)], [(3, 0, 2, 5)]),
    ("IntegerGatedFfn", [(0, 6)], [(0, 6)]),
    ("IntegerGatedFfn", [(1, 0, 4, 6)], [(1, 0, 4, 6)]),
    ("IntegerDepthwise", [(0, 4, 6)], [(0, 4, 6)]),
    ("IntegerDepthwise", [(1 << 37, 0, 6)], [(1 << 37, 0, 6)]),
    ("Gate", [(0, 6)], [(0, 3)]),
    ("Gate", [(HUGE, 0, 4)], [(HUGE, 0, 2)]),
    ("DepthwiseGate", [(0, 4, 5, 6)], [(0, 4, 5, 3)]),
    ("DepthwiseGate", [(1, HUGE, 0, 2), (2, 1, 3, 3)], [(1, HUGE, 0, 1)]),
    ("DepthwiseMix", [(1, HUGE, 0, 2), (2,), (2, 1, 3, 3), (2,)], [(1, HUGE, 0, 2)]),
    ("DepthwiseMix", [(1, 4, HUGE, 0), (0,), (0, 1, 3, 3), (0,)], [(1, 4, HUGE, 0)]),
    ("ResidualNorm", [(0, 6), (0, 6)], [(0, 6), (0, 7)]),
    ("Projection", [(0, 6)], [(0, 5)]),
    ("Projection", [(1 << 37, 0, 6)], [(1 << 37, 0, 5)]),
    ("NormQkv", [(0, 6)], [(0, 6), (0, 12)]),
    ("FeedForward", [(0, 6), (0, 6)], [(0, 6)]),
    ("FeedForward", [(1 << 37, 0, 6), (1 << 37, 0, 6)], [(1 << 37, 0, 6)]),
    ("DepthwiseFeedForward", [(0, 4, 5, 6), (0, 4, 5, 6)], [(0, 4, 5, 6)]),
    ("DepthwiseFeedForward", [(1, 1 << 37, 0, 6), (1, 1 << 37, 0, 6)], [(1, 1 << 37, 0, 6)]),
    ("GatedTransform", [(1, 4, 0, 6)], [(1, 4, 0, 6)]),
    ("Convolution", [(0, 4, 6, 5)], [(0, 8, 12, 2)]),
    ("Convolution", [(1, 1 << 37, 0, 5)], [(1, 1 << 38, 0, 2)]),
    ("WinogradInput", [(1, 0, 8, 6)], [(36, 1, 0, 2, 6)]),
    ("WinogradInput", [(1, HUGE, 4, 0)], [(36, 1, HUGE // 4, 1, 0)]),
    ("WinogradShuffle", [(36, HUGE // 36 // 8, 1, 1, 0), (0,)], [(HUGE // 36 // 8, 8, 8, 0)]),
    ("WinogradShuffle", [(36, 1, 1 << 30, 0, 8), (8,)], [(1, 1 << 33, 0, 2)]),
    ("PixelShuffle", [(1, 4, 0, HUGE)], [(1, 1, 0, 2 * HUGE)]),
    ("PixelShuffle", [(1, 4, HUGE, 0)], [(1, 1, 2 * HUGE, 0)]),
    ("PixelShuffle", [(1, 0, 3, 4)], [(1, 0, 6, 8)]),
]


@pytest.mark.parametrize(("op", "shapes", "results"), EMPTY)
def test_an_empty_map_gives_an_empty_one_at_once(
    op: str, shapes: list[tuple[int, ...]], results: list[tuple[int, ...]]
) -> None:
    assert [out.shape for out in with_shapes(op, *shapes).run()] == results


@pytest.mark.parametrize(
    ("op", "shapes", "message"),
    [
        ("ComplexityMap", [(5, 7, 6)], "x has 3 dimensions, expected N, H, W, C"),
        ("ComplexityMap", [(1, 5, 7, 0)], r"x has shape \[1, 5, 7, 0\], expected N, H, W, C of 1 or more"),
        ("ComplexityMap", [(1, 0, HUGE, 8)], "at most 2.40 elements"),
        ("DynamicKnn", [(0, 16, 16, 8), (0, 16, 16)], r"x has shape \[0, 16, 16, 8\], expected \[N, H, W, C\]"),
        ("DynamicKnn", [(1, 16, 16, 0)], "expected .N, H, W, C. with H and W multiples of 16"),
        ("DynamicKnn", [(1, 16, 16, 8), (1, 16, 15)], r"complexity has shape \[1, 16, 15\]"),
        ("ScatterAggregate", [(1, 16, 16, 0)], r"q has shape \[1, 16, 16, 0\]"),
        ("ScatterAggregate", [(1, 16, 16, 8), (1, 16, 16, 15)], "kv has shape"),
        ("Gate", [()], "x has 0 channels"),
        ("Gate", [(4, 0)], "x has 0 channels"),
        ("Gate", [(HUGE, 1 << 20, 0, 4)], "at most 2.40 elements"),
        ("DepthwiseGate", [(1, 4, 5, 0), (0, 1, 3, 3)], "x has 0 channels"),
        ("ResidualNorm", [(), (), ()], "x has 0 dimensions"),
        ("ResidualNorm", [(3, 0), (3, 0), (0,)], "0 channels"),
        ("Projection", [(2, 7)], "7 channels, expected 6 channels last"),
        ("Projection", [()], "the map has 0 dimensions"),
        ("Projection", [(2, 6), (6,)], "weight has 1 dimensions"),
        ("Projection", [(2, 6), (6, 0)], "weight has 6 inputs and 0 outputs"),
        ("Projection", [(2, 3, 6), (3, 6, 5)], "the map has 2 parts, expected one for each of the 3 matrices"),
        ("NormQkv", [(2, 5)], "5 channels, expected 6 channels last"),
        ("NormQkv", [(2, 6), (1, 6)], "query has other sides than expected"),
        ("NormQkv", [(2, 6), (7, 6), (8, 12)], "key_value has other sides than expected"),
        ("FeedForward", [(2, 6), (3, 6)], "update has another shape than x"),
        ("FeedForward", [(2, 6), (2, 6), (5,)], r"bias has shape \[5\], expected \[6\]"),
        ("FeedForward", [(2, 6), (2, 6), (6,), (7, 7)], "expand has other sides than expected"),
        ("FeedForward", [(2, 6), (2, 6), (6,), (7, 8), (5, 6)], r"project has shape \[5, 6\], expected \[4, 6\]"),
        ("DepthwiseFeedForward", [(4, 5, 6), (4, 5, 6)], "the map has 3 dimensions, expected 4: images, rows"),
        ("DepthwiseFeedForward", [(1, 4, 5, 6), (1, 4, 5, 6), (6,), (7, 8), (8, 1, 2, 2)], "filter has side 2"),
        ("DepthwiseFeedForward", [(1, 4, 5, 6), (1, 4, 5, 6), (6,), (7, 8), (6, 1, 3, 3)], "filter has shape"),
        ("GatedTransform", [(4, 5, 6)], "the map has 3 dimensions, expected 4: images, rows"),
        ("GatedTransform", [(1, 4, 5, 6), (6, 5)], "mix_expand has other sides than expected"),
        ("GatedTransform", [(1, 4, 5, 6), (7, 5), (5, 1, 4, 4)], "mix_filter has side 4"),
        ("GatedTransform", [(1, 4, 5, 6), (7, 5), (5, 1, 5, 5), (4,)], "mix_bias has shape"),
        ("Convolution", [(4, 6, 5)], "the map has 3 dimensions, expected 4: images, rows"),
        ("Convolution", [(1, 4, 6, 4)], "4 channels, expected 5 channels last"),
        ("Convolution", [(1, 4, 6, 5), (3, 5, 8)], "weight has 3 dimensions, expected rows, columns, channels"),
        ("Convolution", [(1, 4, 6, 5), (3, 2, 5, 8)], "weight has 3 rows and 2 columns, expected as many"),
        ("Convolution", [(1, 4, 6, 5), (9, 9, 5, 8)], "weight has 9 rows and 9 columns, expected as many"),
        ("Convolution", [(1, 4, 6, 5), (3, 3, 5, 7)], "outputs in multiples of 4"),
        ("Convolution", [(1, 4, 6, 5), (1, 1, 5, 8)], "winograd is 1 for filters of side 1"),
        ("Convolution", [(1, 4, 6, 5), (3, 3, 5, 8), (7,)], r"bias has shape \[7\], expected \[8\]"),
        ("WinogradInput", [(4, 4)], "x has 2 dimensions"),
        ("PixelShuffle", [(1 << 30, 4, 1 << 20, 0)], "at most 2.40 elements"),
        ("IntegerLinear", [(2, 7)], "the map has 2 dimensions and 7 channels, expected 6 channels last"),
        ("IntegerLinear", [()], "the map has 0 dimensions"),
        ("IntegerLinear", [(1 << 30, 1 << 20, 0, 6)], "at most 2.40 elements"),
        ("IntegerLinear", [(2, 6), (6, 0), (0,), (0,)], "expected 2, neither of them 0: inputs by outputs"),
        ("IntegerLinear", [(2, 6), (6,)], "weight has 1 dimensions"),
        ("IntegerLinear", [(2, 6), (6, 5), (4,)], r"bias has shape \[4\], expected \[5\]"),
        ("IntegerLinear", [(2, 6), (6, 5), (5,), (5, 1)], r"shift has shape \[5, 1\], expected \[5\]"),
        ("IntegerDepthwise", [(3, 4, 7)], "7 channels, expected 6 channels last"),
        ("IntegerDepthwise", [(3, 2, 2, 6)], "the map has 4 dimensions, expected 3: rows, columns and channels"),
        ("IntegerDepthwise", [(3, 4, 6), (9, 6)], r"weight has shape \[9, 6\], expected \[25, 6\]"),
        ("IntegerGatedFfn", [(2, 6), (5,)], r"norm fraction has shape \[5\], expected \[6\]"),
        ("IntegerGatedFfn", [(2, 6), (6,), (3071,)], r"rsqrt has shape \[3071\], expected \[3072\]"),
    ],
)  # fmt: skip
def test_a_shape_that_is_not_the_ops_is_named(op: str, shapes: list[tuple[int, ...]], message: str) -> None:
    assert re.search(message, refusal(with_shapes(op, *shapes)))


@pytest.mark.parametrize(
    ("op", "attribute", "wrong", "message"),
    [
        *(("IntegerLinear", "limit", wrong, "limit is") for wrong in (-1, 1 << 23, -(1 << 31), 1 << 32, -(1 << 63))),
        *(("IntegerDepthwise", "limit", wrong, "limit is") for wrong in (-1, 1 << 23)),
        *(("IntegerGatedFfn", "norm_shift", wrong, "norm_shift is") for wrong in (-1, 31, 1 << 32)),
        *(("IntegerGatedFfn", "norm_limit", wrong, "norm_limit is") for wrong in (-1, 1 << 15, 1 << 32)),
        *(("IntegerGatedFfn", "gate_limit", wrong, "gate_limit is") for wrong in (-1, 1 << 15, 1 << 32)),
        *(("DynamicKnn", "sampling", wrong, "sampling is") for wrong in (-1, 2, 1 << 32)),
        *(("ScatterAggregate", "sampling", wrong, "sampling is") for wrong in (-1, 2, 1 << 32)),
        ("DynamicKnn", "window", 0, "window, sample are 0, 16"),
        ("DynamicKnn", "sample", 1 << 40, "window, sample are 8"),
        *(
            (op, "epsilon", wrong, "epsilon is")
            for op in ("ResidualNorm", "NormQkv", "FeedForward", "DepthwiseFeedForward", "GatedTransform")
            for wrong in (-1.0, float("nan"), float("inf"))
        ),
        *(("Convolution", name, wrong, f"{name} is") for name in ("stride", "shuffle") for wrong in (0, 3, 1 << 40)),
        ("Convolution", "winograd", 2, "winograd is"),
        ("Convolution", "stride", 2, "winograd is 1 for filters of side 3 and stride 2"),
        ("IntegerLinear", "limit", "many", ""),
        ("ResidualNorm", "epsilon", 1, ""),
        ("DynamicKnn", "sampling", 0.0, ""),
    ],
)  # fmt: skip
def test_an_attribute_out_of_its_range_is_named(op: str, attribute: str, wrong: Any, message: str) -> None:
    node = Node(op)
    node.attributes[attribute] = wrong
    assert message in refusal(node)


@pytest.mark.parametrize(
    ("op", "index", "name", "low", "high"),
    [
        ("IntegerLinear", 3, "shift", 0, 30),
        ("IntegerDepthwise", 3, "shift", 0, 30),
        ("IntegerGatedFfn", 1, "norm fraction", 0, 11),
        ("IntegerGatedFfn", 5, "project_in shift", 0, 30),
        ("IntegerGatedFfn", 7, "gate shift", 0, 30),
        ("IntegerGatedFfn", 10, "project_out shift", 0, 30),
    ],
)
def test_a_constant_out_of_its_range_is_named(op: str, index: int, name: str, low: int, high: int) -> None:
    for inside in (low, high):
        node = Node(op)
        node.inputs[index][-1] = inside
        node.run()
    for wrong in (low - 1, high + 1, -(1 << 31), (1 << 31) - 1):
        node = Node(op)
        node.inputs[index][-1] = wrong
        assert f"{name} has the value {wrong}, expected {low} to {high}" in refusal(node)


@pytest.mark.parametrize("op", sorted(CONSTANT))
def test_weights_that_are_no_constants_are_refused(op: str) -> None:
    node = Node(op)
    node.maps = len(node.inputs)
    assert "has to be constant" in refusal(node)


@pytest.mark.parametrize("op", OPS)
def test_missing_inputs_are_refused(op: str) -> None:
    for count in range(len(OPS[op][0])):
        node = Node(op)
        node.names = node.names[:count]
        refusal(node)
        node = Node(op)
        node.names[count] = ""
        refusal(node)


@pytest.mark.parametrize("op", OPS)
def test_inputs_of_other_types_are_refused(op: str) -> None:
    for index, expected in enumerate(OPS[op][0]):
        for dtype in (np.float16, np.float64, np.int64, np.uint8):
            node = Node(op)
            node.inputs[index] = np.zeros(node.inputs[index].shape, dtype)
            if op in ("ComplexityMap", "DynamicKnn") and dtype == np.float16 and index == 0:
                continue  # they take these
            assert refusal(node), expected


EXTREMES = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, -0.0, 2.0**31, -(2.0**31), 2.0**23], F)


@pytest.mark.parametrize("op", OPS)
def test_values_that_no_network_computes_give_some_result(op: str) -> None:
    rng = np.random.default_rng(3)
    for _ in range(4):
        node = Node(op)
        for i, array in enumerate(node.inputs):
            if array.dtype == F:
                drawn = rng.choice(EXTREMES, array.shape)
                node.inputs[i] = np.where(rng.random(array.shape) < rng.random(), drawn, array)
        assert [out.dtype for out in node.run()] == OPS[op][1]


def test_integer_ops_wrap_around_alike() -> None:
    digest = hashlib.sha256()
    for seed in range(20):
        for op in sorted(INTEGERS):
            node = Node(op, seed)
            node.inputs[0][0] = np.resize(EXTREMES, node.inputs[0][0].shape)
            for out in node.run():
                assert np.array_equal(out, np.rint(out))
                digest.update(out.tobytes())
    print(f"\ndigest {digest.hexdigest()}")


def sides() -> st.SearchStrategy[int]:
    return st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 15, 16, 17, 31, 32, 36, 40])


EDGES = [-(1 << 63), -(1 << 31), -1, 0, 1, 2, 30, 31, 32, 32767, 32768, (1 << 31) - 1, 1 << 32, (1 << 63) - 1]
TYPES = [np.float16, np.float32, np.float64, np.int8, np.int32]


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    """A node with up to three things wrong, and sometimes all sides of its first input drawn anew."""
    op = draw(st.sampled_from(sorted(OPS)))
    node = Node(op, draw(st.integers(0, 9)))
    for _ in range(draw(st.integers(0, 3))):
        index = draw(st.integers(0, len(node.inputs) - 1))
        array = node.inputs[index]
        kind = draw(st.sampled_from(["side", "rank", "shape", "type", "value", "attribute"]))
        shape = list(array.shape)
        if kind == "side" and shape:
            shape[draw(st.integers(0, len(shape) - 1))] = draw(sides())
        elif kind == "rank":
            shape = shape[1:] if draw(st.booleans()) else [*shape, draw(sides())]
        elif kind == "shape":
            shape = draw(st.lists(sides(), max_size=5))
        if kind in ("side", "rank", "shape") and np.prod(shape, dtype=np.int64) <= 1 << 18:
            padded = array if array.size else np.zeros(1, array.dtype)
            node.inputs[index] = np.resize(padded, shape)
        elif kind == "type":
            node.inputs[index] = array.astype(draw(st.sampled_from(TYPES)))
        elif kind == "value" and array.size:
            bits = draw(st.integers(0, 2**64 - 1)).to_bytes(8, "little")
            raw = bytearray(array.tobytes())
            at = draw(st.integers(0, array.size - 1)) * array.itemsize
            raw[at : at + array.itemsize] = bits[: array.itemsize]
            node.inputs[index] = np.frombuffer(bytes(raw), array.dtype).reshape(array.shape)
        elif kind == "attribute" and node.attributes:
            name = draw(st.sampled_from(sorted(node.attributes)))
            edges = [
                -(1 << 63),
                -(1 << 31),
                -1,
                0,
                1,
                2,
                30,
                31,
                32,
                32767,
                32768,
                (1 << 31) - 1,
                1 << 32,
                (1 << 63) - 1,
            ]
            node.attributes[name] = draw(st.sampled_from(edges)) if name != "epsilon" else draw(st.floats(width=32))
    return node


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(nodes())
def test_any_node_runs_or_is_refused(node: Node) -> None:
    try:
        results = node.run()
    except REFUSALS:
        return
    expected: Mapping[str, int] = {
        "WinogradInput": 5,
        "WinogradShuffle": 4,
        "PixelShuffle": 4,
        "ComplexityMap": 3,
        "DynamicKnn": 4,
    }
    assert all(out.ndim == expected.get(node.op, node.inputs[0].ndim) for out in results)
