"""A GPU and a TensorRT that are not there: every call of the backend is checked as strictly as the real ones would.

Memory is addressed by integers and copied in the stream's order; an execution context runs its graph with onnxruntime
on what the device memory holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import DTypeLike, NDArray

from glic_deploy.backends.onnxruntime import custom_ops_library
from glic_deploy.bundle import TENSORRT, Bundle
from glic_deploy.errors import EngineError
from glic_deploy.tensorrt import Flavour, Profile

Array = NDArray[Any]


class SimulatedDevice:
    """Device memory as bytes, a stream that runs what is put on it when it is waited for, and captures."""

    name = "simulated GPU"
    capability = (8, 9)
    stream = 77

    def __init__(self) -> None:
        self.memory: dict[int, Array] = {}
        self.pinned_arrays: dict[int, Array] = {}
        self.queue: list[Any] = []
        self.capturing: list[Any] | None = None
        self.graphs: list[list[Any]] = []
        self.calls: list[str] = []
        self.uploaded = 0
        self._next = 4096

    def allocate(self, size: int) -> int:
        assert size > 0
        assert self.capturing is None, "memory allocated while capturing"
        address, self._next = self._next, self._next + size + 4096
        self.memory[address] = np.full(size, 0xCD, np.uint8)
        self.calls.append("allocate")
        return address

    def free(self, address: int) -> None:
        del self.memory[address]

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        array = np.empty(shape, dtype)
        self.pinned_arrays[array.ctypes.data] = array
        return array

    def free_pinned(self, array: Array) -> None:
        del self.pinned_arrays[array.ctypes.data]

    def upload(self, address: int, array: Array) -> None:
        assert array.ctypes.data in self.pinned_arrays, "an upload from memory that is not pinned"
        assert self.memory[address].nbytes >= array.nbytes
        self.uploaded += array.nbytes
        self._put("upload", lambda: self._write(address, array.tobytes()))

    def download(self, array: Array, address: int) -> None:
        assert array.ctypes.data in self.pinned_arrays, "a download to memory that is not pinned"
        self._put("download", lambda: np.copyto(array, self.view(address, array.shape, array.dtype)))

    def copy(self, to: int, source: int, size: int) -> None:
        self._put("copy", lambda: self._write(to, self.memory[source][:size].tobytes()))

    def synchronize(self) -> None:
        assert self.capturing is None, "waited for the stream while capturing"
        for work in self.queue:
            work()
        self.queue.clear()

    def begin_capture(self) -> None:
        self.capturing = []

    def end_capture(self) -> int:
        assert self.capturing is not None
        self.graphs.append(self.capturing)
        self.capturing = None
        return len(self.graphs)

    def launch(self, graph: int) -> None:
        self._put("launch", lambda: [work() for work in self.graphs[graph - 1]])

    def execute(self, work: Any) -> None:
        self._put("execute", work)

    def view(self, address: int, shape: Sequence[int], dtype: DTypeLike) -> Array:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self.memory[address][:size].view(dtype).reshape(shape)

    def _write(self, address: int, data: bytes) -> None:
        self.memory[address][: len(data)] = np.frombuffer(data, np.uint8)

    def _put(self, call: str, work: Any) -> None:
        self.calls.append(call)
        (self.queue if self.capturing is None else self.capturing).append(work)


class _Engine:
    def __init__(self, simulation: SimulatedTensorRT, plan: bytes) -> None:
        self.simulation, self.path = simulation, Path(plan.decode())
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        options.register_custom_ops_library(custom_ops_library())
        self.session = ort.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
        self.inputs = {i.name: i for i in self.session.get_inputs()}
        self.ports = self.inputs | {o.name: o for o in self.session.get_outputs()}
        self.num_io_tensors = len(self.ports)
        graph = self.path.name.split(".")[0]
        self.profile = {port["name"]: simulation.profile.shapes(port) for port in simulation.bundle.ports(graph)[0]}

    def get_tensor_name(self, index: int) -> str:
        return list(self.ports)[index]

    def get_tensor_mode(self, name: str) -> str:
        return "INPUT" if name in self.inputs else "OUTPUT"

    def get_tensor_dtype(self, name: str) -> str:
        return self.ports[name].type

    def get_tensor_profile_shape(self, name: str, profile: int) -> Any:
        assert profile == 0
        return self.profile[name]

    def create_execution_context(self) -> _Context:
        return _Context(self)


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self.engine, self.device = engine, engine.simulation.device
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.runs = 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        smallest, _, largest = self.engine.profile[name]
        fits = len(shape) == len(smallest) and all(np.less_equal(smallest, shape) & np.less_equal(shape, largest))
        if fits:
            self.shapes[name] = tuple(shape)
        return fits

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert set(self.shapes) == set(self.engine.inputs), "a shape was asked for before all inputs were set"
        if name in self.shapes:
            return self.shapes[name]
        zeros = {key: np.zeros(shape, self._dtype(key)) for key, shape in self.shapes.items()}
        return self.engine.session.run([name], zeros)[0].shape

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address in self.device.memory
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == self.device.stream
        assert set(self.addresses) == set(self.engine.ports), "a tensor has no address"
        assert self.device.capturing is None or self.runs > 0, "captured before a first run"
        if self.engine.simulation.refuses_capture and self.device.capturing is not None:
            return False
        self.runs += 1
        self.device.execute(self._compute)
        return True

    def _compute(self) -> None:
        feeds = {
            name: self.device.view(self.addresses[name], shape, self._dtype(name)).copy()
            for name, shape in self.shapes.items()
        }
        names = [name for name in self.engine.ports if name not in feeds]
        for name, value in zip(names, self.engine.session.run(names, feeds), strict=True):
            self.device.view(self.addresses[name], value.shape, value.dtype)[...] = value

    def _dtype(self, name: str) -> np.dtype:
        return self.engine.simulation.api.nptype(self.engine.ports[name].type)


class SimulatedTensorRT:
    """A flavour whose plans are paths of ONNX files. `flavour` is what the backend takes."""

    def __init__(self, bundle: Bundle, device: SimulatedDevice, profile: Profile) -> None:
        self.bundle, self.device, self.profile = bundle, device, profile
        self.refuses_capture = False
        self.deserialized: list[str] = []
        kinds = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int32)": np.int32}
        self.api = SimpleNamespace(
            Runtime=lambda logger: self,
            TensorIOMode=SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT"),
            nptype=lambda kind: np.dtype(kinds[kind]),
        )
        self.flavour = Flavour("rtx", self.api, "0.simulated", None)

    def deserialize_cuda_engine(self, plan: bytes) -> _Engine:
        self.deserialized.append(Path(plan.decode()).name.split(".")[0])
        return _Engine(self, plan)

    def build_plan(self, flavour: Flavour, graph: Path, inputs: Any, plugins: int, options: Any) -> bytes:
        """Stands for `glic_deploy.tensorrt.build_plan`."""
        assert flavour is self.flavour
        if not graph.name.endswith(f".{TENSORRT}.onnx"):
            raise EngineError(f"a plan is built from a graph for TensorRT, not from {graph.name}")
        return str(graph).encode()
