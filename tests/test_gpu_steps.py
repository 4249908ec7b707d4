"""The steps between the graphs of the entropy path on a GPU: the kernels equal NumPy, and the host waits once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from glic_deploy import PluginError, native
from glic_deploy.backends import Backend
from glic_deploy.backends.cuda import CudaDevice, Device, gpu_capability
from glic_deploy.backends.device_runs import DeviceRunner
from glic_deploy.backends.device_steps import DeviceSteps
from glic_deploy.backends.tensorrt import TensorRTBackend
from glic_deploy.bundle import Bundle
from glic_deploy.bundle_codec import BundleCodec
from glic_deploy.entropy.passes import HostSteps, Pass
from glic_deploy.entropy.quantizer import (
    COST_UNIT,
    DETAIL_SHARE,
    LEVELS,
    MAX_STRENGTH,
    NEAREST,
    Costs,
    Quantizer,
    Weighing,
)
from glic_deploy.image import load_image

from . import cuda_emulator
from .conftest import PHOTOS
from .tensorrt_simulation import SimulatedDevice, counted, simulated

pytestmark = [
    pytest.mark.usefixtures("empty_cache"),
    pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake to build the emulator"),
]

C, H, W = 3, 6, 8
IN_BOTH_ORDERS = pytest.mark.parametrize("reverse", [False, True])
PARITIES = pytest.mark.parametrize("parity", [0, 1])


@pytest.fixture(scope="module")
def costs(engine: Path) -> Costs:
    return Costs(Bundle.open(engine).tables())


def padded(table: np.ndarray) -> np.ndarray:
    rows = np.zeros((256, *table.shape[1:]), table.dtype)
    rows[: len(table)] = table
    return rows


@PARITIES
@IN_BOTH_ORDERS
def test_symbols_and_means_are_placed_like_on_the_host(parity: int, reverse: bool) -> None:
    rng = np.random.default_rng(parity)
    symbols = rng.integers(-2047, 2048, (1, C, H, W // 2)).astype(np.int16)
    means = rng.normal(0, 100, symbols.shape).astype(np.float32)
    others = rng.normal(0, 9, (1, C, H, W)).astype(np.float32) if parity else None
    want = HostSteps(C, H, W).place(Pass(0, 0, C, parity), symbols, means, others)
    arrays = [symbols, means] + ([] if others is None else [others])
    got = cuda_emulator.run("pass_place", (C, H, W, parity, parity), arrays, reverse=reverse)
    np.testing.assert_array_equal(np.frombuffer(got, np.float32).reshape(1, C, H, W), want)


@PARITIES
@IN_BOTH_ORDERS
@pytest.mark.parametrize("weighing", [NEAREST, Weighing(0.3), Weighing(0.3, (0.7, 0.4)), Weighing(1.9, (0.01, 0.01))])
def test_symbols_are_chosen_like_on_the_host(parity: int, reverse: bool, weighing: Weighing, costs: Costs) -> None:
    rng = np.random.default_rng(10 + parity)
    y, means = rng.laplace(0, 3, (1, C, H, W)), rng.laplace(0, 2, (1, C, H, W // 2))
    y.flat[:6] = 5000, -5000, 2.5, -2.5, 70, 0.5
    y, means = (np.round(values * 64).astype(np.float32) / 64 for values in (y, means))  # with ties
    indexes = rng.integers(0, len(costs.gains), means.shape).astype(np.uint8)
    weights = rng.uniform(0.25, 4, (H, W)).astype(np.float32)
    weighs = weighing.strength > 0
    host, device = (Quantizer(costs, weighing, weights) for _ in range(2))
    steps = HostSteps(C, H, W)
    expected = 0
    for number in range(parity + 1):  # the second pass adds its expected bits to those of the first
        part = Pass(0, 0, C, number)
        want = steps.quantize(part, y, means, indexes, host if weighs else None)
        usual = device.usual_units(indexes.size)
        sent = [indexes, padded(costs.expected), np.array([expected], np.uint64)]
        (expected,) = np.frombuffer(
            cuda_emulator.run("pass_expect", (C, H, W, number), sent, reverse=reverse), np.uint64
        )
        assert expected == (number + 1) * costs.expected_units(indexes)
    scalars = np.array([weighing.strength, usual, MAX_STRENGTH])
    tables = [padded(costs.gains) if weighs else np.zeros(0), np.array([expected], np.uint64), weights, scalars]
    arrays = [y, means, indexes, *tables, np.array([DETAIL_SHARE], np.float32)]
    numbers = (C, H, W, parity, LEVELS if weighs else 0)
    got = np.frombuffer(cuda_emulator.run("pass_quantize", numbers, arrays, reverse=reverse), np.int16)
    np.testing.assert_array_equal(got.reshape(want.shape), want)
    assert np.abs(got).max() == 2047


def simulated_device() -> Device:
    return SimulatedDevice()


def real_device() -> Device:
    if gpu_capability() is None:
        pytest.skip("needs an NVIDIA GPU and cuda-bindings")
    try:
        native.library_path("glic_cuda")
    except PluginError as error:
        pytest.skip(f"needs the CUDA kernels: {error}; make gpu-libraries")
    return CudaDevice()


@pytest.mark.parametrize(
    "open_device", [simulated_device, pytest.param(real_device, marks=pytest.mark.gpu)], ids=["simulated", "on_a_gpu"]
)
@pytest.mark.parametrize("sides", [(3, 2, 2), (64, 32, 48)], ids=["smallest", "usual"])
def test_two_passes_of_a_slice_equal_those_of_the_host(
    open_device: Callable[[], Device], sides: tuple[int, int, int], engine: Path, costs: Costs
) -> None:
    device, bundle = open_device(), Bundle.open(engine)
    never = mock.Mock(spec_set=())
    runner = DeviceRunner(device, bundle, never, never)
    channels, height, width = sides
    rng = np.random.default_rng(3)
    y = rng.laplace(0, 3, (1, channels, height, width)).astype(np.float32)
    weights = rng.uniform(0.25, 4, (height, width)).astype(np.float32)
    weighing = Weighing(0.4, (0.7, 1.3))
    results = []
    for steps in (HostSteps(*sides), DeviceSteps(runner, device, *sides)):
        rng = np.random.default_rng(4)
        quantizer, anchors, found = Quantizer(costs, weighing, weights), None, []
        for parity in (0, 1):
            part = Pass(0, 0, channels, parity)
            means = rng.laplace(0, 2, (1, channels, height, width // 2)).astype(np.float32)
            indexes = rng.integers(0, len(costs.gains), means.shape).astype(np.uint8)
            symbols = steps.quantize(part, y, means, indexes, quantizer)
            anchors = steps.place(part, symbols, means, anchors)
            found.append(symbols)
        results.append([np.asarray(value) for value in (*found, steps.first(channels))])
    for on_host, on_device in zip(*results, strict=True):
        np.testing.assert_array_equal(on_device, on_host)
    runner.trim()


def test_expected_bits_are_whole_units(costs: Costs) -> None:
    indexes = np.arange(len(costs.expected), dtype=np.uint8)
    assert costs.expected_bits(indexes) * indexes.size / COST_UNIT == costs.expected.sum()


@pytest.mark.parametrize("weighing", [NEAREST, Weighing(0.4), Weighing(0.4, tuple(np.linspace(0.2, 2, 10)))])
def test_an_image_is_coded_like_with_steps_on_the_host(
    gpu_engine: Path, weighing: Weighing, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnHost(TensorRTBackend):
        start, steps, recorded = Backend.start, Backend.steps, Backend.recorded

    image = load_image(PHOTOS / "kodim23.png")[128:256, 256:512]
    coded = []
    for backend in (TensorRTBackend, OnHost):
        simulation = simulated(gpu_engine, monkeypatch)
        codec = BundleCodec(gpu_engine, backend=backend(simulation.bundle, simulation.device, simulation.flavour))
        latents = codec.analyse(image)
        result = codec.code(latents, weighing=weighing)
        coded.append((result.payload, np.asarray(result.y_hat), np.asarray(latents.y)))
        assert codec.code(latents, weighing=weighing).payload == result.payload  # from latents on the host too
        decoded = codec.decode(result.payload, result.checksum, *image.shape[:2])
        np.testing.assert_array_equal(decoded, codec.reconstruct(result.y_hat, *image.shape[:2]))
        codec.close()
        assert not simulation.device.memory
        assert not simulation.device.events
    (payload, *arrays), (their_payload, *their_arrays) = coded
    assert payload == their_payload
    for array, theirs in zip(arrays, their_arrays, strict=True):
        np.testing.assert_array_equal(array, theirs)


def test_an_encoder_waits_once_and_a_decoder_once_a_pass(gpu_engine: Path) -> None:
    assert counted(gpu_engine) == {"decode_waits_per_pass": 1, "encode_synchronisations": 1, "encode_launches": 1}
