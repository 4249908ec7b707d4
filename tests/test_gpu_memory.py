"""Device memory, waits and exactness of the GPU backends by shape, on a simulated GPU."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu_memory
from glic_deploy import Codec, EngineError, LimitError, Limits
from glic_deploy.backends import proof
from glic_deploy.backends.tensorrt import TensorRTBackend
from glic_deploy.bundle import FP16

from .tensorrt_simulation import SimulatedTensorRT

pytestmark = pytest.mark.usefixtures("empty_cache")


@pytest.fixture
def backend(simulation: SimulatedTensorRT) -> Iterator[TensorRTBackend]:
    backend = TensorRTBackend(simulation.bundle, simulation.device, simulation.flavour)
    yield backend
    backend.close()
    assert not simulation.device.memory
    assert not simulation.device.events


def image_of(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def test_all_graphs_share_scratch_memory_which_grows_with_the_image(
    backend: TensorRTBackend, simulation: SimulatedTensorRT
) -> None:
    device = simulation.device
    small, large = {"image": image_of(128, 128)}, {"image": image_of(256, 384)}
    y = backend.run("analysis", small)[0]
    tensors = small["image"].nbytes + y.nbytes
    scratch = simulation.scratch_of({"image": small["image"].shape})
    assert device.held() == tensors + scratch
    z = backend.run("hyper_analysis", {"y": y})[0]
    assert device.held() == tensors + y.nbytes + 2 * z.nbytes + scratch  # int32 on the device
    for _ in range(2):
        np.testing.assert_array_equal(backend.run("analysis", small)[0], y)
    captured = set(device.graphs)
    assert len(captured) == 1
    backend.run("analysis", large)
    for _ in range(3):  # what was captured with the old address is not replayed
        np.testing.assert_array_equal(backend.run("analysis", small)[0], y)
    assert len(device.graphs) == 1
    assert not captured & set(device.graphs)
    blocks = sorted(block.nbytes for block in device.memory.values())
    assert blocks.count(simulation.scratch_of({"image": large["image"].shape})) >= 1
    backend.trim()
    assert not device.memory
    assert not device.graphs
    np.testing.assert_array_equal(backend.run("analysis", small)[0], y)


def test_an_image_that_does_not_fit_is_tiled_or_refused_before_anything_is_allocated(
    gpu_engine: Path, backend: TensorRTBackend, simulation: SimulatedTensorRT
) -> None:
    image = image_of(500, 700)
    with Codec(gpu_engine, backend="onnxruntime") as cpu:
        whole = cpu.encode(image, tile=0)
    codec = Codec(gpu_engine, backend=backend)
    needed = backend._needed(512, 768)
    assert isinstance(needed, int)
    simulation.device.capacity = needed - 1
    simulation.device.calls.clear()
    for refused in (lambda: codec.encode(image, tile=0), lambda: codec.decode(whole)):
        with pytest.raises(LimitError, match=r"at once takes up to .* on simulated GPU, .* encode in tiles"):
            refused()
    assert "allocate" not in simulation.device.calls
    tiled = codec.encode(image)
    assert codec.decode(tiled).shape == image.shape
    simulation.device.capacity = needed
    assert len(codec.encode(image, tile=0)) < len(tiled)


def test_the_reckoned_memory_is_what_the_backend_needs(
    gpu_engine: Path, backend: TensorRTBackend, simulation: SimulatedTensorRT
) -> None:
    simulation.scratch_factor = 0
    bundle = simulation.bundle
    assert backend._needed(256, 384) == gpu_memory.tensors_between(bundle, 256, 384)
    image = {"image": (256, 384, 3)}
    peak = gpu_memory.peak_within(bundle.graph("analysis", [FP16]), image)
    stream = 128 * 192 * 24 * 2  # a map between the half-scale blocks, in float16: no wide map is in memory
    assert 2 * stream < peak < 6 * stream
    assert 3.9 < gpu_memory.peak_within(bundle.graph("analysis", [FP16]), {"image": (512, 768, 3)}) / peak < 4.1


def test_what_other_sizes_hold_counts_as_free(backend: TensorRTBackend, simulation: SimulatedTensorRT) -> None:
    backend.run("analysis", {"image": image_of(512, 512)})
    needed = backend._needed(512, 512)
    simulation.device.capacity = needed
    assert backend.refusal(512, 512) is None
    simulation.device.capacity = needed - 1
    assert backend.refusal(512, 512)


def test_scratch_memory_gives_way_too(backend: TensorRTBackend, simulation: SimulatedTensorRT) -> None:
    simulation.scratch_factor = 16
    backend.run("analysis", {"image": image_of(128, 256)})
    simulation.scratch_factor = 1
    simulation.device.capacity = simulation.device.held()
    backend.run("analysis", {"image": image_of(256, 384)})  # whose tensors alone are larger than those before


def test_an_image_beyond_the_plans_is_tiled(gpu_engine: Path, backend: TensorRTBackend) -> None:
    wide = image_of(100, 1000)
    with Codec(gpu_engine, backend=backend) as codec:
        assert codec.decode(codec.encode(wide)).shape == wide.shape
        with pytest.raises(LimitError, match=r"image has shape \(128, 1024, 3\), the plan accepts .* --max-size"):
            codec.encode(wide, tile=0)
        with pytest.raises(LimitError):
            Codec(gpu_engine, backend=backend, limits=Limits(max_memory=1)).encode(wide)


def test_nothing_waits_if_nothing_is_copied_to_the_host(
    backend: TensorRTBackend, simulation: SimulatedTensorRT
) -> None:
    backend.run("analysis", {"image": image_of(128, 128)})
    simulation.device.calls.clear()
    backend.start("analysis", {"image": image_of(128, 128)})
    assert not {"synchronize", "wait"} & set(simulation.device.calls)


def test_an_image_does_not_overwrite_one_that_is_being_sent(
    backend: TensorRTBackend, simulation: SimulatedTensorRT
) -> None:
    images = image_of(128, 128), image_of(128, 128)[::-1].copy()
    expected = [backend.run("analysis", {"image": image})[0] for image in images]
    started = [backend.start("analysis", {"image": image})[0] for image in images]  # without a wait for the first
    for value, want in zip(started, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(value), want)


def test_a_thread_that_waits_lets_others_start(backend: TensorRTBackend, simulation: SimulatedTensorRT) -> None:
    device = simulation.device
    y = backend.run("analysis", {"image": image_of(128, 128)})[0]
    expected = backend.run("hyper_analysis", {"y": y})[0]
    other = {"y": y[:, :, ::-1].copy()}
    finished = []

    def during_wait() -> None:
        device.during_wait = None
        thread = threading.Thread(target=lambda: finished.append(backend.run("hyper_analysis", other)[0]), daemon=True)
        thread.start()
        thread.join(60)

    device.during_wait = during_wait
    got = backend.run("hyper_analysis", {"y": y})[0]  # whose memory the other run takes before this one has read it
    assert len(finished) == 1, "the other thread did not get the device"
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(finished[0], backend.run("hyper_analysis", other)[0])


def test_memory_freed_during_a_wait_leaves_the_result_and_no_event(
    backend: TensorRTBackend, simulation: SimulatedTensorRT
) -> None:
    y = backend.run("analysis", {"image": image_of(128, 128)})[0]
    expected = backend.run("hyper_analysis", {"y": y})[0]

    def during_wait() -> None:
        simulation.device.during_wait = None
        thread = threading.Thread(target=backend.trim, daemon=True)
        thread.start()
        thread.join(60)
        assert not thread.is_alive()

    simulation.device.during_wait = during_wait
    np.testing.assert_array_equal(backend.run("hyper_analysis", {"y": y})[0], expected)
    assert not simulation.device.memory
    assert not simulation.device.events


def test_the_first_run_at_a_shape_is_compared_with_the_cpu(
    backend: TensorRTBackend, simulation: SimulatedTensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    hyper = simulation.bundle.hyper
    z = [np.random.default_rng(0).integers(-5, 6, (1, hyper, 2, 2 * n)).astype(np.int16) for n in (1, 2)]
    simulation.wrong = "hyper_synthesis", z[1].shape  # a kernel that is chosen for this shape alone
    backend.start("hyper_synthesis", {"z_symbols": z[0]})
    for run in (backend.start, backend.run):
        with pytest.raises(EngineError, match=r"not compute the entropy path exactly: 1 of .* of hyper_synthesis at"):
            run("hyper_synthesis", {"z_symbols": z[1]})
    simulation.wrong = None
    backend.start("hyper_synthesis", {"z_symbols": z[1]})

    def refuse(self: proof.Proof) -> None:
        raise AssertionError("compared again")

    monkeypatch.setattr(proof.Proof, "_reference", refuse)
    again = TensorRTBackend(simulation.bundle, simulation.device, simulation.flavour)
    for backend_of_either in (backend, again):
        for symbols in z:
            backend_of_either.start("hyper_synthesis", {"z_symbols": symbols})
    again.close()
    simulation.device.driver = "another"
    updated = TensorRTBackend(simulation.bundle, simulation.device, simulation.flavour)
    with pytest.raises(AssertionError, match="compared again"):
        updated.start("hyper_synthesis", {"z_symbols": z[0]})
    updated.close()
    backend.run("analysis", {"image": image_of(128, 128)})  # a transform is not compared
    backend.trim()
