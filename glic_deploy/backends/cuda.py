"""The GPU interface of the backends (memory, copies, one stream, events, graphs), on NVIDIA's cuda-bindings."""

from __future__ import annotations

import ctypes
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import EngineError
from .base import UnusableError
from .declarations import ON_THE_CPU

INSTALL = "pip install cuda-bindings"
_INSTEAD = f"use a backend that needs no GPU: {ON_THE_CPU}"


class DeviceMemoryError(EngineError):
    """Device memory or pinned host memory is exhausted."""


class NoDeviceError(UnusableError):
    """This machine has no NVIDIA GPU, or no driver for it."""


class Device(Protocol):
    """Memory and one stream of a GPU. Addresses, streams, events and graphs are integers.

    Copies and launches run in the order of the stream. An event is reached when everything enqueued before its last
    `record` is done, or if it was never recorded. Methods that allocate raise DeviceMemoryError if memory is exhausted.
    """

    name: str
    capability: tuple[int, int]
    stream: int

    def allocate(self, size: int) -> int: ...
    def free(self, address: int) -> None: ...
    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]: ...
    def free_pinned(self, array: NDArray[Any]) -> None: ...
    def upload(self, address: int, array: NDArray[Any]) -> None: ...
    def download(self, array: NDArray[Any], address: int) -> None: ...
    def copy(self, to: int, source: int, size: int) -> None: ...
    def synchronize(self) -> None: ...
    def event(self) -> int: ...
    def record(self, event: int) -> None: ...
    def wait(self, event: int) -> None: ...
    def free_event(self, event: int) -> None: ...
    def begin_capture(self) -> None: ...
    def end_capture(self) -> int: ...
    def launch(self, graph: int) -> None: ...
    def free_graph(self, graph: int) -> None: ...


def gpu_capability() -> tuple[int, int] | None:
    """Return the compute capability of the first GPU; None without a GPU, a driver or cuda-bindings."""
    try:
        return CudaDevice().capability
    except EngineError:
        return None


class CudaDevice:
    """The first GPU that CUDA_VISIBLE_DEVICES allows. Raises EngineError if there is none."""

    def __init__(self) -> None:
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
        properties = self._call("cudaGetDeviceProperties", 0)
        self.name = properties.name.decode()
        self.capability = properties.major, properties.minor
        self._stream = self._call("cudaStreamCreateWithFlags", 1)  # non-blocking: does not wait for the default stream
        self.stream = int(self._stream)
        self._graphs: dict[int, Any] = {}
        self._events: dict[int, Any] = {}

    @property
    def shown_capability(self) -> str:
        """The compute capability as NVIDIA writes it, such as 8.9."""
        return "{}.{}".format(*self.capability)

    def _call(self, name: str, *arguments: Any) -> Any:
        error, *results = getattr(self._cuda, name)(*arguments)
        if int(error):
            text = self._cuda.cudaGetErrorString(error)[1]
            detail = text.decode() if isinstance(text, bytes) else str(text)
            if name in ("cudaMalloc", "cudaMallocHost"):
                raise DeviceMemoryError(f"CUDA's {name} failed: {detail}; code smaller images")
            raise EngineError(f"CUDA's {name} failed: {detail}; {_INSTEAD}")
        return results[0] if results else None

    def allocate(self, size: int) -> int:
        return int(self._call("cudaMalloc", size))

    def free(self, address: int) -> None:
        self._call("cudaFree", address)

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address = int(self._call("cudaMallocHost", max(size, 1)))
        memory = memoryview((ctypes.c_uint8 * size).from_address(address))
        array: NDArray[Any] = np.ndarray(shape, np.dtype(dtype), memory)
        return array

    def free_pinned(self, array: NDArray[Any]) -> None:
        self._call("cudaFreeHost", array.ctypes.data)

    def upload(self, address: int, array: NDArray[Any]) -> None:
        self._call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, self._kind(1), self._stream)

    def download(self, array: NDArray[Any], address: int) -> None:
        self._call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, self._kind(2), self._stream)

    def copy(self, to: int, source: int, size: int) -> None:
        self._call("cudaMemcpyAsync", to, source, size, self._kind(3), self._stream)

    def _kind(self, kind: int) -> Any:
        return self._cuda.cudaMemcpyKind(kind)

    def synchronize(self) -> None:
        self._call("cudaStreamSynchronize", self._stream)

    def event(self) -> int:
        event = self._call("cudaEventCreateWithFlags", 2)  # without timing, which is cheaper
        self._events[int(event)] = event
        return int(event)

    def record(self, event: int) -> None:
        self._call("cudaEventRecord", self._events[event], self._stream)

    def wait(self, event: int) -> None:
        self._call("cudaEventSynchronize", self._events[event])

    def free_event(self, event: int) -> None:
        self._call("cudaEventDestroy", self._events.pop(event))

    def begin_capture(self) -> None:
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self._stream, mode)

    def end_capture(self) -> int:
        captured = self._call("cudaStreamEndCapture", self._stream)
        graph = self._call("cudaGraphInstantiate", captured, 0)
        self._call("cudaGraphDestroy", captured)
        self._graphs[int(graph)] = graph
        return int(graph)

    def launch(self, graph: int) -> None:
        self._call("cudaGraphLaunch", self._graphs[graph], self._stream)

    def free_graph(self, graph: int) -> None:
        self._call("cudaGraphExecDestroy", self._graphs.pop(graph))
