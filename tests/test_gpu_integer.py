"""The integer CUDA kernels on a GPU, against the oracle: layers, and the graphs of the sample network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import cuda_ops
from glic_deploy import conformance
from glic_deploy.bundle import NATIVE, Bundle
from glic_deploy.ops import OPS

from .integer_kernels import (
    FULL_FFN,
    FULL_LINEAR,
    MAPS,
    SIZES,
    Array,
    KernelBackend,
    bundle_graphs,
    check_depthwise,
    check_gated_ffn,
    check_linear,
)

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("cuda_kernels")]

# Latents of a 768×512 image: positions of one parity, and whole maps.
LARGE_LINEAR = [(768, 2304, 384), (1536, 596, 384)]
LARGE_FFN = [(768, 896, 3584), (1536, 298, 1192)]


def on_gpu(function: str, size: Sequence[int], inputs: Sequence[Array]) -> Array:
    """Run an op as `integer_kernels.compute` asks for. The size ends with the op's attributes."""
    attributes = {"integer_gated_ffn": OPS["IntegerGatedFfn"].attributes}.get(function, {"limit": "int"})
    named = dict(zip(attributes, size[-len(attributes) :], strict=True))
    tensors = [torch.from_numpy(np.array(array)).cuda() for array in inputs]
    result: Array = getattr(cuda_ops, function)(*tensors, **named).cpu().numpy()
    return result


@pytest.mark.parametrize("size", [*SIZES, *FULL_LINEAR, *LARGE_LINEAR])
def test_linear_equals_the_oracle(size: tuple[int, int, int]) -> None:
    check_linear(*size, on_gpu)


@pytest.mark.parametrize("size", [*SIZES, *FULL_FFN, *LARGE_FFN])
def test_gated_ffn_equals_the_oracle(size: tuple[int, int, int]) -> None:
    check_gated_ffn(*size, on_gpu)


@pytest.mark.parametrize("shape", [*MAPS, (32, 48, 298)])
def test_depthwise_equals_the_oracle(shape: tuple[int, int, int]) -> None:
    check_depthwise(*shape, on_gpu)


def test_the_sample_network_passes_its_conformance_vectors(engine: Path) -> None:
    bundle = Bundle.open(engine)
    assert conformance.check(bundle, KernelBackend(bundle_graphs(bundle, NATIVE), on_gpu)) > 10_000
