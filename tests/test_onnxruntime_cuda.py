"""The onnxruntime-cuda backend's host side, run on the CPU provider: bindings, what stays on the device, errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from glic_deploy import Codec, EngineError, PluginError, native
from glic_deploy.backends import open_backend
from glic_deploy.backends.onnxruntime_cuda import CUSTOM_OPS, PROVIDER, OnnxRuntimeCudaBackend
from glic_deploy.bundle import Bundle
from glic_deploy.image import load_image

from .conftest import PHOTOS


class OnCpu(OnnxRuntimeCudaBackend):
    """The backend with the CPU in the GPU's place."""

    _provider, _device, _options = "CPUExecutionProvider", "cpu", {}

    def _require_gpu(self) -> None:
        pass


@pytest.fixture
def backend(gpu_engine: Path) -> OnCpu:
    try:
        native.library_path(CUSTOM_OPS)
    except PluginError as error:
        pytest.skip(f"needs the CUDA kernels for onnxruntime: {error}; make gpu-libraries")
    return OnCpu(Bundle.open(gpu_engine))


def test_files_decode_on_either_backend(backend: OnCpu, gpu_engine: Path) -> None:
    picture = load_image(PHOTOS / "kodim23.png")[100:300, 200:450]
    with Codec(gpu_engine, backend=backend) as codec, Codec(gpu_engine, backend="onnxruntime") as cpu:
        for data in codec.encode(picture), cpu.encode(picture):
            assert np.square(codec.decode(data).astype(int) - cpu.decode(data)).mean() < 0.1


def test_latents_stay_on_the_device_and_cannot_be_written(backend: OnCpu) -> None:
    y = backend.run("analysis", {"image": np.full((128, 128, 3), 77, np.uint8)})[0]
    assert backend._on_gpu(y) is not None
    assert backend._on_gpu(y.copy()) is None
    with pytest.raises(ValueError, match="read-only"):
        y[:] = 0
    np.testing.assert_array_equal(
        backend.run("hyper_analysis", {"y": y})[0], backend.run("hyper_analysis", {"y": y.copy()})[0]
    )
    del y
    assert not backend._resident


def test_a_graph_that_cannot_run_says_what_it_got(backend: OnCpu) -> None:
    with pytest.raises(EngineError, match=r"cannot run analysis on the GPU on image uint8.100, 128, 3."):
        backend.run("analysis", {"image": np.zeros((100, 128, 3), np.uint8)})


def test_without_a_cuda_provider_it_says_what_to_install(gpu_engine: Path) -> None:
    if PROVIDER in onnxruntime.get_available_providers():
        pytest.skip("needs an onnxruntime without a CUDA provider")
    bundle = Bundle.open(gpu_engine)
    with pytest.raises(EngineError, match=r"has no CUDA provider; .*glic-deploy.cuda.*backend='onnxruntime'"):
        open_backend(bundle, "onnxruntime-cuda")
    assert open_backend(bundle).name == "onnxruntime"
