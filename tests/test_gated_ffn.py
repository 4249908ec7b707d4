"""`glic::GatedFfn` and `glic::DepthwiseGatedFfn`, whose kernels are a GPU's: the emulator and ONNX against NumPy."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.gated_ffn import fuse_gated_ffns
from export.ops.functions import attach_functions
from export.precision import in_half_precision
from glic_deploy.bundle import BASE, Bundle
from glic_deploy.image import load_image
from glic_deploy.ops import DOMAIN, OPS

from . import cuda_emulator
from .conftest import PHOTOS
from .test_block_ops import EPSILON, normalised
from .test_cuda_kernels import PRECISION, as_float, cast
from .test_transform_ops import depthwise_gate, gate

Array = NDArray[np.float32]

needs_emulator = pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake to build the emulator")
HALVES = pytest.mark.parametrize("element", ["float16", "bfloat16"])


def gated_ffn(x: Array, expand: Array, bias: Array, project: Array) -> Array:
    wide = x.astype(np.float64)
    return np.asarray(wide + gate(normalised(wide)[..., :-1] @ expand + bias) @ project.astype(np.float64), np.float32)


def depthwise_gated_ffn(x: Array, expand: Array, bias: Array, filters: Array, project: Array) -> Array:
    wide = x.astype(np.float64)
    gated = depthwise_gate(normalised(wide)[..., :-1] @ expand + bias, filters)
    return np.asarray(wide + gated @ project.astype(np.float64), np.float32)


ORACLES: dict[str, Callable[..., Array]] = {"GatedFfn": gated_ffn, "DepthwiseGatedFfn": depthwise_gated_ffn}


class Case:
    """Inputs in an element type, their exact values, and what the oracle makes of them.

    places: positions, or images, height and width of an op with a filter.
    """

    def __init__(self, element: str, places: tuple[int, ...], channels: int, hidden: int, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self.op = "GatedFfn" if len(places) == 1 else "DepthwiseGatedFfn"
        self.element, self.hidden = element, hidden
        scales, means = rng.uniform(0.1, 10, (*places, 1)), rng.normal(size=(*places, 1))
        self.x, x = cast(rng.normal(size=(*places, channels)) * scales + means, element)
        self.expand, expand = cast(rng.normal(size=(channels, 2 * hidden)) / channels**0.5, element)
        self.bias = rng.normal(size=2 * hidden).astype(np.float32)
        self.filter = [] if len(places) == 1 else [rng.normal(size=(2 * hidden, 1, 3, 3)).astype(np.float32) / 3]
        self.project, project = cast(rng.normal(size=(hidden, channels)) / max(hidden, 1) ** 0.5, element)
        self.exact = [x, expand, self.bias, *self.filter, project]
        self.want = ORACLES[self.op](*self.exact)

    def inputs(self) -> list[NDArray[np.generic]]:
        return [self.x, self.expand, self.bias, *self.filter, self.project]

    def run(self, *, reverse: bool = False) -> NDArray[np.generic]:
        function = "depthwise_gated_ffn" if self.filter else "gated_ffn"
        numbers = (cuda_emulator.ELEMENTS[self.x.dtype], *self.x.shape, self.hidden)
        arrays = [*self.inputs(), np.array([EPSILON], np.float32)]
        out = cuda_emulator.run(function, numbers, arrays, reverse=reverse)
        return np.frombuffer(out, self.x.dtype).reshape(self.x.shape)

    def check(self, got: NDArray[np.generic]) -> None:
        """What is rounded to the type on the way is of the size of 1, and a sum averages its errors.

        With a filter, the wide map is rounded too.
        """
        error = np.abs(as_float(got).astype(np.float64) - self.want)
        on_the_way = 8 if self.filter else 4
        assert (error <= PRECISION[self.element] * (np.abs(self.want) + on_the_way)).all(), error.max()


# Places, channels and hidden channels: those of the released and the sample network; sides that fill no tile, no step
# and no chunk; the least.
SIZES: list[tuple[tuple[int, ...], int, int]] = [
    ((200,), 128, 512),
    ((300,), 24, 96),
    ((129,), 72, 40),
    ((1,), 8, 8),
    ((17,), 64, 24),
    ((128,), 120, 32),
    ((1, 8, 16), 192, 96),
    ((2, 16, 32), 32, 64),
    ((1, 5, 17), 72, 40),
    ((1, 1, 1), 8, 8),
    ((3, 4, 3), 64, 24),
    ((1, 9, 33), 136, 32),
]


@needs_emulator
@HALVES
@pytest.mark.parametrize(("places", "channels", "hidden"), SIZES)
def test_the_kernels_agree(element: str, places: tuple[int, ...], channels: int, hidden: int) -> None:
    case = Case(element, places, channels, hidden)
    got = case.run()
    case.check(got)
    np.testing.assert_array_equal(case.run(reverse=True), got)


PLACES = st.one_of(st.tuples(st.integers(1, 140)), st.tuples(st.integers(1, 2), st.integers(1, 10), st.integers(1, 20)))


@needs_emulator
@settings(max_examples=12, deadline=None)
@given(st.sampled_from(["float16", "bfloat16"]), PLACES, st.integers(1, 16), st.integers(1, 9), st.integers(0, 99))
def test_the_kernels_agree_at_any_size(
    element: str, places: tuple[int, ...], channels: int, hidden: int, seed: int
) -> None:
    case = Case(element, places, 8 * channels, 8 * hidden, seed)
    case.check(case.run())


@needs_emulator
def test_a_gate_beyond_the_tail_is_its_input_or_nothing() -> None:
    case = Case("float16", (16,), 8, 8)
    case.bias[:4], case.bias[4:8] = 40, -40
    want = gated_ffn(*case.exact)
    error = np.abs(as_float(case.run()) - want)
    assert (error <= PRECISION["float16"] * (np.abs(want) + 100)).all()


@needs_emulator
@pytest.mark.parametrize("places", [(4,), (1, 4, 4)])
@pytest.mark.parametrize(("channels", "hidden"), [(12, 8), (200, 8), (8, 12), (8, 0)])
def test_the_kernels_refuse_other_sizes(places: tuple[int, ...], channels: int, hidden: int) -> None:
    with pytest.raises(RuntimeError, match=r"gated_ffn on the emulator: 11"):
        Case("float16", places, channels, hidden).run()


@pytest.mark.parametrize("places", [(50,), (2, 5, 7)])
def test_the_functions_agree(places: tuple[int, ...]) -> None:
    case = Case("float16", places, 24, 96)
    op = OPS[case.op]
    attributes = {"epsilon": EPSILON} | ({"channels": 192} if case.filter else {})
    kinds = [TensorProto.FLOAT if kind == "float32" else TensorProto.FLOAT16 for kind in op.inputs.values()]
    ports = zip(op.inputs, kinds, case.inputs(), strict=True)
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node(op.name, list(op.inputs), ["out"], domain=DOMAIN, **attributes)],
            op.name,
            [helper.make_tensor_value_info(name, kind, array.shape) for name, kind, array in ports],
            [helper.make_tensor_value_info("out", TensorProto.FLOAT16, case.x.shape)],
        ),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)],
        ir_version=10,
    )
    attach_functions(model)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    case.check(session.run(None, dict(zip(op.inputs, case.inputs(), strict=True)))[0])


def test_half_precision_has_the_ops_and_is_as_near(engine: Path) -> None:
    """The analysis of the sample network: each feed-forward network is one node, and no noise is added."""
    path = Bundle.open(engine).graph("analysis", [BASE])
    base, fused = onnx.load(path), onnx.load(path)
    fuse_gated_ffns(fused)
    image = np.asarray(load_image(sorted(PHOTOS.glob("*.png"))[0]))[:128, :128, :3]

    def latents(model: onnx.ModelProto) -> NDArray[np.float32]:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        result: NDArray[np.float32] = session.run(None, {"image": image})[0]
        return result

    exact, before, after = latents(base), latents(in_half_precision(base, "fp16")), in_half_precision(fused, "fp16")
    found = Counter(node.op_type for node in after.graph.node)
    assert [found[op] for op in ("GatedFfn", "DepthwiseGatedFfn", "Gelu")] == [3, 4, 0]
    noise = [float(np.sqrt(np.square(each - exact).mean())) for each in (before, latents(after))]
    assert noise[1] < 1.1 * noise[0]
