"""onnxruntime on an NVIDIA GPU: needs nothing but packages of the registry, and no TensorRT."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ..bundle import Bundle
from ..errors import EngineError
from ..native import library_path
from .base import Precision
from .cuda import CudaDevice
from .onnxruntime import OnnxRuntimeBackend

CUSTOM_OPS = "glic_onnxruntime_cuda"
PROVIDER = "CUDAExecutionProvider"
INSTALL = "pip uninstall -y onnxruntime; pip install 'glic-deploy[cuda]'"


class OnnxRuntimeCudaBackend(OnnxRuntimeBackend):
    """The CPU backend's graphs on the CUDA provider, the transforms in float16 where the bundle has them so.

    What one graph gives and the next one takes stays on the GPU: such arrays are handed out read-only.
    Raises EngineError where onnxruntime has no CUDA provider, or it does not start for lack of a GPU or a library.
    """

    name = "onnxruntime-cuda"
    _provider, _device = PROVIDER, "cuda"
    # The entropy path's integers are held in float32, which TF32 would round. Memory grows by what is asked for.
    _options: ClassVar[dict[str, str]] = {"use_tf32": "0", "arena_extend_strategy": "kSameAsRequested"}

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle, variants=("fp16", "bf16", "base"))
        halves: tuple[Precision, ...] = ("fp16", "bf16")
        available = bundle.describe()["graphs"]["analysis"]
        self.precision = next((precision for precision in halves if precision in available), "fp32")
        if self._provider not in ort.get_available_providers():
            raise EngineError(
                f"onnxruntime {ort.__version__} here has no CUDA provider; on a machine with an NVIDIA GPU: {INSTALL}; "
                "elsewhere: Codec(engine, backend='onnxruntime')"
            )
        self._require_gpu()
        self._library = library_path(CUSTOM_OPS, "build it: make gpu-libraries")
        preload = getattr(ort, "preload_dlls", None)  # CUDA's libraries from NVIDIA's wheels, since 1.21
        if preload is not None:
            preload()
        self._resident: dict[int, tuple[weakref.ref[Any], Any]] = {}
        self._one_at_a_time = threading.Lock()

    def _require_gpu(self) -> None:
        CudaDevice()

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        session = self._session(graph)
        with self._one_at_a_time:
            binding = session.io_binding()
            for name, array in inputs.items():
                on_gpu = self._on_gpu(array)
                if on_gpu is not None:
                    binding.bind_ortvalue_input(name, on_gpu)
                else:
                    binding.bind_cpu_input(name, array)
            for output in session.get_outputs():
                binding.bind_output(output.name, self._device if output.type == "tensor(float)" else "cpu")
            try:
                session.run_with_iobinding(binding)
                return [self._hand_out(value) for value in binding.get_outputs()]
            except Exception as error:  # onnxruntime raises a type of its own for every error code
                shapes = ", ".join(f"{name} {value.dtype}{list(value.shape)}" for name, value in inputs.items())
                raise EngineError(
                    f"onnxruntime cannot run {graph} on the GPU on {shapes}: {error}; take a smaller picture if its "
                    "memory is short, else see docs/gpu.md, or use Codec(engine, backend='onnxruntime')"
                ) from error

    def _on_gpu(self, array: NDArray[Any]) -> Any:
        reference, value = self._resident.get(id(array), (None, None))
        return value if reference is not None and reference() is array else None

    def _hand_out(self, value: Any) -> NDArray[Any]:
        array: NDArray[Any] = value.numpy()
        if array.dtype == np.float32:
            array.flags.writeable = False  # or what is on the GPU would not be what it says
            key = id(array)
            self._resident[key] = weakref.ref(array, lambda _: self._resident.pop(key, None)), value
        return array

    def _open(self, path: Path) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.register_custom_ops_library(str(self._library))
        session = ort.InferenceSession(str(path), options, providers=[(self._provider, self._options)])
        if session.get_providers()[0] != self._provider:
            raise EngineError(
                f"onnxruntime {ort.__version__} cannot start its CUDA provider: no NVIDIA GPU or driver, or CUDA's "
                f"libraries are missing: {INSTALL}; or use Codec(engine, backend='onnxruntime')"
            )
        return session

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": ort.__version__,
            "custom_ops": str(self._library),
            "graphs": ", ".join(self._variants),
        }

    def close(self) -> None:
        super().close()
        self._resident.clear()
