"""`glic::GatedFfn`, whose kernel is a GPU's: the emulator and the function in standard ONNX against NumPy."""

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
from .test_transform_ops import gate

Array = NDArray[np.float32]

needs_emulator = pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake to build the emulator")
HALVES = pytest.mark.parametrize("element", ["float16", "bfloat16"])


def gated_ffn(x: Array, expand: Array, bias: Array, project: Array) -> Array:
    wide = x.astype(np.float64)
    return np.asarray(wide + gate(normalised(wide)[..., :-1] @ expand + bias) @ project.astype(np.float64), np.float32)


ORACLES: dict[str, Callable[..., Array]] = {"GatedFfn": gated_ffn}


class Case:
    """Inputs in an element type, their exact values, and what the oracle makes of them."""

    def __init__(self, element: str, positions: int, channels: int, hidden: int, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self.element = element
        scales = rng.uniform(0.1, 10, (positions, 1))
        self.x, x = cast(rng.normal(size=(positions, channels)) * scales + rng.normal(size=(positions, 1)), element)
        self.expand, expand = cast(rng.normal(size=(channels, 2 * hidden)) / channels**0.5, element)
        self.bias = rng.normal(size=2 * hidden).astype(np.float32)
        self.project, project = cast(rng.normal(size=(hidden, channels)) / hidden**0.5, element)
        self.want = gated_ffn(x, expand, self.bias, project)

    def run(self, *, reverse: bool = False) -> NDArray[np.generic]:
        arrays = [self.x, self.expand, self.bias, self.project, np.array([EPSILON], np.float32)]
        numbers = (cuda_emulator.ELEMENTS[self.x.dtype], *self.x.shape, self.project.shape[0])
        out = cuda_emulator.run("gated_ffn", numbers, arrays, reverse=reverse)
        return np.frombuffer(out, self.x.dtype).reshape(self.x.shape)

    def check(self, got: NDArray[np.generic]) -> None:
        """The normalised values, the gated ones and the result are rounded to the type; a sum of many averages."""
        error = np.abs(as_float(got).astype(np.float64) - self.want)
        assert (error <= PRECISION[self.element] * (np.abs(self.want) + 4)).all(), error.max()


# The released and the sample network; sides that fill no tile, no step and no chunk; the least.
SIZES = [(200, 128, 512), (300, 24, 96), (129, 72, 40), (1, 8, 8), (17, 64, 24), (128, 120, 32)]


@needs_emulator
@HALVES
@pytest.mark.parametrize("size", SIZES)
def test_the_kernel_agrees(element: str, size: tuple[int, int, int]) -> None:
    case = Case(element, *size)
    got = case.run()
    case.check(got)
    np.testing.assert_array_equal(case.run(reverse=True), got)


@needs_emulator
@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(["float16", "bfloat16"]),
    st.integers(1, 140),
    st.integers(1, 16),
    st.integers(1, 9),
    st.integers(0, 99),
)
def test_the_kernel_agrees_at_any_size(element: str, positions: int, channels: int, hidden: int, seed: int) -> None:
    case = Case(element, positions, 8 * channels, 8 * hidden, seed)
    case.check(case.run())


@needs_emulator
def test_a_gate_beyond_the_tail_is_its_input_or_nothing() -> None:
    case = Case("float16", 16, 8, 8)
    case.bias[:4], case.bias[4:8] = 40, -40
    x, expand, project = (as_float(array) for array in (case.x, case.expand, case.project))
    case.want = gated_ffn(x, expand, case.bias, project)
    error = np.abs(as_float(case.run()) - case.want)
    assert (error <= PRECISION["float16"] * (np.abs(case.want) + 100)).all()


@needs_emulator
@pytest.mark.parametrize("size", [(4, 12, 8), (4, 136, 8), (4, 8, 12), (4, 8, 0)])
def test_the_kernel_refuses_other_sizes(size: tuple[int, int, int]) -> None:
    with pytest.raises(RuntimeError, match=r"gated_ffn on the emulator: 11"):
        Case("float16", *size).run()


def test_the_function_agrees() -> None:
    op = OPS["GatedFfn"]
    case = Case("float16", 50, 24, 96)
    kinds = [TensorProto.FLOAT if kind == "float32" else TensorProto.FLOAT16 for kind in op.inputs.values()]
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node(op.name, list(op.inputs), ["out"], domain=DOMAIN, epsilon=EPSILON)],
            op.name,
            [
                helper.make_tensor_value_info(n, k, [None] * r)
                for n, k, r in zip(op.inputs, kinds, (2, 2, 1, 2), strict=True)
            ],
            [helper.make_tensor_value_info("out", TensorProto.FLOAT16, [None] * 2)],
        ),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)],
        ir_version=10,
    )
    attach_functions(model)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = dict(zip(op.inputs, (case.x, case.expand, case.bias, case.project), strict=True))
    case.check(session.run(None, inputs)[0])


def test_half_precision_has_the_op_and_is_as_near(engine: Path) -> None:
    """The analysis of the sample network: each feed-forward at half scale is one node, and no noise is added."""
    path = Bundle.open(engine).graph("analysis", [BASE])
    base, fused = onnx.load(path), onnx.load(path)
    assert fuse_gated_ffns(fused) == 3
    image = np.asarray(load_image(sorted(PHOTOS.glob("*.png"))[0]))[:128, :128, :3]

    def latents(model: onnx.ModelProto) -> NDArray[np.float32]:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        result: NDArray[np.float32] = session.run(None, {"image": image})[0]
        return result

    exact, before, after = latents(base), latents(in_half_precision(base, "fp16")), in_half_precision(fused, "fp16")
    assert Counter(node.op_type for node in after.graph.node)["GatedFfn"] == 3
    noise = [float(np.sqrt(np.square(found - exact).mean())) for found in (before, latents(after))]
    assert noise[1] < 1.1 * noise[0]
