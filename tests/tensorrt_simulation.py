"""A GPU and a TensorRT that are not there: every call of the backend is checked as strictly as the real ones would.

Memory is copied in the stream's order and as late as may be; an execution context runs its graph with onnxruntime on
what the device memory holds.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import DTypeLike, NDArray

from glic_deploy.backends.cuda import CaptureGate, DeviceMemoryError
from glic_deploy.backends.device_sequences import RUNS_BEFORE
from glic_deploy.backends.onnxruntime import custom_ops_library
from glic_deploy.bundle import TENSORRT, Bundle
from glic_deploy.errors import EngineError
from glic_deploy.tensorrt import Flavour, Profile

from .cuda_emulator import passes_library

Array = NDArray[Any]
Begin = Callable[[], Any]
"""Called when work is put on the stream, or when a captured graph with the work is; returns the work."""
ENUMERATIONS = {
    "ExecutionContextAllocationStrategy": ("STATIC", "USER_MANAGED"),
    "CudaGraphStrategy": ("DISABLED", "WHOLE_GRAPH_CAPTURE"),
    "DynamicShapesKernelSpecializationStrategy": ("LAZY", "EAGER"),
}
"""The enumerations of the API that the backend uses, with their members."""
GARBAGE = 0xCD


class SimulatedDevice:
    """Device memory as bytes, and a stream that runs what is put on it as late as it may: when it is waited for.

    What is copied may not be touched by the host before that, and is checked: a download's target holds garbage until
    then, an upload's source must still be what it was.
    """

    name = "simulated GPU"
    number = 0
    capability = (8, 9)
    shown_capability = "8.9"
    stream = 77
    driver = "580.simulated"

    def __init__(self) -> None:
        self.gate = CaptureGate()
        self.lock = threading.RLock()  # the device itself takes calls from several threads
        self.during_wait: Any = None  # called before a wait, in its thread
        self._thread = threading.local()
        self.memory: dict[int, Array] = {}
        self.capacity = 1 << 40
        self.pinned_arrays: dict[int, Array] = {}
        self.queue: list[tuple[Any, tuple[int, ...]]] = []
        self.captured: list[tuple[Begin, tuple[int, ...]]] | None = None
        self._capturing_thread: int | None = None
        self.graphs: dict[int, list[tuple[Begin, tuple[int, ...]]]] = {}
        self.events: dict[int, int] = {}
        self.calls: list[str] = []
        self.uploaded = 0
        self._invalid = False  # the capture
        self.followed: list[int] = []  # the streams that were waited for
        self._numbers = itertools.count(1)

    @property
    def capturing(self) -> bool:
        return self.captured is not None

    def _refuse_in_a_capture(self, what: str) -> None:
        """Raise, and make the capture invalid, as CUDA does in its thread-local mode."""
        if self._capturing_thread == threading.get_ident():
            self.captured = []
            self._invalid = True
            raise EngineError(f"{what}: operation not permitted when stream is capturing")

    def describe(self) -> dict[str, Any]:
        return {"device": self.name, "capability": self.shown_capability, "driver": self.driver}

    def activate(self) -> None:
        self._thread.active = True

    def _check_active(self) -> None:
        assert getattr(self._thread, "active", False), "this thread may work on another GPU"

    def memory_info(self) -> tuple[int, int]:
        return self.capacity - self.held(), self.capacity

    def allocate(self, size: int) -> int:
        assert size > 0
        self._check_active()
        self._refuse_in_a_capture("cudaMalloc")
        if self.held() + size > self.capacity:
            raise DeviceMemoryError("the simulated memory is full; code smaller images")
        block = np.full(size + 255, GARBAGE, np.uint8)
        block = block[-block.ctypes.data % 256 :][:size]  # aligned as cudaMalloc aligns
        self.memory[block.ctypes.data] = block
        self.calls.append("allocate")
        return block.ctypes.data

    def held(self) -> int:
        """Bytes that are allocated."""
        return sum(block.nbytes for block in self.memory.values())

    def free(self, address: int) -> None:
        self._refuse_in_a_capture("cudaFree")
        assert not self._used(self.memory.pop(address)), "device memory freed that is still worked on"

    def owns(self, address: int) -> bool:
        return any(start <= address < start + block.nbytes for start, block in self.memory.items())

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        self._refuse_in_a_capture("cudaMallocHost")
        array = np.empty(shape, dtype)
        self.pinned_arrays[array.ctypes.data] = array
        return array

    def free_pinned(self, array: Array) -> None:
        assert not self._used(self.pinned_arrays.pop(array.ctypes.data)), "pinned memory freed that is still copied"

    def upload(self, address: int, array: Array) -> None:
        self._check_pinned(array)
        self.uploaded += array.nbytes

        def begin() -> Any:
            sent = array.tobytes()

            def work() -> None:
                assert array.tobytes() == sent, "pinned memory written while it was being sent"
                self.bytes_at(address, array.nbytes)[...] = np.frombuffer(sent, np.uint8)

            return work

        self._begin("upload", begin, address, array.ctypes.data)

    def download(self, array: Array, address: int) -> None:
        self._check_pinned(array)
        target = array.reshape(-1).view(np.uint8)

        def begin() -> Any:
            target[...] = GARBAGE

            def work() -> None:
                assert (target == GARBAGE).all(), "pinned memory written while it was being received"
                target[...] = self.bytes_at(address, array.nbytes)

            return work

        self._begin("download", begin, address, array.ctypes.data)

    def copy(self, to: int, source: int, size: int) -> None:
        def work() -> None:
            self.bytes_at(to, size)[...] = self.bytes_at(source, size)

        self._put("copy", work, to, source)

    def synchronize(self) -> None:
        self._refuse_in_a_capture("cudaStreamSynchronize")
        self.calls.append("synchronize")
        self.flush()

    def flush(self) -> None:
        """Run all that is on the stream, as a library that waits for it."""
        with self.lock:
            self._run(len(self.queue))

    def follow(self, stream: int) -> None:
        self._refuse_in_a_capture("cudaStreamWaitEvent")
        self._put("follow", lambda: self.followed.append(stream))

    def event(self) -> int:
        self._check_active()
        event = next(self._numbers)
        self.events[event] = 0
        return event

    def record(self, event: int) -> None:
        assert event in self.events
        assert not self.capturing, "nothing can wait for an event that was captured"
        self.events[event] += 1
        self._put("record", (event, self.events[event]))

    def wait(self, event: int) -> None:
        self._refuse_in_a_capture("cudaEventSynchronize")
        assert event in self.events
        if self.during_wait is not None:
            self.during_wait()
        self.calls.append("wait")
        with self.lock:
            mark = event, self.events[event]
            place = next((i for i, (work, _) in enumerate(self.queue) if work == mark), None)
            if place is not None:
                self._run(place + 1)

    def free_event(self, event: int) -> None:
        del self.events[event]

    def begin_capture(self) -> None:
        assert not self.capturing, "a capture within a capture"
        self.captured, self._invalid, self._capturing_thread = [], False, threading.get_ident()

    def end_capture(self) -> int:
        assert self.captured is not None
        assert self._capturing_thread == threading.get_ident()
        captured, self.captured, self._capturing_thread = self.captured, None, None
        if self._invalid:
            raise EngineError("cudaStreamEndCapture: operation failed due to a previous error during capture")
        graph = next(self._numbers)
        self.graphs[graph] = captured
        return graph

    def launch(self, graph: int) -> None:
        assert not self.capturing, "a graph within a graph"
        begun = [begin() for begin, _ in self.graphs[graph]]
        used = [address for _, addresses in self.graphs[graph] for address in addresses]
        self._put("launch", lambda: [work() for work in begun], *used)

    def free_graph(self, graph: int) -> None:
        del self.graphs[graph]

    def call(self, function: str, *arguments: Any) -> None:
        """Put a function of the emulated kernels on the stream."""
        self._check_active()
        addresses = [argument.value for argument in arguments if isinstance(argument, ctypes.c_void_p)]
        for address in addresses:
            if address is not None:
                self.bytes_at(address, 1)

        def work() -> None:
            assert getattr(passes_library(), function)(*arguments, None) == 0

        self._put(function, work, *(address for address in addresses if address is not None))

    def execute(self, work: Any, *addresses: int, captured: bool = False) -> None:
        self._check_active()
        self._put("launch" if captured else "execute", work, *addresses)

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
        self._begin(call, lambda: work, *addresses)

    def _begin(self, call: str, begin: Begin, *addresses: int) -> None:
        with self.lock:
            if self.captured is None:
                self.calls.append(call)
                self.queue.append((begin(), addresses))
            else:
                assert self._capturing_thread == threading.get_ident()
                self.captured.append((begin, addresses))

    def _run(self, count: int) -> None:
        ready, self.queue = self.queue[:count], self.queue[count:]
        for work, _ in ready:
            if callable(work):
                work()


class _Engine:
    def __init__(self, simulation: SimulatedTensorRT, plan: bytes) -> None:
        self.simulation, self.path = simulation, Path(plan.decode().split("?")[0])
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

    def create_runtime_config(self) -> _RuntimeConfig:
        assert self.simulation.flavour.name == "rtx", "TensorRT has no such configuration in all versions"
        return _RuntimeConfig(self.simulation)

    def create_execution_context(self, settings: Any) -> _Context:
        rtx = self.simulation.flavour.name == "rtx"
        assert isinstance(settings, _RuntimeConfig) == rtx
        strategy = settings.strategy if isinstance(settings, _RuntimeConfig) else settings
        assert strategy == "USER_MANAGED", "the context would hold memory for the largest shape of the profile"
        if isinstance(settings, _RuntimeConfig):
            assert settings.cuda_graph_strategy == "WHOLE_GRAPH_CAPTURE"
            assert settings.dynamic_shapes_kernel_specialization_strategy == "EAGER"
        return _Context(self, settings if rtx else None)


class _RuntimeConfig:
    """TensorRT-RTX's: its attributes have the API's defaults until they are set."""

    cuda_graph_strategy = "DISABLED"
    dynamic_shapes_kernel_specialization_strategy = "LAZY"
    strategy = "STATIC"

    def __init__(self, simulation: SimulatedTensorRT) -> None:
        self.simulation = simulation
        self.kernels: _RuntimeCache | None = None

    def set_execution_context_allocation_strategy(self, strategy: str) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> _RuntimeCache:
        return _RuntimeCache()

    def set_runtime_cache(self, cache: _RuntimeCache) -> bool:
        self.kernels = cache
        return True


class _RuntimeCache:
    """The shapes for which kernels were compiled."""

    def __init__(self) -> None:
        self.shapes: list[Any] = []

    def serialize(self) -> bytes:
        return json.dumps(self.shapes).encode()

    def deserialize(self, data: bytes) -> bool:
        self.shapes = json.loads(data)
        return True


class _Context:
    def __init__(self, engine: _Engine, config: _RuntimeConfig | None) -> None:
        self.engine, self.device, self.config = engine, engine.simulation.device, config
        self.scratch = (0, 0)  # address and size
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
        return self.engine.simulation.refuses_address != name

    def update_device_memory_size_for_shapes(self) -> int:
        assert set(self.shapes) == set(self.engine.inputs), "the size was asked for before all inputs were set"
        return self.engine.simulation.scratch_of(self.shapes)

    def set_device_memory(self, address: int, size: int) -> None:
        assert address % 256 == 0
        self.device.bytes_at(address, size)
        self.scratch = address, size

    def is_stream_capturable(self, stream: int) -> bool:
        assert self.config is not None, "TensorRT has no such call"
        return not self.engine.simulation.refuses_capture

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == self.device.stream
        assert set(self.addresses) == set(self.engine.ports), "a tensor has no address"
        assert not self.device.capturing or self.runs > 0, "captured before a first run"
        address, size = self.scratch
        assert size >= self.engine.simulation.scratch_of(self.shapes), "too little scratch memory"
        if self.engine.simulation.refuses(self.engine.graph):
            return False
        captured = False
        if self.config is not None:
            assert not self.device.capturing, "TensorRT-RTX captures by itself"
            captured = self.runs > 0 and self.is_stream_capturable(stream)
            self._compile(self.config)
        self.runs += 1
        self.device.execute(lambda: self._compute(address, size), address, captured=captured)
        return True

    def _compile(self, config: _RuntimeConfig) -> None:
        key = [self.engine.graph, sorted([name, list(shape)] for name, shape in self.shapes.items())]
        assert config.kernels is not None, "kernels are compiled again in every process"
        if key not in config.kernels.shapes:
            config.kernels.shapes.append(key)
            self.engine.simulation.compiled.append(self.engine.graph)

    def _compute(self, address: int, size: int) -> None:
        self.device.bytes_at(address, size)[...] = GARBAGE  # which must not be memory of anything else
        feeds = {
            name: self.device.view(self.addresses[name], shape, self._dtype(name)).copy()
            for name, shape in self.shapes.items()
        }
        names = [name for name in self.engine.ports if name not in feeds]
        for name, value in zip(names, self.engine.session.run(names, feeds), strict=True):
            if (
                (wrong := self.engine.simulation.wrong)
                and wrong[0] == self.engine.graph
                and wrong[1] in self.shapes.values()
            ):
                value.flat[-1] += 1
            self.device.view(self.addresses[name], value.shape, value.dtype)[...] = value

    def _dtype(self, name: str) -> np.dtype:
        return self.engine.simulation.api.nptype(self.engine.ports[name].type)


class SimulatedTensorRT:
    """A flavour whose plans are paths of ONNX files. `flavour` is what the backend takes."""

    def __init__(self, bundle: Bundle, device: SimulatedDevice, profile: Profile, flavour: str = "tensorrt") -> None:
        self.bundle, self.device, self.profile = bundle, device, profile
        self.refuses_capture = False
        self.refuses_address: str | None = None  # a tensor
        self.wrong: tuple[str, tuple[int, ...]] | None = None  # a graph and the shape of an input that it gets wrong
        self.scratch_factor = 1
        self.compiled: list[str] = []  # the graphs for which TensorRT-RTX compiled kernels
        self.built: list[str] = []
        self.tactics = 0  # what distinguishes one build of a plan from the next
        self.fails_once: str | None = None  # a graph
        self.deserialized: list[str] = []
        kinds = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int32)": np.int32}
        self.api = SimpleNamespace(
            Runtime=lambda logger: self,
            TensorIOMode=SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT"),
            nptype=lambda kind: np.dtype(kinds[kind]),
            **{name: SimpleNamespace(**{key: key for key in keys}) for name, keys in ENUMERATIONS.items()},
        )
        self.flavour = Flavour(flavour, self.api, "0.simulated", None, "plugins")

    def scratch_of(self, shapes: dict[str, tuple[int, ...]]) -> int:
        """Bytes of scratch memory of a run: more for larger inputs."""
        return self.scratch_factor * sum(int(np.prod(shape)) for shape in shapes.values())

    def refuses(self, graph: str) -> bool:
        """Whether an execution fails."""
        if self.fails_once == graph:
            self.fails_once = None
            return True
        return self.refuses_capture and self.device.capturing

    def deserialize_cuda_engine(self, plan: bytes) -> _Engine:
        self.deserialized.append(Path(plan.decode()).name.split(".")[0])
        return _Engine(self, plan)

    def build_plan(
        self, flavour: Flavour, graph: Path, inputs: Any, plugins: int, options: Any, progress: Any, *, exact: bool
    ) -> bytes:
        """Stands for `glic_deploy.tensorrt.build_plan`."""
        assert flavour is self.flavour
        if not graph.name.endswith(f".{TENSORRT}.onnx"):
            raise EngineError(f"a plan is built from a graph for TensorRT, not from {graph.name}")
        self.built.append(graph.name.split(".")[0])
        if progress is not None:
            progress("timing")
        return f"{graph}?{self.tactics}".encode()


def simulated(engine: Path, monkeypatch: pytest.MonkeyPatch, flavour: str = "tensorrt") -> SimulatedTensorRT:
    """A simulated flavour on a simulated device, which also builds the backend's plans."""
    simulation = SimulatedTensorRT(Bundle.open(engine), SimulatedDevice(), Profile(largest=(512, 768)), flavour)
    monkeypatch.setattr("glic_deploy.backends.tensorrt_plans.build_plan", simulation.build_plan)
    return simulation


def counted(engine: Path) -> dict[str, int]:
    """How often the codec of a bundle with graphs for TensorRT waits for the GPU, at a size that it has coded before.

    decode_waits_per_pass: without those for z and the image.
    encode_synchronisations, encode_launches: the former at effort 1, the latter at effort 0, with all graphs, kernels
        and copies.
    """
    from glic_deploy.backends.tensorrt import TensorRTBackend
    from glic_deploy.bundle_codec import BundleCodec
    from glic_deploy.entropy.quantizer import Weighing

    with pytest.MonkeyPatch.context() as patched:
        simulation = simulated(engine, patched)
        device, bundle = simulation.device, simulation.bundle
        codec = BundleCodec(engine, backend=TensorRTBackend(bundle, device, simulation.flavour))
        image = np.random.default_rng(0).integers(0, 256, (128, 256, 3), np.uint8)
        passes = 2 * len(bundle.groups)
        weighing = Weighing(0.5, (1.0,) * passes)
        for _ in range(3):
            device.calls.clear()
            coded = codec.encode(image, weighing=weighing)
            waits = sum(device.calls.count(call) for call in ("wait", "synchronize"))
            device.calls.clear()
            codec.decode(*coded, 128, 256)
        of_decoding = device.calls.count("wait") - 1  # for the image
        assert of_decoding % passes == 0
        assert "synchronize" not in device.calls
        for _ in range(RUNS_BEFORE + 2):
            device.calls.clear()
            codec.encode(image)
        launches = len(device.calls) - sum(device.calls.count(call) for call in ("record", "wait"))
        codec.close()
    return {
        "decode_waits_per_pass": of_decoding // passes,
        "encode_synchronisations": waits,
        "encode_launches": launches,
    }
