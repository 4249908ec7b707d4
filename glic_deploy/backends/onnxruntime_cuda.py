"""onnxruntime on an NVIDIA GPU, without TensorRT. All packages that it needs come from the package index.

`device_runs` keeps tensors at fixed addresses, so that a graph is replayed as a CUDA graph from its second run at a
shape. If onnxruntime cannot capture a graph, its kernels are launched one by one.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ..bundle import Bundle, Shape
from ..errors import EngineError
from ..values import Value
from .base import Offer, Precision, UnusableError, recorded_precision
from .cuda import CudaDevice, Device, memory_refusal
from .cuda_libraries import loaded_versions
from .declarations import ON_THE_CPU, by_name
from .device_images import DeviceImages
from .device_memory import TensorSpec
from .device_runs import DeviceRunner
from .device_steps import DeviceSteps
from .onnxruntime import OnnxRuntimeBackend
from .proof import Proof, require_own_sums

if TYPE_CHECKING:
    from typing_extensions import Self

DECLARATION = by_name("onnxruntime-cuda")
PROVIDER = "CUDAExecutionProvider"
INSTALL = f"pip uninstall -y onnxruntime onnxruntime-gpu; {DECLARATION.remedy}"

_NOT_CAPTURED = -1
MOST_CAPTURES = 64
"""The most CUDA graphs that one graph of the bundle may have: onnxruntime frees them only with their session."""


class OnnxRuntimeCudaBackend(OnnxRuntimeBackend):
    """Runs the graphs on onnxruntime's CUDA provider, the transforms in half precision if the bundle has that form.

    Raises EngineError if onnxruntime has no CUDA provider, or if the provider does not start because there is no GPU or
    a library is missing.
    """

    name = DECLARATION.name
    provider, memory = PROVIDER, "cuda"
    _number = 0  # of the GPU
    _options: ClassVar[dict[str, str]] = {"arena_extend_strategy": "kSameAsRequested"}
    _library_path = staticmethod(DECLARATION.library_path)

    def __init__(self, bundle: Bundle, device: Device | None = None) -> None:
        super().__init__(bundle, forms=DECLARATION.forms)
        self.precision = recorded_precision(bundle, DECLARATION.forms)
        self._check_provider()
        self._check_sums(bundle)
        self._device = device or CudaDevice(self._number)
        self._library = self._library_path()
        preload = getattr(ort, "preload_dlls", None)  # CUDA's libraries from NVIDIA's wheels, since 1.21
        if preload is not None:
            preload()
        self._captures = {name: itertools.count(1) for name in bundle.graphs()}
        self._proof = Proof(bundle, self)
        self._runner = DeviceRunner(self._device, bundle, self._prepare, self._proof)

    @classmethod
    def on_gpu(cls, number: int) -> type[Self]:
        return type(cls.__name__, (cls,), {"_number": number})

    @classmethod
    def _check_provider(cls) -> None:
        if cls.provider not in ort.get_available_providers():
            raise UnusableError(
                f"onnxruntime {ort.__version__} here has no CUDA provider",
                f"on a machine with an NVIDIA GPU: {INSTALL}; elsewhere: {ON_THE_CPU}",
            )

    @classmethod
    def _check_sums(cls, bundle: Bundle) -> None:
        require_own_sums(bundle, *DECLARATION.exact_forms)

    @classmethod
    def check_machine(cls) -> str:
        cls._check_provider()
        device = CudaDevice(cls._number)
        return f"onnxruntime {ort.__version__} on {device.name}, compute capability {device.shown_capability}"

    @classmethod
    def offer(cls, bundle: Bundle, threads: int | None, precision: Precision | None) -> Offer:
        cls._check_provider()
        cls._check_sums(bundle)
        return Offer(precision)

    @classmethod
    def open(cls, bundle: Bundle, threads: int | None, precision: Precision | None) -> Self:
        return cls(bundle)

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        return self._runner.run(graph, inputs)

    def start(self, graph: str, inputs: Mapping[str, Value]) -> Sequence[Value]:
        return self._runner.start(graph, inputs)

    def steps(self, channels: int, height: int, width: int) -> DeviceSteps:
        return DeviceSteps(self._runner, self._device, channels, height, width)

    def images(self) -> DeviceImages:
        return DeviceImages(self._runner, self._device)

    def _prepare(self, graph: str, shapes: Mapping[str, Shape]) -> _Bound:
        return _Bound(self, self._bundle, self._device, graph, shapes)

    def _forms_of(self, graph: str) -> Sequence[str]:
        return DECLARATION.exact_forms if graph in self._bundle.exact_graphs() else self._forms

    def session(self, graph: str) -> ort.InferenceSession:
        """Return the graph's current session; `launch_one_by_one` replaces it."""
        return self._session(graph)

    def captures(self, graph: str) -> bool:
        """Return whether the graph's session captures CUDA graphs."""
        return graph in self._captures

    def capture_number(self, graph: str) -> int:
        """Return a number for another CUDA graph of a graph; `_NOT_CAPTURED` if it may not have another."""
        number = next(self._captures[graph]) if self.captures(graph) else _NOT_CAPTURED
        return number if number <= MOST_CAPTURES else _NOT_CAPTURED

    def launch_one_by_one(self, graph: str, error: Exception) -> None:
        """Run a graph without CUDA graphs from now on, because of `error`."""
        del self._captures[graph]
        self._sessions.pop(graph, None)
        self.notices.add(
            f"onnxruntime {ort.__version__} cannot run {graph} as a CUDA graph: {error}; its kernels are launched one "
            "by one, which is slower but gives the same results; try another version of onnxruntime-gpu"
        )

    def _open(self, graph: str, path: Path) -> ort.InferenceSession:
        # Without TF32, cuDNN selects no engine with tensor cores, in half precision neither, so the transforms need it.
        # It would round the parameters of an entropy path in floating point; the exact one has no sums of a library.
        provider = {
            **self._options,
            "device_id": str(self._device.number),
            "user_compute_stream": str(self._device.stream),
            "use_tf32": "1" if graph in self._bundle.transforms() else "0",
        }
        if self.captures(graph):
            try:
                return self._open_with(path, {**provider, "enable_cuda_graph": "1"})
            except EngineError:
                raise
            except Exception as error:  # for example a node that the provider assigns to the CPU
                self.launch_one_by_one(graph, error)
        return self._open_with(path, provider)

    def _open_with(self, path: Path, provider_options: Mapping[str, str]) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.register_custom_ops_library(str(self._library))
        providers = [(self.provider, dict(provider_options))]
        with self._device.gate.call():
            session = ort.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
        if session.get_providers()[0] != self.provider:
            raise EngineError(
                f"onnxruntime {ort.__version__} cannot start its CUDA provider: no NVIDIA GPU or driver, or CUDA's "
                f"libraries are missing: {INSTALL}; or use the CPU: {ON_THE_CPU}"
            )
        return session

    def describe(self) -> dict[str, Any]:
        without = sorted(set(self._bundle.graphs()) - set(self._captures))
        return {
            "name": self.name,
            "version": ort.__version__,
            "custom_ops": str(self._library),
            **self._device.describe(),
            "graphs": ", ".join(self._forms),
            "exact_graphs": ", ".join(DECLARATION.exact_forms),
            "cuda_graphs": f"of all but {', '.join(without)}" if without else "of all",
        }

    def fingerprint(self) -> dict[str, Any]:
        """Return the device, and the versions of onnxruntime and of the libraries that choose its kernels.

        The libraries are loaded with the first session, which is opened for this.
        """
        for graph in self._bundle.exact_graphs()[:1]:
            self.session(graph)
        return {
            "name": self.name,
            "onnxruntime": ort.__version__,
            "libraries": loaded_versions(),
            "custom_ops": hashlib.sha256(self._library.read_bytes()).hexdigest(),
            "graphs": [self._forms, DECLARATION.exact_forms],
            **self._device.describe(),
        }

    def refusal(self, height: int, width: int) -> str | None:
        """Return why the GPU's memory does not suffice for an image of this size, by the estimate for the CPU."""
        available = self._device.memory_info()[0] + self._runner.held
        return memory_refusal(self._device, height, width, self._bundle.memory.needed(width, height), available)

    def trim(self) -> None:
        self._runner.trim()
        self._proof.close()

    def close(self) -> None:
        self.trim()
        super().close()


class _Bound:
    """A graph at one shape, with its tensors bound to fixed addresses.

    onnxruntime keeps a CUDA graph for the thread that captured it. Another thread's first run captures its own.
    """

    def __init__(
        self,
        backend: OnnxRuntimeCudaBackend,
        bundle: Bundle,
        device: Device,
        graph: str,
        shapes: Mapping[str, Shape],
    ) -> None:
        self._backend, self._device, self._graph = backend, device, graph
        inputs, outputs = bundle.ports(graph)
        output_shapes = bundle.output_shapes(graph, shapes)
        self.inputs: dict[str, TensorSpec] = {p.name: (shapes[p.name], np.dtype(p.dtype)) for p in inputs}
        self.outputs: dict[str, TensorSpec] = {p.name: (output_shapes[p.name], np.dtype(p.dtype)) for p in outputs}
        self._addresses: Mapping[str, int] = {}
        self._session: ort.InferenceSession | None = None
        self._binding: Any = None
        self._number: int | None = None  # of its CUDA graph; None before the first run
        self._options = _run_options(_NOT_CAPTURED)
        self._captured_in = threading.local()

    def bind(self, addresses: Mapping[str, int]) -> None:
        self._addresses = addresses

    def execute(self) -> None:
        session = self._backend.session(self._graph)
        if session is not self._session:
            self._session, self._binding = session, self._bound_to(session)
        captures = (
            self._number not in (None, _NOT_CAPTURED)
            and self._backend.captures(self._graph)
            and self._thread_has_not_captured()
        )
        try:
            with self._device.gate.capture() if captures else self._device.gate.call():
                session.run_with_iobinding(self._binding, self._options)
        except Exception as error:  # onnxruntime raises a type of its own for every error code
            if self._number in (None, _NOT_CAPTURED) or not self._backend.captures(self._graph):
                raise EngineError(
                    f"onnxruntime cannot run {self._graph} on the GPU on {', '.join(self._described())}: {error}; code "
                    f"a smaller image if its memory is short, else see docs/gpu.md, or use the CPU: {ON_THE_CPU}"
                ) from error
            self._capture_as(_NOT_CAPTURED)
            self._backend.launch_one_by_one(self._graph, error)
            self.execute()
            return
        if self._number is None:
            self._capture_as(self._backend.capture_number(self._graph))

    def _thread_has_not_captured(self) -> bool:
        """Return whether this run is the first of its thread with a CUDA graph, which captures it."""
        first = not getattr(self._captured_in, "done", False)
        self._captured_in.done = True
        return first

    def _capture_as(self, number: int) -> None:
        self._number, self._options = number, _run_options(number)

    def _bound_to(self, session: ort.InferenceSession) -> Any:
        binding, memory = session.io_binding(), self._backend.memory
        for specs, bind in ((self.inputs, binding.bind_input), (self.outputs, binding.bind_output)):
            for name, (shape, dtype) in specs.items():
                bind(name, memory, self._device.number, dtype.type, list(shape), self._addresses[name])
        return binding

    def _described(self) -> Iterator[str]:
        return (f"{name} {dtype}{list(shape)}" for name, (shape, dtype) in self.inputs.items())

    def release(self) -> None:
        self._session = self._binding = None


def _run_options(number: int) -> ort.RunOptions:
    """Return the options of a run that captures, or replays, the CUDA graph of this number.

    The run returns when its work is on the stream. Versions of onnxruntime without pull request 28686 wait for a replay
    nevertheless.
    """
    options = ort.RunOptions()
    options.add_run_config_entry("disable_synchronize_execution_providers", "1")
    options.add_run_config_entry("gpu_graph_id", str(number))
    return options
