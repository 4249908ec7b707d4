"""A GPU and a TensorRT that are not there: every call of the backend is checked as strictly as the real ones would.

Memory is copied in the stream's order and as late as may be; an execution context runs its graph with onnxruntime on
what the device memory holds.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import DTypeLike, NDArray

from glic_deploy.backends.cuda import DeviceMemoryError
from glic_deploy.backends.onnxruntime import custom_ops_library
from glic_deploy.bundle import TENSORRT, Bundle
from glic_deploy.errors import EngineError
from glic_deploy.tensorrt import Flavour, Profile

Array = NDArray[Any]
GARBAGE = 0xCD


class SimulatedDevice:
    """Device memory as bytes, and a stream that runs what is put on it as late as it may: when it is waited for.

    What is copied may not be touched by the host before that, and is checked: a download's target holds garbage until
    then, an upload's source must still be what it was.
    """

    name = "simulated GPU"
    capability = (8, 9)
    stream = 77

    def __init__(self) -> None:
        self.memory: dict[int, Array] = {}
        self.capacity = 1 << 40
        self.pinned_arrays: dict[int, Array] = {}
        self.queue: list[tuple[Any, tuple[int, ...]]] = []
        self.capturing: list[Any] | None = None
        self.graphs: dict[int, list[Any]] = {}
        self.events: dict[int, int] = {}
        self.calls: list[str] = []
        self.uploaded = 0
        self._numbers = itertools.count(1)

    def allocate(self, size: int) -> int:
        assert size > 0
        assert self.capturing is None, "memory allocated while capturing"
        if self.held() + size > self.capacity:
            raise DeviceMemoryError("the simulated memory is full; code smaller images")
        block = np.full(size, GARBAGE, np.uint8)
        self.memory[block.ctypes.data] = block
        self.calls.append("allocate")
        return block.ctypes.data

    def held(self) -> int:
        """Bytes that are allocated."""
        return sum(block.nbytes for block in self.memory.values())

    def free(self, address: int) -> None:
        assert not self._used(self.memory.pop(address)), "device memory freed that is still worked on"

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        array = np.empty(shape, dtype)
        self.pinned_arrays[array.ctypes.data] = array
        return array

    def free_pinned(self, array: Array) -> None:
        assert not self._used(self.pinned_arrays.pop(array.ctypes.data)), "pinned memory freed that is still copied"

    def upload(self, address: int, array: Array) -> None:
        self._check_pinned(array)
        self.uploaded += array.nbytes
        sent = array.tobytes()

        def work() -> None:
            assert array.tobytes() == sent, "pinned memory written while it was being sent"
            self.bytes_at(address, array.nbytes)[...] = np.frombuffer(sent, np.uint8)

        self._put("upload", work, address, array.ctypes.data)

    def download(self, array: Array, address: int) -> None:
        self._check_pinned(array)
        target = array.reshape(-1).view(np.uint8)
        target[...] = GARBAGE

        def work() -> None:
            assert (target == GARBAGE).all(), "pinned memory written while it was being received"
            target[...] = self.bytes_at(address, array.nbytes)

        self._put("download", work, address, array.ctypes.data)

    def copy(self, to: int, source: int, size: int) -> None:
        def work() -> None:
            self.bytes_at(to, size)[...] = self.bytes_at(source, size)

        self._put("copy", work, to, source)

    def synchronize(self) -> None:
        assert self.capturing is None, "waited for the stream while capturing"
        self.calls.append("synchronize")
        self._run(len(self.queue))

    def event(self) -> int:
        event = next(self._numbers)
        self.events[event] = 0
        return event

    def record(self, event: int) -> None:
        assert event in self.events
        self.events[event] += 1
        self._put("record", (event, self.events[event]))

    def wait(self, event: int) -> None:
        assert self.capturing is None, "waited for an event while capturing"
        self.calls.append("wait")
        mark = event, self.events[event]
        place = next((i for i, (work, _) in enumerate(self.queue) if work == mark), None)
        if place is not None:
            self._run(place + 1)

    def free_event(self, event: int) -> None:
        del self.events[event]

    def begin_capture(self) -> None:
        self.capturing = []

    def end_capture(self) -> int:
        assert self.capturing is not None
        graph = next(self._numbers)
        self.graphs[graph], self.capturing = self.capturing, None
        return graph

    def launch(self, graph: int) -> None:
        work = self.graphs[graph]
        self._put("launch", lambda: [part() for part in work])

    def free_graph(self, graph: int) -> None:
        del self.graphs[graph]

    def execute(self, work: Any) -> None:
        self._put("execute", work)

    def view(self, address: int, shape: Sequence[int], dtype: DTypeLike) -> Array:
        return self.bytes_at(address, int(np.prod(shape)) * np.dtype(dtype).itemsize).view(dtype).reshape(shape)

    def bytes_at(self, address: int, size: int) -> Array:
        """Device memory at an address within a block."""
        for start, block in self.memory.items():
            if start <= address and address + size <= start + block.nbytes:
                return block[address - start :][:size]
        raise AssertionError("an address that is not of the device's memory")

    def _check_pinned(self, array: Array) -> None:
        assert array.flags.c_contiguous
        first, last = array.ctypes.data, array.ctypes.data + array.nbytes
        inside = (start <= first and last <= start + pinned.nbytes for start, pinned in self.pinned_arrays.items())
        assert any(inside), "a copy from or to memory that is not pinned"

    def _used(self, block: Array) -> bool:
        first, last = block.ctypes.data, block.ctypes.data + block.nbytes
        return any(first <= address < last for _, addresses in self.queue for address in addresses)

    def _put(self, call: str, work: Any, *addresses: int) -> None:
        self.calls.append(call)
        if self.capturing is None:
            self.queue.append((work, addresses))
        else:
            self.capturing.append(work)

    def _run(self, count: int) -> None:
        ready, self.queue = self.queue[:count], self.queue[count:]
        for work, _ in ready:
            if callable(work):
                work()


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
        self.graph = self.path.name.split(".")[0]
        ports = simulation.bundle.ports(self.graph)[0]
        self.profile = {port.name: simulation.profile.shapes(port) for port in ports}

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
        self.device.bytes_at(address, 1)
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == self.device.stream
        assert set(self.addresses) == set(self.engine.ports), "a tensor has no address"
        assert self.device.capturing is None or self.runs > 0, "captured before a first run"
        if self.engine.simulation.refuses(self.engine.graph):
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
        self.fails_once: str | None = None  # a graph
        self.deserialized: list[str] = []
        kinds = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int32)": np.int32}
        self.api = SimpleNamespace(
            Runtime=lambda logger: self,
            TensorIOMode=SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT"),
            nptype=lambda kind: np.dtype(kinds[kind]),
        )
        self.flavour = Flavour("rtx", self.api, "0.simulated", None)

    def refuses(self, graph: str) -> bool:
        """Whether an execution fails."""
        if self.fails_once == graph:
            self.fails_once = None
            return True
        return self.refuses_capture and self.device.capturing is not None

    def deserialize_cuda_engine(self, plan: bytes) -> _Engine:
        self.deserialized.append(Path(plan.decode()).name.split(".")[0])
        return _Engine(self, plan)

    def build_plan(
        self, flavour: Flavour, graph: Path, inputs: Any, plugins: int, options: Any, progress: Any
    ) -> bytes:
        """Stands for `glic_deploy.tensorrt.build_plan`."""
        assert flavour is self.flavour
        if not graph.name.endswith(f".{TENSORRT}.onnx"):
            raise EngineError(f"a plan is built from a graph for TensorRT, not from {graph.name}")
        return str(graph).encode()
