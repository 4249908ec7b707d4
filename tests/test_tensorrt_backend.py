"""The TensorRT backend's host side, on a simulated GPU: shapes, memory, order of work, plans, errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import glic_deploy.backends.tensorrt as backend_module
from benchmarks.compare import compare
from glic_deploy import Codec, EngineError
from glic_deploy.backends import open_backend
from glic_deploy.backends.tensorrt import TensorRTBackend
from glic_deploy.bundle import Bundle
from glic_deploy.image import load_image
from glic_deploy.tensorrt import Profile

from .conftest import PHOTOS
from .tensorrt_simulation import SimulatedDevice, SimulatedTensorRT


@pytest.fixture
def simulation(gpu_engine: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatedTensorRT:
    device = SimulatedDevice()
    simulation = SimulatedTensorRT(Bundle.open(gpu_engine), device, Profile(largest=(512, 768)))
    monkeypatch.setattr(backend_module, "build_plan", simulation.build_plan)
    return simulation


@pytest.fixture
def backend(simulation: SimulatedTensorRT) -> TensorRTBackend:
    return TensorRTBackend(simulation.bundle, simulation.device, simulation.flavour)


@pytest.fixture
def codec(gpu_engine: Path, backend: TensorRTBackend) -> Iterator[Codec]:
    with Codec(gpu_engine, backend=backend) as codec:
        yield codec


@pytest.fixture(scope="module")
def crop() -> np.ndarray:
    return load_image(PHOTOS / "kodim23.png")[100:300, 200:450]


pytestmark = pytest.mark.filterwarnings("ignore:.*building it now")


def test_files_decode_on_either_backend(codec: Codec, gpu_engine: Path, crop: np.ndarray) -> None:
    with Codec(gpu_engine, backend="onnxruntime") as cpu:
        on_gpu, on_cpu = codec.encode(crop), cpu.encode(crop)
        # Half precision decides quality alone: both read both, and hardly differ.
        for data in on_gpu, on_cpu:
            difference = codec.decode(data).astype(int) - cpu.decode(data)
            assert np.square(difference).mean() < 0.1
    assert abs(len(on_gpu) - len(on_cpu)) < 0.03 * len(on_cpu)


def test_every_graph_can_be_compared_with_the_cpu(
    backend: TensorRTBackend, simulation: SimulatedTensorRT, crop: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(simulation.bundle, backend, crop)
    lines = capsys.readouterr().out.splitlines()
    assert len({line.split()[0] for line in lines}) == len(simulation.bundle.graphs())
    assert sum(line.endswith("exact") for line in lines) == 1 + 5 * 3 + 5 * 2


def test_a_second_picture_of_a_size_allocates_nothing_and_launches_captured_graphs(
    codec: Codec, simulation: SimulatedTensorRT, crop: np.ndarray
) -> None:
    device = simulation.device
    first = codec.encode(crop)
    codec.encode(crop)
    device.calls.clear()
    assert codec.encode(crop) == first
    assert "allocate" not in device.calls
    assert device.calls.count("launch") == 13  # all graphs but the synthesis
    assert "execute" not in device.calls


def test_what_stays_on_the_gpu_is_not_sent_again(codec: Codec, simulation: SimulatedTensorRT, crop: np.ndarray) -> None:
    codec.encode(crop)
    simulation.device.calls.clear()
    codec.encode(crop)
    # y to the hyper analysis, hyper to five slices, support to five second passes
    assert simulation.device.calls.count("copy") == 11


def test_an_array_whose_memory_was_written_again_is_sent(backend: TensorRTBackend) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, 128, 128, 3), np.uint8)
    first = backend.run("analysis", {"image": pictures[0]})[0]
    alone = backend.run("hyper_analysis", {"y": first})[0]
    backend.run("analysis", {"image": pictures[1]})
    np.testing.assert_array_equal(backend.run("hyper_analysis", {"y": first})[0], alone)


def test_results_that_stay_on_the_gpu_cannot_be_written(backend: TensorRTBackend) -> None:
    y = backend.run("analysis", {"image": np.zeros((128, 128, 3), np.uint8)})[0]
    with pytest.raises(ValueError, match="read-only"):
        y[:] = 0


def test_memory_is_kept_for_few_sizes_and_freed_at_the_end(
    backend: TensorRTBackend, simulation: SimulatedTensorRT
) -> None:
    for columns in range(1, 7):
        backend.run("analysis", {"image": np.zeros((128, 128 * columns, 3), np.uint8)})
    assert len(simulation.device.memory) == 2 * backend_module._KEPT_SHAPES
    backend.close()
    assert not simulation.device.memory
    assert not simulation.device.pinned_arrays


def test_a_launch_that_cannot_be_captured_runs_as_it_is(
    backend: TensorRTBackend, simulation: SimulatedTensorRT
) -> None:
    simulation.refuses_capture = True
    image = np.full((128, 128, 3), 99, np.uint8)
    results = [backend.run("analysis", {"image": image})[0] for _ in range(3)]
    assert simulation.device.calls.count("execute") == 3
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_engines_are_loaded_once_and_when_they_are_needed(
    codec: Codec, simulation: SimulatedTensorRT, crop: np.ndarray
) -> None:
    assert "analysis" not in simulation.deserialized
    codec.encode(crop)
    codec.encode(crop)
    assert sorted(simulation.deserialized) == sorted(set(simulation.deserialized))


def test_a_picture_outside_the_profile_says_what_the_plan_takes(backend: TensorRTBackend) -> None:
    with pytest.raises(EngineError, match=r"image has shape .640, 128, 3., the plan takes .* --max-size"):
        backend.run("analysis", {"image": np.zeros((640, 128, 3), np.uint8)})


def test_building_a_plan_is_told(backend: TensorRTBackend) -> None:
    with pytest.warns(UserWarning, match=r"has no plan of analysis for simulated GPU .* building it now"):
        backend.run("analysis", {"image": np.zeros((128, 128, 3), np.uint8)})


def test_wrong_inputs_are_named(backend: TensorRTBackend) -> None:
    with pytest.raises(EngineError, match="takes image, got y"):
        backend.run("analysis", {"y": np.zeros((1, 64, 8, 8), np.float32)})


def test_a_plan_that_does_not_load_is_told(
    backend: TensorRTBackend, simulation: SimulatedTensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "deserialize_cuda_engine", lambda plan: None)
    with pytest.raises(EngineError, match="does not load its plan of analysis; build the plans again"):
        backend.run("analysis", {"image": np.zeros((128, 128, 3), np.uint8)})


def test_a_bundle_without_graphs_for_tensorrt_is_refused(engine: Path, simulation: SimulatedTensorRT) -> None:
    with pytest.raises(EngineError, match=r"has no variant tensorrt; add it: python -m export\.to_trt"):
        TensorRTBackend(Bundle.open(engine), simulation.device, simulation.flavour)


def test_without_a_gpu_it_says_what_to_use_instead(gpu_engine: Path) -> None:
    pytest.importorskip("cuda.bindings", reason="needs cuda-bindings: pip install cuda-bindings")
    from glic_deploy.backends.cuda import gpu_capability

    if gpu_capability() is not None:
        pytest.skip("needs a machine without an NVIDIA GPU")
    with pytest.raises(EngineError, match=r"no NVIDIA GPU.*backend='onnxruntime'"):
        open_backend(Bundle.open(gpu_engine), "tensorrt")
