"""Whole encodes as one CUDA graph, on the simulated GPU: the same files, one launch, and what forgets the graph."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from glic_deploy import Codec
from glic_deploy.backends.device_runs import KEPT_SHAPES, DeviceRunner
from glic_deploy.backends.device_sequences import RUNS_BEFORE
from glic_deploy.backends.tensorrt import TensorRTBackend
from glic_deploy.bundle import Bundle
from glic_deploy.image import load_image
from glic_deploy.values import Value

from .conftest import PHOTOS
from .tensorrt_simulation import SimulatedDevice, SimulatedTensorRT, simulated
from .test_cuda_arrays import OnGpu, freed

pytestmark = pytest.mark.usefixtures("empty_cache")

ONE_REPLAY = {"launch": 1, "wait": 1}


@pytest.fixture
def backend(simulation: SimulatedTensorRT) -> TensorRTBackend:
    return TensorRTBackend(simulation.bundle, simulation.device, simulation.flavour)


@pytest.fixture
def codec(gpu_engine: Path, backend: TensorRTBackend) -> Iterator[Codec]:
    with Codec(gpu_engine, backend=backend) as codec:
        yield codec


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    photo = load_image(PHOTOS / "kodim23.png")
    return [photo[row : row + 128, 200:400] for row in (0, 100, 200, 300)]


@pytest.fixture
def files(gpu_engine: Path, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The files of a codec that records nothing."""
    other = simulated(gpu_engine, monkeypatch)
    backend = TensorRTBackend(other.bundle, other.device, other.flavour)
    monkeypatch.setattr("glic_deploy.backends.device_sequences.RUNS_BEFORE", 1 << 30)
    with Codec(gpu_engine, backend=backend) as plain:
        coded = [plain.encode(picture) for picture in pictures]
        assert "whole" in plain.describe()["backend"]["cuda_graphs"]
        assert other.device.calls.count("launch") > len(pictures)
    monkeypatch.setattr("glic_deploy.backends.device_sequences.RUNS_BEFORE", RUNS_BEFORE)
    return coded


def work_of(device: SimulatedDevice, function: Callable[[], object]) -> dict[str, int]:
    """What a function puts on the stream, and how often it waits."""
    device.calls.clear()
    function()
    return {call: device.calls.count(call) for call in device.calls if call != "record"}


def test_an_encode_is_one_launch_and_one_wait(
    codec: Codec, simulation: SimulatedTensorRT, pictures: list[np.ndarray], files: list[bytes]
) -> None:
    assert [codec.encode(picture) for picture in pictures] == files  # the last two are replays
    for picture, data in zip(pictures, files, strict=True):
        assert work_of(simulation.device, functools.partial(codec.encode, picture)) == ONE_REPLAY
        assert codec.encode(picture) == data
        np.testing.assert_array_equal(codec.decode(data), codec.decode(data))
    assert codec.describe()["backend"]["cuda_graphs"] == "of all; one for a whole encode"


def test_decodes_and_two_sizes_in_turns_disturb_nothing(
    codec: Codec, simulation: SimulatedTensorRT, pictures: list[np.ndarray], files: list[bytes]
) -> None:
    sizes = [picture[:, :100] for picture in pictures]
    small = [codec.encode(picture) for picture in sizes]  # before the larger size moves the scratch memory
    decoded = [codec.decode(data) for data in files]
    for _ in range(3):
        for number in range(len(pictures)):
            assert codec.encode(pictures[number]) == files[number]
            assert codec.encode(sizes[number]) == small[number]
            np.testing.assert_array_equal(codec.decode(files[number]), decoded[number])
    assert work_of(simulation.device, lambda: codec.encode(sizes[0])) == ONE_REPLAY
    assert work_of(simulation.device, lambda: codec.encode(pictures[0])) == ONE_REPLAY


def test_freed_memory_forgets_what_used_it(
    codec: Codec,
    backend: TensorRTBackend,
    simulation: SimulatedTensorRT,
    pictures: list[np.ndarray],
    files: list[bytes],
) -> None:
    device = simulation.device

    def trim() -> None:
        backend.trim()
        assert not device.graphs

    def evict() -> None:
        wide = np.tile(pictures[0], (1, 4, 1))
        for columns in (1, *range(3, KEPT_SHAPES + 2)):  # a picture has two columns of padded pixels
            codec.encode(wide[:, : 128 * columns])

    for forget in (trim, evict):
        for _ in range(RUNS_BEFORE + 1):
            codec.encode(pictures[0])
        assert work_of(device, lambda: codec.encode(pictures[0])) == ONE_REPLAY
        forget()
        assert work_of(device, lambda: codec.encode(pictures[0])) != ONE_REPLAY
        for picture, data in zip(pictures, files, strict=True):
            assert codec.encode(picture) == data
    codec.close()
    for what in (device.memory, device.pinned_arrays, device.graphs, device.events):
        assert not what


def test_a_capture_that_fails_is_said_once_and_changes_no_file(
    codec: Codec,
    backend: TensorRTBackend,
    simulation: SimulatedTensorRT,
    pictures: list[np.ndarray],
    files: list[bytes],
) -> None:
    simulation.refuses_capture = True
    for _ in range(2):
        assert [codec.encode(picture) for picture in pictures] == files
    assert not simulation.device.capturing
    assert len([notice for notice in backend.notices if "of a whole encode cannot be captured" in notice]) == 1
    assert "whole" not in backend.describe()["cuda_graphs"]


def test_images_are_coded_at_the_same_time(
    codec: Codec, simulation: SimulatedTensorRT, pictures: list[np.ndarray], files: list[bytes]
) -> None:
    for _ in range(RUNS_BEFORE + 1):
        codec.encode(pictures[0])
    decoded = [codec.decode(data) for data in files]
    with ThreadPoolExecutor(4) as threads:
        coded = threads.map(codec.encode, 3 * pictures)
        again = threads.map(codec.decode, files)
        assert list(coded) == 3 * files
        for got, want in zip(again, decoded, strict=True):
            np.testing.assert_array_equal(got, want)
    assert codec.encode(pictures[0]) == files[0]


def test_an_image_on_the_gpu_is_one_kernel_and_one_launch(
    codec: Codec, simulation: SimulatedTensorRT, pictures: list[np.ndarray], files: list[bytes]
) -> None:
    device = simulation.device
    arrays = [OnGpu(device, picture) for picture in pictures]
    for array, data in zip(2 * arrays, 2 * files, strict=True):
        assert codec.encode(array) == data
    done = work_of(device, lambda: codec.encode(arrays[0]))
    assert done == ONE_REPLAY | {"glic_image_place_cuda": 1}
    for picture, data in zip(pictures, files, strict=True):
        assert codec.encode(picture) == data
    freed(device, *arrays)


@pytest.mark.parametrize("wrong", ["waits", "sends", "allocates"])
def test_work_that_cannot_be_replayed_is_refused(wrong: str, engine: Path) -> None:
    device = SimulatedDevice()
    never = mock.Mock(spec_set=())
    runner = DeviceRunner(device, Bundle.open(engine), never, never)
    reasons: list[str] = []
    calls = iter(range(9))

    def work(value: Value) -> list[Value]:
        number = next(calls)
        sent = runner.send("input", np.asarray(value))
        if wrong == "waits":
            np.asarray(sent)
        elif wrong == "sends":
            runner.send("other", np.full(3, number))
        elif number == RUNS_BEFORE:
            runner.send("new", np.zeros(5))
        return [sent]

    for number in range(RUNS_BEFORE + 1):
        value = np.full(4, number)
        np.testing.assert_array_equal(runner.recorded("work", work, value, reasons.append)[0], value)
    expected = {"waits": "the host waits", "sends": "other arrays", "allocates": "new allocates memory"}
    assert [expected[wrong] in reason for reason in reasons] == [True]
    assert not device.capturing
    runner.trim()
    for what in (device.memory, device.pinned_arrays, device.graphs, device.events):
        assert not what
