"""The integer CUDA kernels against the oracle, on the emulator: layer by layer, and as the nodes of whole graphs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.integer import lower
from export.integer.network import WIDE, Linear, UnitNorm
from export.integer.reference import oracle_backend
from glic_deploy import conformance
from glic_deploy.bundle import NATIVE, TENSORRT, Bundle

from .integer_kernels import (
    FULL_FFN,
    FULL_LINEAR,
    MAPS,
    ORACLE,
    SIZES,
    KernelBackend,
    bundle_graphs,
    check_depthwise,
    check_gated_ffn,
    check_linear,
    compute,
    integers,
    layer,
    on_emulator,
    reversed_on_emulator,
    run_gated_ffn,
    run_linear,
)
from .integer_networks import LATENT, NARROW, RandomNetworks
from .test_integer import assert_equal, decode, random_z

pytestmark = pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake to build the emulator")


@pytest.mark.parametrize("size", SIZES)
def test_linear_equals_the_oracle(size: tuple[int, int, int]) -> None:
    check_linear(*size)


@pytest.mark.parametrize("size", SIZES)
def test_gated_ffn_equals_the_oracle(size: tuple[int, int, int]) -> None:
    check_gated_ffn(*size)


@pytest.mark.slow
@pytest.mark.parametrize("size", FULL_LINEAR)
def test_linear_of_the_released_size_equals_the_oracle(size: tuple[int, int, int]) -> None:
    check_linear(*size)


@pytest.mark.slow
@pytest.mark.parametrize("size", FULL_FFN)
def test_gated_ffn_of_the_released_size_equals_the_oracle(size: tuple[int, int, int]) -> None:
    check_gated_ffn(*size)


def test_no_order_of_threads_changes_a_bit() -> None:
    check_linear(70, 130, 66, reversed_on_emulator)
    check_gated_ffn(70, 66, 130, reversed_on_emulator)


@pytest.mark.parametrize("shape", MAPS)
def test_depthwise_equals_the_oracle(shape: tuple[int, int, int]) -> None:
    check_depthwise(*shape)


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_sums_are_exact(sign: int) -> None:
    """All factors as large as the op takes, and sums just below 2^31: both bytes of each factor count."""
    inputs = 2**31 // (127 * 32767)
    x = np.full((3, inputs), 32767) * np.array([[1], [-1], [sign]])
    weight = np.full((inputs, 9), 127 * sign)
    linear = Linear(weight, np.zeros(9, int), np.full(9, 8), WIDE, 32767)
    assert 2**30 < np.abs(x @ weight).max() < 2**31
    np.testing.assert_array_equal(run_linear(x, linear), ORACLE.linear(x, linear))


def test_sums_beyond_32_bits_wrap_around() -> None:
    """As on the CPU: the contract of the op also where the exporter would refuse the weights."""
    x = integers(np.random.default_rng(0), 32767, 5, 3000)
    linear = Linear(np.full((3000, 6), 127), np.full(6, 2**30), np.zeros(6, int), WIDE, 32767)
    x[0] = 32767
    sums = x @ linear.weight + linear.bias
    assert np.abs(sums).max() > 2**33
    wrapped = (sums + 2**31) % 2**32 - 2**31
    np.testing.assert_array_equal(run_linear(x, linear), np.clip(wrapped, -WIDE, WIDE))


def test_values_that_are_no_integers_in_range_count_as_the_nearest() -> None:
    values = np.array([[np.nan, np.inf, -np.inf, 1e9, -1e9, 2.75, -2.75]], np.float32)
    linear = Linear(np.eye(7, dtype=np.int64), np.zeros(7, int), np.zeros(7, int), WIDE, 32767)
    got = compute("IntegerLinear", [values, *layer(linear)], [linear.limit])
    np.testing.assert_array_equal(got, [[-32767, 32767, -32767, 32767, -32767, 2, -2]])


@pytest.mark.parametrize("kind", ["zero", "flat", "largest", "one large"])
def test_norms_of_extreme_streams(kind: str) -> None:
    stream = {
        "zero": np.zeros((2, 96), np.int64),
        "flat": np.full((2, 96), 12345),
        "largest": np.where(np.arange(192).reshape(2, 96) % 2, WIDE, -WIDE),
        "one large": np.eye(2, 96, dtype=np.int64) * WIDE,
    }[kind]
    ffn = RandomNetworks(3).ffn(96, 40)
    ffn = replace(ffn, norm=UnitNorm(10, np.full(96, 11), LATENT))
    np.testing.assert_array_equal(run_gated_ffn(stream, ffn), ORACLE.gated_ffn(stream, ffn))


def test_the_widest_norm_equals_the_oracle() -> None:
    check_gated_ffn(1, 1024, 5)


def test_an_empty_map_needs_no_launch() -> None:
    linear = RandomNetworks(0).linear(6, 5, NARROW, NARROW, 4)
    assert compute("IntegerLinear", [np.zeros((0, 6), np.float32), *layer(linear)], [NARROW]).size == 0


def test_a_map_of_too_many_values_is_refused() -> None:
    with pytest.raises(RuntimeError, match="on the emulator: 11"):
        on_emulator("integer_depthwise", (2**20, 2**12, 0, NARROW), [np.zeros(0, np.float32)])


def test_whole_graphs_equal_the_oracle() -> None:
    """Of a network whose sums, clamps and shifts reach further than trained ones do."""
    network = RandomNetworks(5).network()
    z = random_z(network)
    kernels = KernelBackend((graph.name, graph.model) for graph in lower(network, NATIVE))
    assert_equal(decode(network, kernels, z), decode(network, oracle_backend(network), z))


@pytest.mark.slow
def test_the_sample_network_passes_its_conformance_vectors(gpu_engine: Path) -> None:
    """Natural latents and largest ones, through every graph from which TensorRT's plans are built."""
    bundle = Bundle.open(gpu_engine)
    assert conformance.check(bundle, KernelBackend(bundle_graphs(bundle, TENSORRT))) > 10_000
