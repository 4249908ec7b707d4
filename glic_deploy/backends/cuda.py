"""The GPU interface of the backends (memory, copies, one stream, events, graphs), on NVIDIA's cuda-bindings."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import native
from ..errors import EngineError
from .base import UnusableError
from .declarations import GPU_LIBRARIES, ON_THE_CPU

INSTALL = "pip install cuda-bindings"
LEAST_CAPABILITY = (8, 0)
"""The least compute capability that the kernels run on."""
_INSTEAD = f"use a backend that needs no GPU: {ON_THE_CPU}"


class DeviceMemoryError(EngineError):
    """Device memory or pinned host memory is exhausted."""


class NoDeviceError(UnusableError):
    """This machine has no NVIDIA GPU, or no driver for it."""


class CaptureGate:
    """Keeps the calls of other threads, and all finalizers, out of the captures of CUDA graphs.

    onnxruntime captures in CUDA's global mode: a call in any thread that allocates or waits breaks the capture and
    fails itself. Such calls pass the gate together; a capture passes it alone.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls = 0
        self._capturing: int | None = None  # the thread
        self._postponed: list[Callable[[], None]] = []

    @contextlib.contextmanager
    def call(self) -> Iterator[None]:
        """Wait until no other thread captures, and hold captures back. CUDA refuses the calls of one that captures."""
        with self._changed:
            self._changed.wait_for(lambda: self._capturing in (None, threading.get_ident()))
            self._calls += 1
        try:
            yield
        finally:
            with self._changed:
                self._calls -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def capture(self) -> Iterator[None]:
        """Wait until no thread captures and no call is under way, and hold both back."""
        with self._changed:
            self._changed.wait_for(lambda: self._capturing is None)
            self._capturing = threading.get_ident()
            self._changed.wait_for(lambda: not self._calls)
        try:
            yield
        finally:
            with self._changed:
                self._capturing = None
                self._changed.notify_all()
            while self._postponed:
                self._postponed.pop()()

    def outside(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a function that passes the gate; if this thread captures, after the capture.

        Finalizers run in any thread at any time, so also in one that captures.
        """
        if self._capturing == threading.get_ident():
            self._postponed.append(lambda: function(*arguments))
        else:
            function(*arguments)


GATE = CaptureGate()
"""The gate of this process."""


class Device(Protocol):
    """Memory and one stream of a GPU. Addresses, streams, events and graphs are integers.

    Copies and launches run in the order of the stream. An event is reached when everything enqueued before its last
    `record` is done, or if it was never recorded. Methods that allocate raise DeviceMemoryError if memory is exhausted.
    """

    name: str
    number: int
    capability: tuple[int, int]
    stream: int
    gate: CaptureGate

    @property
    def capturing(self) -> bool: ...
    def describe(self) -> dict[str, Any]: ...
    def activate(self) -> None: ...
    def memory_info(self) -> tuple[int, int]: ...
    def allocate(self, size: int) -> int: ...
    def free(self, address: int) -> None: ...
    def owns(self, address: int) -> bool: ...
    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]: ...
    def free_pinned(self, array: NDArray[Any]) -> None: ...
    def upload(self, address: int, array: NDArray[Any]) -> None: ...
    def download(self, array: NDArray[Any], address: int) -> None: ...
    def copy(self, to: int, source: int, size: int) -> None: ...
    def synchronize(self) -> None: ...
    def follow(self, stream: int) -> None: ...
    def event(self) -> int: ...
    def record(self, event: int) -> None: ...
    def wait(self, event: int) -> None: ...
    def free_event(self, event: int) -> None: ...
    def begin_capture(self) -> None: ...
    def end_capture(self) -> int: ...
    def launch(self, graph: int) -> None: ...
    def call(self, function: str, *arguments: Any) -> None: ...
    def free_graph(self, graph: int) -> None: ...


def gpu_capability() -> tuple[int, int] | None:
    """Return the compute capability of the first GPU; None without a GPU, a driver or cuda-bindings."""
    try:
        return CudaDevice().capability
    except EngineError:
        return None


class CudaDevice:
    """A GPU that CUDA_VISIBLE_DEVICES allows, by its number. Raises EngineError if there is none of that number.

    `allocate`, `wait` and the other calls that disturb captures pass the gate.
    """

    gate = GATE

    def __init__(self, number: int = 0) -> None:
        try:
            from cuda.bindings import runtime
        except ImportError as error:
            raise EngineError(
                f"CUDA's Python bindings cannot be imported: {error}; {INSTALL}, or {_INSTEAD}"
            ) from error
        self._cuda = runtime
        try:
            count = self._call("cudaGetDeviceCount")
        except EngineError as error:
            reason = str(error).removesuffix(f"; {_INSTEAD}")
            raise NoDeviceError(f"no NVIDIA GPU or driver here: {reason}", _INSTEAD) from error
        except RuntimeError as error:  # the runtime library itself does not load
            raise NoDeviceError(f"no NVIDIA GPU or driver here: {error}", _INSTEAD) from error
        if not count:
            raise NoDeviceError("no NVIDIA GPU here", _INSTEAD)
        if not 0 <= number < count:
            raise EngineError(f"device is {number}, CUDA finds the GPUs 0 to {count - 1}; see nvidia-smi -L")
        self.number = number
        properties = self._call("cudaGetDeviceProperties", number)
        self.name = properties.name.decode()
        self.capability = properties.major, properties.minor
        self._processors = properties.multiProcessorCount
        if self.capability < LEAST_CAPABILITY:
            raise NoDeviceError(
                f"{self.name} has compute capability {self.shown_capability}, the kernels need "
                f"{'{}.{}'.format(*LEAST_CAPABILITY)} or later",
                _INSTEAD,
            )
        self.activate()
        self._stream = self._call("cudaStreamCreateWithFlags", 1)  # non-blocking: does not wait for the default stream
        self.stream = int(self._stream)
        self.capturing = False
        self._graphs: dict[int, Any] = {}
        self._events: dict[int, Any] = {}

    @property
    def shown_capability(self) -> str:
        """The compute capability as NVIDIA writes it, such as 8.9."""
        return "{}.{}".format(*self.capability)

    def describe(self) -> dict[str, Any]:
        """Return everything about the GPU and its driver on which the choice and the results of kernels depend."""
        cuda = self._call("cudaDriverGetVersion")
        return {
            "device": self.name,
            "capability": self.shown_capability,
            "processors": self._processors,
            "driver": f"{_driver_version()}, CUDA {cuda // 1000}.{cuda % 1000 // 10}",
        }

    def activate(self) -> None:
        """Make this GPU the one that the calling thread allocates on and launches on."""
        self._call("cudaSetDevice", self.number)

    def memory_info(self) -> tuple[int, int]:
        """Return the free and the total bytes of the GPU."""
        self.activate()
        free, total = self._call_outside_captures("cudaMemGetInfo")
        return free, total

    def _call(self, name: str, *arguments: Any) -> Any:
        error, *results = getattr(self._cuda, name)(*arguments)
        if int(error):
            text = self._cuda.cudaGetErrorString(error)[1]
            detail = text.decode() if isinstance(text, bytes) else str(text)
            if name in ("cudaMalloc", "cudaMallocHost"):
                raise DeviceMemoryError(f"CUDA's {name} failed: {detail}; code smaller images")
            raise EngineError(f"CUDA's {name} failed: {detail}; {_INSTEAD}")
        return (results[0] if len(results) == 1 else results) if results else None

    def _call_outside_captures(self, name: str, *arguments: Any) -> Any:
        with self.gate.call():
            return self._call(name, *arguments)

    def allocate(self, size: int) -> int:
        return int(self._call_outside_captures("cudaMalloc", size))

    def free(self, address: int) -> None:
        self._call_outside_captures("cudaFree", address)

    def owns(self, address: int) -> bool:
        """Return whether an address is in the memory of this GPU."""
        attributes = self._call_outside_captures("cudaPointerGetAttributes", address)
        kinds = self._cuda.cudaMemoryType
        is_on_a_gpu = attributes.type in (kinds.cudaMemoryTypeDevice, kinds.cudaMemoryTypeManaged)
        return bool(is_on_a_gpu and attributes.device == self.number)

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address = int(self._call_outside_captures("cudaMallocHost", max(size, 1)))
        memory = memoryview((ctypes.c_uint8 * size).from_address(address))
        array: NDArray[Any] = np.ndarray(shape, np.dtype(dtype), memory)
        return array

    def free_pinned(self, array: NDArray[Any]) -> None:
        self._call_outside_captures("cudaFreeHost", array.ctypes.data)

    def upload(self, address: int, array: NDArray[Any]) -> None:
        self._call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, self._kind(1), self._stream)

    def download(self, array: NDArray[Any], address: int) -> None:
        self._call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, self._kind(2), self._stream)

    def copy(self, to: int, source: int, size: int) -> None:
        self._call("cudaMemcpyAsync", to, source, size, self._kind(3), self._stream)

    def _kind(self, kind: int) -> Any:
        return self._cuda.cudaMemcpyKind(kind)

    def synchronize(self) -> None:
        self._call_outside_captures("cudaStreamSynchronize", self._stream)

    def follow(self, stream: int) -> None:
        """Let the stream wait for the work that is on another stream now."""
        event = self._call_outside_captures("cudaEventCreateWithFlags", 2)
        self._call("cudaEventRecord", event, stream)
        self._call("cudaStreamWaitEvent", self._stream, event, 0)
        self._call_outside_captures("cudaEventDestroy", event)

    def event(self) -> int:
        event = self._call_outside_captures("cudaEventCreateWithFlags", 2)  # without timing, which is cheaper
        self._events[int(event)] = event
        return int(event)

    def record(self, event: int) -> None:
        self._call("cudaEventRecord", self._events[event], self._stream)

    def wait(self, event: int) -> None:
        self._call_outside_captures("cudaEventSynchronize", self._events[event])

    def free_event(self, event: int) -> None:
        self._call_outside_captures("cudaEventDestroy", self._events.pop(event))

    def begin_capture(self) -> None:
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self._stream, mode)
        self.capturing = True

    def end_capture(self) -> int:
        self.capturing = False
        captured = self._call("cudaStreamEndCapture", self._stream)
        try:
            graph = self._call("cudaGraphInstantiate", captured, 0)
        finally:
            self._call("cudaGraphDestroy", captured)
        self._graphs[int(graph)] = graph
        return int(graph)

    def call(self, function: str, *arguments: Any) -> None:
        """Put the work of a function of libglic_cuda, whose last argument is the stream, on the stream."""
        error = getattr(_kernels(), function)(*arguments, ctypes.c_void_p(self.stream))
        if error:
            raise EngineError(
                f"{function} failed with CUDA error {error} on {self.name}; see docs/gpu.md, or {_INSTEAD}"
            )

    def launch(self, graph: int) -> None:
        self._call("cudaGraphLaunch", self._graphs[graph], self._stream)

    def free_graph(self, graph: int) -> None:
        self._call("cudaGraphExecDestroy", self._graphs.pop(graph))


@functools.cache
def _kernels() -> ctypes.CDLL:
    return native.load("glic_cuda", GPU_LIBRARIES)


def memory_refusal(device: Device, height: int, width: int, needed: int, available: int) -> str | None:
    """Return that an image needs more bytes of device memory than are available; None if they suffice."""
    if needed <= available:
        return None
    total = device.memory_info()[1]
    return (
        f"coding {width:,} x {height:,} pixels at once takes up to {needed / (1 << 30):.2f} GiB on {device.name}, "
        f"which has {available / (1 << 30):.2f} of {total / (1 << 30):.2f} GiB to spare"
    )


def _driver_version() -> str:
    """Return the version of NVIDIA's driver, such as 580.65.06; "unknown" without its library NVML (older Jetsons)."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return "unknown"
    version = ctypes.create_string_buffer(96)
    if nvml.nvmlInit_v2() or nvml.nvmlSystemGetDriverVersion(version, len(version)):
        return "unknown"
    return version.value.decode()
