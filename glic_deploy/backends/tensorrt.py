"""TensorRT 10 and 11 and TensorRT-RTX on an NVIDIA GPU: plans of the bundle's graphs, run on one stream.

`tensorrt_plans` selects or builds the plans. `tensorrt_execution` runs them, with one block of scratch memory for all
graphs. `device_runs` copies the inputs and outputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..errors import EngineError
from ..tensorrt import INSTALL, Flavour, choose, installed, load
from ..values import Value
from .base import Backend, Offer, Precision, UnusableError, recorded_precision
from .cuda import CudaDevice, Device, memory_refusal
from .device_images import DeviceImages
from .device_memory import Shape
from .device_runs import DeviceRunner
from .device_steps import DeviceSteps, step_memory
from .proof import Proof, require_own_sums
from .tensorrt_execution import Execution, LoadedEngine, Scratch
from .tensorrt_plans import DECLARATION, FORM, Plans

if TYPE_CHECKING:
    from typing_extensions import Self


class TensorRTBackend(Backend):
    """Runs the plans of one bundle, each deserialised when its graph is first run.

    Raises EngineError if there is no GPU, no TensorRT for the GPU, or the bundle has no graphs for TensorRT.
    """

    name = DECLARATION.name
    _number = 0  # of the GPU

    def __init__(self, bundle: Bundle, device: Device | None = None, flavour: Flavour | None = None) -> None:
        require_own_sums(bundle, FORM)
        self._bundle = bundle
        self._device = device or CudaDevice(self._number)
        self._flavour = flavour or load(choose(self._device.capability))
        self._plans = Plans(bundle, self._device, self._flavour)
        self._runtime = self._flavour.api.Runtime(self._flavour.logger)
        self._engines: dict[str, LoadedEngine] = {}
        self._launched_one_by_one: set[str] = set()
        self._launches_whole = self._flavour.name != "rtx"  # which captures the launches of graphs itself
        self._scratch = Scratch(self._device, lambda: self._runner.forget_sequences())
        self._needs: dict[tuple[int, int], int | str] = {}  # by height and width
        self._proof = Proof(bundle, self)
        self._runner = DeviceRunner(self._device, bundle, self._prepare, self._proof, self._scratch.free)
        self.precision = recorded_precision(bundle, DECLARATION.forms)

    @classmethod
    def on_gpu(cls, number: int) -> type[Self]:
        return type(cls.__name__, (cls,), {"_number": number})

    @classmethod
    def check_machine(cls) -> str:
        device, flavour = cls._found()
        return f"{flavour.name} {flavour.version} on {device.name}, compute capability {device.shown_capability}"

    @classmethod
    def _found(cls) -> tuple[CudaDevice, Flavour]:
        device = CudaDevice(cls._number)
        if not installed():
            raise UnusableError("no TensorRT is installed", " or ".join(INSTALL.values()))
        return device, load(choose(device.capability))

    @classmethod
    def offer(cls, bundle: Bundle, threads: int | None, precision: Precision | None) -> Offer:
        """Return the offer of a backend whose plans exist. Plans are built only for users who name the backend."""
        if not all(bundle.has_form(name, FORM) for name in bundle.graphs()):
            remedy = f"add them: python -m export.to_trt --engine {bundle.path}"
            raise UnusableError(f"{bundle.path} has no graphs for TensorRT", remedy)
        require_own_sums(bundle, FORM)
        plans = Plans(bundle, *cls._found())
        if plans.missing():
            raise EngineError(f"{plans.what_is_missing()}; or name the backend, which builds them once and keeps them")
        return Offer(precision)

    @classmethod
    def open(cls, bundle: Bundle, threads: int | None, precision: Precision | None) -> Self:
        return cls(bundle)

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        return self._runner.run(graph, inputs)

    def start(self, graph: str, inputs: Mapping[str, Value]) -> Sequence[Value]:
        return self._runner.start(graph, inputs)

    def recorded(self, name: str, work: Callable[[Value], list[Value]], value: Value) -> Sequence[Value]:
        if not self._launches_whole:
            return work(value)
        return self._runner.recorded(name, work, value, lambda reason: self._note_slow_sequence(name, reason))

    def steps(self, channels: int, height: int, width: int) -> DeviceSteps:
        return DeviceSteps(self._runner, self._device, channels, height, width)

    def images(self) -> DeviceImages:
        return DeviceImages(self._runner, self._device)

    def _prepare(self, graph: str, shapes: Mapping[str, Shape]) -> Execution:
        engine = self._engine(graph)
        with self._device.gate.call():
            return Execution(
                self._flavour,
                self._device,
                self._scratch,
                graph,
                engine,
                shapes,
                lambda reason: self._note_slow_launch(graph, reason),
            )

    def _note_slow_launch(self, graph: str, reason: str) -> None:
        self._launched_one_by_one.add(graph)
        self.notices.add(
            f"the launch of {graph} cannot be captured as a CUDA graph: {reason}; its kernels are launched one "
            "by one, which is slower but gives the same results; try another version of TensorRT"
        )

    def _note_slow_sequence(self, name: str, reason: str) -> None:
        self._launches_whole = False
        self.notices.add(
            f"the launches of a whole {name} cannot be captured as one CUDA graph: {reason}; its graphs are launched "
            "one by one, which is slower but gives the same results; try another version of TensorRT"
        )

    @property
    def flavour(self) -> Flavour:
        """The flavour of TensorRT that runs the plans."""
        return self._flavour

    def cuda_engine(self, graph: str) -> Any:
        """Return a graph's `ICudaEngine`. On first use its plan is deserialised, or built. Raises EngineError."""
        return self._engine(graph).cuda_engine

    def _engine(self, graph: str) -> LoadedEngine:
        with self._runner.on_device():
            if graph not in self._engines:
                self._engines[graph] = self._load(graph)
            return self._engines[graph]

    def _load(self, graph: str) -> LoadedEngine:
        with self._device.gate.call():
            plan = self._plans.find(graph, self.notices)
            cuda_engine = self._runtime.deserialize_cuda_engine(plan)
        if cuda_engine is None:
            raise EngineError(
                f"TensorRT {self._flavour.version} cannot deserialise its plan of {graph}; build the plans again: "
                f"python -m export.to_trt --engine {self._bundle.path}"
            )
        return LoadedEngine(self._flavour, self._device, cuda_engine, hashlib.sha256(plan).hexdigest())

    def describe(self) -> dict[str, Any]:
        slow = ", ".join(sorted(self._launched_one_by_one))
        whole = "; one for a whole encode" if self._launches_whole else ""
        return {
            "name": self.name,
            "version": f"{self._flavour.name} {self._flavour.version}",
            **self._device.describe(),
            "precision": self.precision,
            "cuda_graphs": (f"of all but {slow}" if slow else "of all") + whole,
        }

    def fingerprint(self) -> dict[str, Any]:
        """Return the device, the versions, and the digests of the plans that run, which are loaded or built for this.

        A plan that is built again, with other kernels, has another digest. So nothing that was checked with a plan that
        is not kept counts for a later one.
        """
        return {
            "name": self.name,
            "tensorrt": [self._flavour.name, self._flavour.version, self._flavour.plugins],
            **self._device.describe(),
            "plans": {graph: self._engine(graph).plan for graph in self._bundle.exact_graphs()},
        }

    def refusal(self, height: int, width: int) -> str | None:
        """Return why the plans or the GPU's memory do not suffice for an image of this size; None: they do.

        The estimate counts the tensors of all graphs and the largest scratch memory, as the plans themselves state it.
        """
        with self._runner.on_device():
            if (height, width) not in self._needs:
                self._needs[height, width] = self._needed(height, width)
            needed = self._needs[height, width]
            available = self._device.memory_info()[0] + self._runner.held + self._scratch.size
        if isinstance(needed, str):
            return needed
        return memory_refusal(self._device, height, width, needed, available)

    def _needed(self, height: int, width: int) -> int | str:
        """Return the bytes of device memory for an image of this size, or why the plans do not accept it."""
        shapes = {
            graph: {port.name: port.at(height, width) for port in self._bundle.ports(graph)[0]}
            for graph in self._bundle.graphs()
        }
        tensors = scratch = 0
        for graph, inputs in shapes.items():
            engine = self._engine(graph)
            with self._device.gate.call():
                context = engine.context()
            if context is None:
                return f"the GPU has too little memory to run {graph}"
            try:
                scratch = max(scratch, engine.set_shapes(context, graph, inputs))
            except EngineError as error:
                return str(error)
            specs = (engine.spec(context, name) for name in engine.tensors())
            tensors += sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in specs)
        (latents,) = self._bundle.output_shapes("analysis", shapes["analysis"]).values()
        return tensors + scratch + step_memory(int(np.prod(latents)))

    def trim(self) -> None:
        self._runner.trim()
        self._proof.close()

    def close(self) -> None:
        self.trim()
        self._engines.clear()
