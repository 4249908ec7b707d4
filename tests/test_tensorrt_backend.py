"""The TensorRT backend's host side, on a simulated GPU: shapes, memory, order of work, plans, errors."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from export.tensorrt_bundle import add_plans
from glic_deploy import Codec, EngineError, cache
from glic_deploy.backends import Backend, open_backend
from glic_deploy.backends.device_runs import KEPT_SHAPES
from glic_deploy.backends.tensorrt import TensorRTBackend
from glic_deploy.bundle import Bundle
from glic_deploy.image import load_image
from glic_deploy.tensorrt import BuildOptions

from .conftest import PHOTOS
from .tensorrt_simulation import SimulatedTensorRT

pytestmark = pytest.mark.usefixtures("empty_cache")


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


def test_files_decode_on_either_backend(codec: Codec, gpu_engine: Path, crop: np.ndarray) -> None:
    with Codec(gpu_engine, backend="onnxruntime") as cpu:
        on_gpu, on_cpu = codec.encode(crop), cpu.encode(crop)
        # Half precision decides quality alone: both read both, and hardly differ.
        for data in on_gpu, on_cpu:
            difference = codec.decode(data).astype(int) - cpu.decode(data)
            assert np.square(difference).mean() < 0.1
    assert abs(len(on_gpu) - len(on_cpu)) < 0.03 * len(on_cpu)


def test_every_graph_can_be_compared_with_the_cpu(
    backend: TensorRTBackend, simulation: SimulatedTensorRT, crop: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("polygraphy", reason="needs Polygraphy: pip install 'glic-deploy[polygraphy]'")
    from polygraphy import config

    from export.compare import compare
    from export.comparison import runners

    from .simulated_trt_runner import SimulatedTrtRunner

    monkeypatch.setattr("polygraphy.backend.trt.TrtRunner", SimulatedTrtRunner)
    monkeypatch.setattr(config, "USE_TENSORRT_RTX", True)
    monkeypatch.setattr(runners, "require_cuda_runtime", lambda: None)
    bundle = simulation.bundle
    on_the_cpu, _ = runners.open_all(bundle, 1, ["base", "tensorrt-graph"])
    on_the_gpu = [runners.of_backend(backend, bundle, "tensorrt"), runners.of_plans(backend)]
    outcomes = compare(bundle, [crop[:128, :128]], [*on_the_cpu, *on_the_gpu])
    assert not config.USE_TENSORRT_RTX  # the simulated flavour
    assert all(outcome.right for outcome in outcomes), outcomes
    for name in ("tensorrt-graph", "tensorrt", "tensorrt-plan"):
        found = {outcome.graph: outcome.differences for outcome in outcomes if outcome.runner == name}
        assert set(found) == set(bundle.graphs())
        entropy = [found[graph] for graph in found if graph.startswith(("slice", "hyper_synthesis"))]
        largest = [difference.largest for differences in entropy for difference in differences.values()]
        assert largest == [0] * (1 + 5 * 3 + 5 * 2)
    assert sorted(simulation.deserialized) == sorted(bundle.graphs())


def test_a_second_picture_of_a_size_allocates_nothing_and_launches_captured_graphs(
    codec: Codec, simulation: SimulatedTensorRT, crop: np.ndarray
) -> None:
    device = simulation.device
    first = codec.encode(crop)
    codec.encode(crop)
    device.calls.clear()
    assert codec.encode(crop) == first
    assert "allocate" not in device.calls
    assert device.calls.count("launch") == 1
    assert "execute" not in device.calls
    device.calls.clear()
    codec.decode(first)
    codec.decode(first)
    device.calls.clear()
    codec.decode(first)
    assert device.calls.count("launch") == 12  # the graphs of the entropy path and the synthesis
    assert "execute" not in device.calls


def test_what_stays_on_the_gpu_neither_comes_down_nor_is_sent_again(
    codec: Codec, simulation: SimulatedTensorRT, crop: np.ndarray
) -> None:
    codec.encode(crop)
    simulation.device.calls.clear()
    data = codec.encode(crop)
    # y and z to the next graph, hyper to five slices, support and anchors to five second passes, y_hat to four slices
    assert simulation.device.calls.count("copy") == 2 + 5 + 2 * 5 + 4
    assert simulation.device.calls.count("upload") == 1  # the picture
    assert simulation.device.calls.count("download") == 21  # z, and the symbols and indexes of ten passes
    simulation.device.calls.clear()
    codec.decode(data)
    assert simulation.device.calls.count("copy") == 5 + 2 * 5 + 5
    assert simulation.device.calls.count("upload") == 11  # the symbols of z and of ten passes
    assert simulation.device.calls.count("download") == 11  # the indexes of ten passes, and the picture


def test_of_the_latents_only_the_symbols_are_sent(
    codec: Codec, simulation: SimulatedTensorRT, crop: np.ndarray
) -> None:
    data = codec.encode(crop)
    simulation.device.uploaded = 0
    codec.decode(data)
    symbols = 2 * 256 * 256 // 16**2 * simulation.bundle.latent
    z = 4 * 256 * 256 // 64**2 * simulation.bundle.hyper  # the plan takes int32
    assert simulation.device.uploaded == symbols + z


def test_nothing_waits_before_a_result_is_asked_for(backend: TensorRTBackend, simulation: SimulatedTensorRT) -> None:
    device = simulation.device
    z_symbols = np.ones((1, simulation.bundle.hyper, 2, 2), np.int16)
    for _ in range(2):  # the first run is compared with the CPU, from arrays on the host
        hyper = backend.start("hyper_synthesis", {"z_symbols": z_symbols})[0]
    for _ in range(2):
        plain = backend.run("slice0_anchors", {"hyper": np.asarray(hyper)})
    device.calls.clear()
    indexes, means, support = backend.start("slice0_anchors", {"hyper": hyper})
    assert device.calls == ["copy", "launch", "download", "record"]
    np.testing.assert_array_equal(np.asarray(indexes), plain[0])
    assert device.calls[4:] == ["wait"]
    assert not device.queue
    device.calls.clear()
    for value, expected in ((means, plain[1]), (support, plain[2])):
        np.testing.assert_array_equal(np.asarray(value), expected)
    assert device.calls == 2 * ["download", "record", "wait"]


def test_waiting_late_changes_nothing(
    gpu_engine: Path, codec: Codec, simulation: SimulatedTensorRT, crop: np.ndarray
) -> None:
    class AllAtOnce(TensorRTBackend):
        start, steps, recorded = Backend.start, Backend.steps, Backend.recorded

    all_at_once = AllAtOnce(simulation.bundle, simulation.device, simulation.flavour)
    with Codec(gpu_engine, backend=all_at_once) as plain:
        data = plain.encode(crop)
        assert codec.encode(crop) == data
        np.testing.assert_array_equal(codec.decode(data), plain.decode(data))


def test_pictures_of_one_size_coded_at_the_same_time(codec: Codec, crop: np.ndarray) -> None:
    pictures = [crop, crop[::-1], crop[:, ::-1]]
    alone = [codec.encode(picture) for picture in pictures]
    decoded = [codec.decode(data) for data in alone]
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(codec.encode, pictures)) == alone
        for got, want in zip(threads.map(codec.decode, alone), decoded, strict=True):
            np.testing.assert_array_equal(got, want)


def test_what_was_not_read_survives_the_next_run(backend: TensorRTBackend) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, 128, 128, 3), np.uint8)
    plain = backend.run("analysis", {"image": pictures[0]})[0]
    first = backend.start("analysis", {"image": pictures[0]})[0]
    alone = backend.run("hyper_analysis", {"y": plain})[0]
    second = backend.start("analysis", {"image": pictures[1]})[0]
    np.testing.assert_array_equal(backend.start("hyper_analysis", {"y": first})[0], alone)
    np.testing.assert_array_equal(first, plain)
    backend.close()
    assert not np.array_equal(second, plain)  # nor are they lost with the backend


def test_results_that_stay_on_the_gpu_cannot_be_written(backend: TensorRTBackend) -> None:
    image = np.zeros((128, 128, 3), np.uint8)
    y = np.asarray(backend.start("analysis", {"image": image})[0])
    with pytest.raises(ValueError, match="read-only"):
        y[:] = 0
    backend.run("analysis", {"image": image})[0][:] = 0


def test_a_run_that_fails_leaves_nothing_under_way(
    codec: Codec, simulation: SimulatedTensorRT, crop: np.ndarray
) -> None:
    simulation.refuses_capture = True  # what is captured runs without being asked
    first = codec.encode(crop)
    codec.encode(crop)
    for graph in ("slice1_nonanchors", "slice3_anchors", "hyper_synthesis"):
        simulation.fails_once = graph
        with pytest.raises(EngineError, match=rf"cannot run {graph} on simulated GPU"):
            codec.encode(crop)
        assert not simulation.device.queue
        assert codec.encode(crop) == first


def test_memory_is_kept_for_few_sizes_and_freed_at_the_end(
    backend: TensorRTBackend, simulation: SimulatedTensorRT
) -> None:
    device = simulation.device
    for columns in range(1, 7):
        for _ in range(2):
            backend.run("analysis", {"image": np.zeros((128, 128 * columns, 3), np.uint8)})
    assert len(device.memory) == 2 * KEPT_SHAPES + 1  # one block of scratch memory for all of them
    assert len(device.graphs) == KEPT_SHAPES
    backend.close()
    for what in (device.memory, device.pinned_arrays, device.graphs, device.events):
        assert not what


def test_a_map_that_graphs_share_is_freed_with_the_last_of_them(
    codec: Codec, backend: TensorRTBackend, simulation: SimulatedTensorRT, crop: np.ndarray
) -> None:
    for columns in range(1, KEPT_SHAPES + 3):
        codec.decode(codec.encode(crop[:100, : 40 * columns]))
    backend.close()
    assert not simulation.device.memory


def test_memory_that_cannot_be_had_leaves_no_other_behind(
    backend: TensorRTBackend, simulation: SimulatedTensorRT
) -> None:
    simulation.device.capacity = 128 * 128 * 3  # the picture, and no room for y
    with pytest.raises(EngineError, match="code smaller images"):
        backend.run("analysis", {"image": np.zeros((128, 128, 3), np.uint8)})
    assert not simulation.device.memory


def test_what_other_sizes_keep_gives_way_to_a_larger_picture(
    codec: Codec, backend: TensorRTBackend, simulation: SimulatedTensorRT, crop: np.ndarray
) -> None:
    data = codec.encode(crop)
    decoded = codec.decode(data)
    simulation.device.capacity = backend._needed(256, 512)  # and nothing beside it
    wide = np.tile(crop, (1, 2, 1))
    allocated = simulation.device.calls.count("allocate")
    assert codec.decode(codec.encode(wide, tile=0)).shape == wide.shape
    assert simulation.device.calls.count("allocate") > allocated
    np.testing.assert_array_equal(codec.decode(data), decoded)
    assert codec.encode(crop) == data


def test_a_launch_that_cannot_be_captured_runs_as_it_is(
    backend: TensorRTBackend, simulation: SimulatedTensorRT
) -> None:
    simulation.refuses_capture = True
    image = np.full((128, 128, 3), 99, np.uint8)
    results = [backend.run("analysis", {"image": image})[0] for _ in range(3)]
    assert any("the launch of analysis cannot be captured as a CUDA graph" in notice for notice in backend.notices)
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
    with pytest.raises(EngineError, match=r"image has shape .640, 128, 3., the plan accepts .* --max-size"):
        backend.run("analysis", {"image": np.zeros((640, 128, 3), np.uint8)})


def test_building_plans_is_told_once(backend: TensorRTBackend, simulation: SimulatedTensorRT) -> None:
    y = backend.run("analysis", {"image": np.zeros((128, 128, 3), np.uint8)})[0]
    backend.run("hyper_analysis", {"y": y})
    (notice,) = backend.notices
    assert "has no plans for simulated GPU" in notice
    assert "built at first use" in notice
    assert "python -m export.to_trt --engine" in notice
    assert simulation.built == ["analysis", "hyper_analysis"]


def test_a_plan_that_was_built_is_kept_in_the_cache(
    simulation: SimulatedTensorRT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLIC_CACHE", str(tmp_path))
    image = {"image": np.zeros((128, 128, 3), np.uint8)}
    for name, device in (("first", "simulated GPU"), ("again", "simulated GPU"), ("another", "another GPU")):
        simulation.device.name = device
        backend = TensorRTBackend(simulation.bundle, simulation.device, simulation.flavour)
        backend.run("analysis", image)
        assert bool(list(backend.notices)) == (name != "again")
    plans = sorted((cache.directory() / "plans").iterdir())
    assert len(plans) == 2
    for plan in plans:
        plan.write_bytes(plan.read_bytes()[:-1])  # a damaged one is not loaded
    backend = TensorRTBackend(simulation.bundle, simulation.device, simulation.flavour)
    backend.run("analysis", image)
    assert list(backend.notices)


def test_a_plan_for_several_gpus_fits_each(
    gpu_engine: Path, simulation: SimulatedTensorRT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Path(shutil.copytree(gpu_engine, tmp_path / "engine"))
    monkeypatch.setattr("export.tensorrt_bundle.build_plan", simulation.build_plan)
    add_plans(engine, simulation.flavour, ((8, 6), (8, 9)), BuildOptions())
    backend = TensorRTBackend(Bundle.open(engine), simulation.device, simulation.flavour)
    backend.run("analysis", {"image": np.zeros((128, 128, 3), np.uint8)})
    assert not list(backend.notices)


def test_wrong_inputs_are_named(backend: TensorRTBackend) -> None:
    with pytest.raises(EngineError, match="has the inputs image, got y"):
        backend.run("analysis", {"y": np.zeros((1, 64, 8, 8), np.float32)})


def test_a_plan_that_does_not_load_is_told(
    backend: TensorRTBackend, simulation: SimulatedTensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "deserialize_cuda_engine", lambda plan: None)
    with pytest.raises(EngineError, match="cannot deserialise its plan of analysis; build the plans again"):
        backend.run("analysis", {"image": np.zeros((128, 128, 3), np.uint8)})


def test_a_bundle_without_graphs_for_tensorrt_is_refused(engine: Path, simulation: SimulatedTensorRT) -> None:
    with pytest.raises(EngineError, match=r"has no form tensorrt; add it: python -m export\.to_trt"):
        TensorRTBackend(Bundle.open(engine), simulation.device, simulation.flavour)


def test_without_a_gpu_it_says_what_to_use_instead(gpu_engine: Path) -> None:
    pytest.importorskip("cuda.bindings", reason="needs cuda-bindings: pip install cuda-bindings")
    from glic_deploy.backends.cuda import gpu_capability

    if gpu_capability() is not None:
        pytest.skip("needs a machine without an NVIDIA GPU")
    with pytest.raises(EngineError, match=r"no NVIDIA GPU.*backend='onnxruntime'"):
        open_backend(Bundle.open(gpu_engine), "tensorrt")
