"""Which plans, devices and libraries a passed check counts for, and when TensorRT is chosen, on simulated GPUs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glic_deploy import Codec, EngineError, cache, conformance
from glic_deploy.backends import declarations, open_backend
from glic_deploy.backends import tensorrt as backend_module
from glic_deploy.backends.tensorrt import TensorRTBackend
from glic_deploy.bundle import Bundle
from glic_deploy.tensorrt import RTX_CAPABILITIES, BuildOptions
from glic_deploy.tensorrt.plans import configured

from .tensorrt_simulation import SimulatedDevice, SimulatedTensorRT, simulated

pytestmark = pytest.mark.usefixtures("empty_cache")


@pytest.fixture
def simulation(gpu_engine: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatedTensorRT:
    # One graph shows what all of the entropy path do, in less time.
    monkeypatch.setattr(Bundle, "exact_graphs", lambda self: ["hyper_synthesis"])
    return simulated(gpu_engine, monkeypatch)


def backend_of(simulation: SimulatedTensorRT) -> TensorRTBackend:
    return TensorRTBackend(simulation.bundle, simulation.device, simulation.flavour)


def test_a_pass_counts_for_one_gpu_driver_version_and_library_alone(
    simulation: SimulatedTensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    conformance.remember(simulation.bundle, backend_of(simulation))
    assert conformance.has_passed(simulation.bundle, backend_of(simulation))
    for change in ({"name": "another GPU"}, {"shown_capability": "8.6"}, {"driver": "590.simulated"}):
        with monkeypatch.context() as patched:
            for attribute, value in change.items():
                patched.setattr(simulation.device, attribute, value)
            assert not conformance.has_passed(simulation.bundle, backend_of(simulation)), change
    for change in ({"version": "0.newer"}, {"name": "rtx"}, {"plugins": "other"}):
        with monkeypatch.context() as patched:
            patched.setattr(simulation, "flavour", replace(simulation.flavour, **change))
            assert not conformance.has_passed(simulation.bundle, backend_of(simulation)), change
    assert conformance.has_passed(simulation.bundle, backend_of(simulation))


def test_a_plan_in_memory_is_checked_again_in_every_process(
    simulation: SimulatedTensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(cache, "store", lambda name, data, limit=None: None)  # as in a cache that cannot be written
        passed = conformance.identity(simulation.bundle, backend_of(simulation))
        simulation.tactics += 1
        assert conformance.identity(simulation.bundle, backend_of(simulation)) != passed
    kept = conformance.identity(simulation.bundle, backend_of(simulation))
    simulation.tactics += 1
    assert conformance.identity(simulation.bundle, backend_of(simulation)) == kept


def test_tensorrt_is_chosen_if_a_plan_of_every_graph_fits(
    simulation: SimulatedTensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_module.TensorRTBackend, "_found", lambda: (simulation.device, simulation.flavour))
    monkeypatch.setattr(backend_module.TensorRTBackend, "open", lambda *_: backend_of(simulation))
    tensorrt, *_, cpu = (replace(each, package="numpy") for each in declarations.BACKENDS)
    monkeypatch.setattr(declarations, "BACKENDS", (tensorrt, cpu))

    backend = open_backend(simulation.bundle)
    assert backend.name == "onnxruntime"
    (notice,) = (notice for notice in backend.notices if "tensorrt" in notice)
    assert "has no plans for simulated GPU and tensorrt 0.simulated" in notice
    assert "python -m export.to_trt --engine" in notice
    assert not simulation.built

    by_name = open_backend(simulation.bundle, "tensorrt")
    assert isinstance(by_name, TensorRTBackend)
    graphs = simulation.bundle.graphs()
    for graph in graphs:
        by_name.cuda_engine(graph)
        assert (open_backend(simulation.bundle).name == "tensorrt") == (graph == graphs[-1])
    assert simulation.built == graphs
    monkeypatch.setattr(simulation.device, "capability", (8, 6))
    assert open_backend(simulation.bundle).name == "onnxruntime"


def test_progress_names_the_graph_and_the_number_of_plans(
    simulation: SimulatedTensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr("glic_deploy.backends.tensorrt_plans.on_terminal", lambda: lines.append)
    backend_of(simulation).cuda_engine("hyper_synthesis")
    place = simulation.bundle.graphs().index("hyper_synthesis") + 1
    assert lines == [f"building plan {place} of {len(simulation.bundle.graphs())}, hyper_synthesis: timing"]


def test_kernels_of_rtx_are_compiled_once_for_each_shape_plan_and_driver(
    gpu_engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rtx = simulated(gpu_engine, monkeypatch, "rtx")
    small, large = (np.zeros((128, 128 * n, 3), np.uint8) for n in (1, 2))
    for image, driver, compiled in ((small, "1", 1), (small, "1", 1), (large, "1", 2), (small, "2", 3)):
        rtx.device.driver = driver
        backend = backend_of(rtx)
        backend.run("analysis", {"image": image})
        assert len(rtx.compiled) == compiled
        backend.close()


def test_rtx_replays_its_own_captures_and_says_if_it_cannot(gpu_engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rtx = simulated(gpu_engine, monkeypatch, "rtx")
    image = {"image": np.full((128, 128, 3), 9, np.uint8)}
    backend = backend_of(rtx)
    first = backend.run("analysis", image)[0]
    rtx.device.calls.clear()
    np.testing.assert_array_equal(backend.run("analysis", image)[0], first)
    assert "launch" in rtx.device.calls
    assert backend.describe()["cuda_graphs"] == "of all"
    rtx.refuses_capture = True
    slow = backend_of(rtx)
    np.testing.assert_array_equal(slow.run("analysis", image)[0], first)
    assert slow.describe()["cuda_graphs"] == "of all but analysis"
    assert any("the launch of analysis cannot be captured as a CUDA graph" in notice for notice in slow.notices)


FAKES = {
    "libcudnn.so.9": "unsigned long cudnnGetVersion(void) { return 91002; }",
    "libcublas.so.13": "int cublasGetProperty(int part, int* value) { *value = 13 - part; return 0; }",
    "libcudart.so.13": "int cudaRuntimeGetVersion(int* version) { *version = 13000; return 0; }",
}


def test_versions_of_loaded_libraries_are_read_from_the_libraries(tmp_path: Path) -> None:
    """Another process loads them: a library stays in the process that has loaded it."""
    for name, source in FAKES.items():
        (tmp_path / "fake.c").write_text(source)
        subprocess.run(["cc", "-shared", "-o", tmp_path / name, tmp_path / "fake.c"], check=True)
    script = (
        "import ctypes, json, sys\n"
        "from glic_deploy.backends import cuda_libraries\n"
        "loaded = [ctypes.CDLL(path) for path in sys.argv[1:]]\n"
        "print(json.dumps(cuda_libraries.loaded_versions()))\n"
    )
    command = [sys.executable, "-c", script, *(str(tmp_path / name) for name in FAKES)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert found == {"cudnn": "91002", "cublas": "13.12.11", "cudart": "13000"}


def test_memory_that_tensorrt_refuses_is_an_error(simulation: SimulatedTensorRT) -> None:
    simulation.refuses_address = "y"
    backend = backend_of(simulation)
    with pytest.raises(EngineError, match="refuses the memory of y of analysis"):
        backend.run("analysis", {"image": np.zeros((128, 128, 3), np.uint8)})
    backend.trim()
    assert not simulation.device.memory


def test_plans_for_several_gpus_need_no_memory_of_their_own_and_use_no_tf32() -> None:
    api = pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX: pip install tensorrt-rtx")
    builder = api.Builder(api.Logger(api.Logger.WARNING))
    config = configured(api, builder, BuildOptions(capabilities=RTX_CAPABILITIES))
    assert config.get_flag(api.BuilderFlag.REQUIRE_USER_ALLOCATION)
    assert not config.get_flag(api.BuilderFlag.TF32)
    network = builder.create_network(0)
    image = network.add_input("image", api.float32, (1, 8, -1, -1))
    convolution = network.add_convolution_nd(image, 8, (3, 3), api.Weights(np.ones((8, 8, 3, 3), np.float32)))
    network.mark_output(convolution.get_output(0))
    profile = builder.create_optimization_profile()
    profile.set_shape("image", (1, 8, 8, 8), (1, 8, 64, 64), (1, 8, 512, 512))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is not None


def test_the_simulation_has_no_call_that_tensorrt_rtx_lacks() -> None:
    api = pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX: pip install tensorrt-rtx")
    from . import tensorrt_simulation as ours

    for fake, real in (
        (ours._Engine, api.ICudaEngine),
        (ours._Context, api.IExecutionContext),
        (ours._RuntimeConfig, api.IRuntimeConfig),
        (ours._RuntimeCache, api.IRuntimeCache),
    ):
        lacking = [name for name in vars(fake) if not name.startswith("_") and not hasattr(real, name)]
        assert [name for name in lacking if name != "strategy"] == [], real
    for name, members in ours.ENUMERATIONS.items():
        assert all(hasattr(getattr(api, name), member) for member in members)


def test_a_codec_runs_on_the_gpu_of_its_number(simulation: SimulatedTensorRT, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def device_of(number: int = 0) -> SimulatedDevice:
        asked.append(number)
        return simulation.device

    monkeypatch.setattr(backend_module, "CudaDevice", device_of)
    monkeypatch.setattr(backend_module, "choose", lambda capability: simulation.flavour.name)
    monkeypatch.setattr(backend_module, "installed", lambda: [simulation.flavour.name])
    monkeypatch.setattr(backend_module, "load", lambda name: simulation.flavour)
    tensorrt, *_, cpu = (replace(each, package="numpy") for each in declarations.BACKENDS)
    monkeypatch.setattr(declarations, "BACKENDS", (tensorrt, cpu))
    assert open_backend(simulation.bundle, "tensorrt", device=1).name == "tensorrt"
    assert open_backend(simulation.bundle, "tensorrt").name == "tensorrt"
    assert asked == [1, 0]
    with pytest.raises(EngineError, match="has no plans for simulated GPU"):  # and no CPU takes its place
        open_backend(simulation.bundle, device=1)
    assert asked == [1, 0, 1]
    with pytest.raises(EngineError, match="backend onnxruntime does not run on a GPU, got device=1"):
        Codec(simulation.bundle.path, backend="onnxruntime", device=1)
    with pytest.raises(EngineError, match="device is -1, expected the number of a GPU"):
        Codec(simulation.bundle.path, device=-1)
    with pytest.raises(EngineError, match="a Backend object has its device"):
        Codec(simulation.bundle.path, backend=backend_of(simulation), device=1)
