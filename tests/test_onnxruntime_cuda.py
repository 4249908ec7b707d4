"""The onnxruntime-cuda backend's host side, its sessions on the CPU and its memory a simulated GPU's: bindings, what
stays on the device, CUDA graphs, errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from glic_deploy import Codec, EngineError, conformance
from glic_deploy.backends import by_name, open_backend
from glic_deploy.backends import onnxruntime_cuda as backend_module
from glic_deploy.backends.onnxruntime_cuda import PROVIDER, OnnxRuntimeCudaBackend
from glic_deploy.bundle import Bundle
from glic_deploy.image import load_image

from .conftest import PHOTOS
from .tensorrt_simulation import SimulatedDevice


class Session:
    """A session that replays as strictly as the CUDA provider: at the addresses that it captured, whatever is bound.

    refuses: numbers of captures that fail.
    waits: whether a replay waits for the stream, as in versions that ignore the option for it.
    """

    waits = False

    def __init__(self, session: onnxruntime.InferenceSession, graphs: bool, device: SimulatedDevice) -> None:
        self._session, self._graphs, self._device = session, graphs, device
        self.captured: dict[int, Any] = {}
        self.runs: list[int] = []
        self.refuses = False

    def get_providers(self) -> list[str]:
        return self._session.get_providers()

    def io_binding(self) -> Any:
        return Binding(self._session.io_binding(), self._device)

    def run_with_iobinding(self, binding: Any, options: onnxruntime.RunOptions) -> None:
        number = int(options.get_run_config_entry("gpu_graph_id"))
        assert options.get_run_config_entry("disable_synchronize_execution_providers") == "1"
        replayed = self.captured.get(number)
        captures = self._graphs and number != -1 and replayed is None
        held = self._device.gate._capturing is not None
        assert held == captures, "other threads may break the capture, or wait for nothing"
        assert bool(self._device.gate._calls) == (not captures)
        self.runs.append(number)
        if self._graphs and number != -1:
            if self.refuses:
                raise RuntimeError("operation not permitted when stream is capturing")
            binding = self.captured.setdefault(number, binding)
        if replayed is not None:
            self._device.execute(lambda: self._session.run_with_iobinding(binding.inner), captured=True)
            if not self.waits:
                return
        self._device.flush()  # a first run allocates, and a capture waits
        if replayed is None:
            self._session.run_with_iobinding(binding.inner)


class Binding:
    """Takes addresses of the device's memory alone."""

    def __init__(self, inner: Any, device: SimulatedDevice) -> None:
        self.inner, self._device = inner, device

    def bind_input(self, name: str, memory: str, number: int, dtype: Any, shape: list[int], address: int) -> None:
        self._check(dtype, shape, address)
        self.inner.bind_input(name, memory, number, dtype, shape, address)

    def bind_output(self, name: str, memory: str, number: int, dtype: Any, shape: list[int], address: int) -> None:
        self._check(dtype, shape, address)
        self.inner.bind_output(name, memory, number, dtype, shape, address)

    def _check(self, dtype: Any, shape: list[int], address: int) -> None:
        self._device.view(address, shape, dtype)


class OnCpu(OnnxRuntimeCudaBackend):
    """The backend with the CPU in the GPU's place. graphless: graphs whose sessions refuse CUDA graphs."""

    provider, memory = "CPUExecutionProvider", "cpu"
    _library_path = staticmethod(by_name("onnxruntime").library_path)

    def __init__(self, bundle: Bundle, graphless: tuple[str, ...] = ()) -> None:
        self.simulated = SimulatedDevice()
        self.graphless = graphless
        self.opened: dict[str, list[dict[str, str]]] = {}
        super().__init__(bundle, self.simulated)

    def _open_with(self, path: Path, provider_options: Mapping[str, str]) -> Any:
        graph = path.name.split(".")[0]
        self.opened.setdefault(graph, []).append(dict(provider_options))
        graphs = provider_options.get("enable_cuda_graph") == "1"
        if graphs and graph in self.graphless:
            raise RuntimeError("This session cannot use the graph capture feature")
        return Session(super()._open_with(path, {}), graphs, self.simulated)


@pytest.fixture
def bundle(gpu_engine: Path) -> Bundle:
    return Bundle.open(gpu_engine)


@pytest.fixture
def backend(bundle: Bundle) -> Iterator[OnCpu]:
    backend = OnCpu(bundle)
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return load_image(PHOTOS / "kodim23.png")[100:220, 200:320]


def test_files_decode_on_either_backend(backend: OnCpu, gpu_engine: Path, picture: np.ndarray) -> None:
    with Codec(gpu_engine, backend=backend) as codec, Codec(gpu_engine, backend="onnxruntime") as cpu:
        for data in codec.encode(picture), cpu.encode(picture):
            assert np.square(codec.decode(data).astype(int) - cpu.decode(data)).mean() < 0.1


def test_a_graph_is_captured_at_its_second_run_and_then_replayed(
    backend: OnCpu, gpu_engine: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Codec(gpu_engine, backend=backend) as codec:
        first = codec.encode(picture)
        backend.simulated.calls.clear()
        assert codec.encode(picture) == first
        assert codec.encode(picture) == first
        backend.simulated.calls.clear()
        assert codec.encode(picture) == first
        assert "allocate" not in backend.simulated.calls
        assert (
            backend.simulated.calls.count("wait") == 1
        )  # onnxruntime runs on the codec's stream, and waits for nothing
        assert "synchronize" not in backend.simulated.calls
        assert backend.session("analysis").runs == [-1, 1, 1, 1]
        other = np.tile(picture, (1, 2, 1))
        for _ in range(2):
            assert codec.decode(codec.encode(other)).shape == other.shape
        assert backend.session("analysis").runs == [-1, 1, 1, 1, -1, 2]
        monkeypatch.setattr(Session, "waits", True)
        assert codec.encode(picture) == first
    assert backend.describe()["cuda_graphs"] == "of all"


def test_transforms_alone_may_use_tensor_cores(backend: OnCpu) -> None:
    for graph in backend._bundle.graphs():
        backend.session(graph)
    exact = {graph for graph, (options,) in backend.opened.items() if options["use_tf32"] == "0"}
    assert exact == set(backend._bundle.exact_graphs())
    assert exact | set(backend._bundle.transforms()) == set(backend._bundle.graphs())
    assert {options["device_id"] for (options,) in backend.opened.values()} == {"0"}
    assert {options["user_compute_stream"] for (options,) in backend.opened.values()} == {"77"}


def test_a_pass_counts_for_one_gpu_driver_and_version_of_each_library(
    backend: OnCpu, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GLIC_CACHE", str(tmp_path))
    monkeypatch.setattr(backend_module, "loaded_versions", lambda: {"cudnn": "91002"})
    bundle = backend._bundle
    conformance.remember(bundle, backend)
    for owner, attribute, value in (
        (backend.simulated, "name", "another GPU"),
        (backend.simulated, "driver", "another"),
        (backend_module, "loaded_versions", lambda: {"cudnn": "91100"}),
        (onnxruntime, "__version__", "9.9"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(owner, attribute, value)
            assert not conformance.has_passed(bundle, backend), attribute
    assert conformance.has_passed(bundle, backend)
    assert list(backend.opened) == bundle.exact_graphs()[:1]  # which loads the libraries


def test_an_image_that_does_not_fit_the_gpu_is_refused(backend: OnCpu) -> None:
    assert backend.refusal(512, 768) is None
    backend.simulated.capacity = 1 << 28
    assert "at once takes up to 0.36 GiB on simulated GPU" in (backend.refusal(512, 768) or "")


def test_only_the_coders_arrays_cross_the_bus(backend: OnCpu, gpu_engine: Path, picture: np.ndarray) -> None:
    with Codec(gpu_engine, backend=backend) as codec:
        data = codec.encode(picture)
        backend.simulated.calls.clear()
        codec.decode(data)
        # hyper to five slices, support and anchors to five second passes, y_hat to four slices and the synthesis
        assert backend.simulated.calls.count("copy") == 5 + 2 * 5 + 5
        assert backend.simulated.calls.count("upload") == 11  # the symbols of z and of ten passes
        assert backend.simulated.calls.count("download") == 11  # the indexes of ten passes, and the picture


def test_a_session_that_refuses_cuda_graphs_runs_without(bundle: Bundle) -> None:
    backend = OnCpu(bundle, graphless=("hyper_analysis",))
    image = np.full((128, 128, 3), 77, np.uint8)
    y = backend.run("analysis", {"image": image})[0]
    first = backend.run("hyper_analysis", {"y": y})[0]
    (notice,) = backend.notices
    assert "cannot run hyper_analysis as a CUDA graph: This session cannot use" in notice
    for _ in range(2):
        np.testing.assert_array_equal(backend.run("hyper_analysis", {"y": y})[0], first)
    assert set(backend.session("hyper_analysis").runs) == {-1}
    assert "enable_cuda_graph" not in backend.opened["hyper_analysis"][-1]
    assert backend.describe()["cuda_graphs"] == "of all but hyper_analysis"


def test_a_capture_that_fails_gives_the_same_results_without_cuda_graphs(backend: OnCpu) -> None:
    images = [np.full((128, 128 * n, 3), 50 * n, np.uint8) for n in (1, 2)]
    plain = [backend.run("analysis", {"image": image})[0] for image in images]
    failing = backend.session("analysis")
    failing.refuses = True
    for _ in range(3):
        for image, want in zip(images, plain, strict=True):
            np.testing.assert_array_equal(backend.run("analysis", {"image": image})[0], want)
    (notice,) = backend.notices
    assert "cannot run analysis as a CUDA graph: operation not permitted" in notice
    assert backend.session("analysis") is not failing
    assert failing.runs == [-1, -1, 1]
    assert backend.describe()["cuda_graphs"] == "of all but analysis"


def test_captures_are_few(backend: OnCpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_module, "MOST_CAPTURES", 2)
    for columns in (1, 2, 3):
        for _ in range(3):
            backend.run("hyper_analysis", {"y": np.zeros((1, backend._bundle.latent, 8, 8 * columns), np.float32)})
    assert backend.session("hyper_analysis").runs == [-1, 1, 1, -1, 2, 2, -1, -1, -1]


def test_a_graph_that_cannot_run_says_what_it_got(backend: OnCpu) -> None:
    with pytest.raises(EngineError, match=r"cannot run analysis on the GPU on image uint8.100, 128, 3."):
        backend.run("analysis", {"image": np.zeros((100, 128, 3), np.uint8)})


def test_wrong_inputs_are_named(backend: OnCpu) -> None:
    with pytest.raises(EngineError, match=r"graph analysis takes image uint8\[H, W, 3\], got y \[1, 64, 8, 8\]"):
        backend.run("analysis", {"y": np.zeros((1, 64, 8, 8), np.float32)})


def test_without_a_cuda_provider_it_says_what_to_install(gpu_engine: Path) -> None:
    if PROVIDER in onnxruntime.get_available_providers():
        pytest.skip("needs an onnxruntime without a CUDA provider")
    bundle = Bundle.open(gpu_engine)
    with pytest.raises(EngineError, match=r"has no CUDA provider; .*glic-deploy.cuda.*backend='onnxruntime'"):
        open_backend(bundle, "onnxruntime-cuda")
    assert open_backend(bundle).name == "onnxruntime"
