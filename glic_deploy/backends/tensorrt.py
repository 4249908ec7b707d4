"""TensorRT 10 and 11 and TensorRT-RTX on an NVIDIA GPU: plans of the bundle's graphs, run on one stream.

A plan is selected by flavour, version and compute capability. If no plan fits, one is built from the ONNX graph, with a
notice, and kept in the cache. The launch of every graph is captured as a CUDA graph for each shape. `device_runs`
copies the inputs and outputs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import cache
from ..bundle import Bundle
from ..errors import EngineError
from ..notices import Notices
from ..tensorrt import INSTALL, BuildOptions, Flavour, Profile, build_plan, choose, installed, load, on_terminal, shown
from ..values import Value
from .base import Backend, Offer, Precision, UnusableError, recorded_precision
from .cuda import CudaDevice, Device, DeviceMemoryError
from .declarations import by_name
from .device_runs import DeviceRunner, Shape, TensorSpec

if TYPE_CHECKING:
    from typing_extensions import Self

DECLARATION = by_name("tensorrt")
(_FORM,) = DECLARATION.forms

_KEPT_PLANS = 8 << 30
"""The size limit of the plans in the cache, in bytes."""


class TensorRTBackend(Backend):
    """Runs the plans of one bundle, each deserialised when its graph is first run.

    Raises EngineError if there is no GPU, no TensorRT for the GPU, or the bundle has no graphs for TensorRT.
    """

    name = DECLARATION.name

    def __init__(self, bundle: Bundle, device: Device | None = None, flavour: Flavour | None = None) -> None:
        self._bundle = bundle
        self._device = device or CudaDevice()
        self._flavour = flavour or load(choose(self._device.capability))
        self._runtime = self._flavour.api.Runtime(self._flavour.logger)
        self._cuda_engines: dict[str, Any] = {}
        self._runner = DeviceRunner(self._device, bundle, self._prepare)
        for name in bundle.graphs():
            bundle.form(name, _FORM)
        self.precision = recorded_precision(bundle, DECLARATION.forms)

    @classmethod
    def check_machine(cls) -> str:
        device = CudaDevice()
        if not installed():
            raise UnusableError("no TensorRT is installed", " or ".join(INSTALL.values()))
        flavour = load(choose(device.capability))
        return f"{flavour.name} {flavour.version} on {device.name}, compute capability {device.shown_capability}"

    @classmethod
    def offer(cls, bundle: Bundle, threads: int | None, precision: Precision | None) -> Offer:
        if not all(bundle.has_form(name, _FORM) for name in bundle.graphs()):
            remedy = f"add them: python -m export.to_trt --engine {bundle.path}"
            raise UnusableError(f"{bundle.path} has no graphs for TensorRT", remedy)
        cls.check_machine()
        return Offer(precision)

    @classmethod
    def open(cls, bundle: Bundle, threads: int | None, precision: Precision | None) -> Self:
        return cls(bundle)

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        return self._runner.run(graph, inputs)

    def start(self, graph: str, inputs: Mapping[str, Value]) -> Sequence[Value]:
        return self._runner.start(graph, inputs)

    def _prepare(self, graph: str, shapes: Mapping[str, Shape]) -> _Execution:
        return _Execution(self._flavour, self._device, graph, self.cuda_engine(graph), shapes, self.notices)

    @property
    def flavour(self) -> Flavour:
        """The flavour of TensorRT that runs the plans."""
        return self._flavour

    def cuda_engine(self, graph: str) -> Any:
        """Return a graph's `ICudaEngine`. On first use its plan is deserialised, or built. Raises EngineError."""
        if graph not in self._cuda_engines:
            cuda_engine = self._runtime.deserialize_cuda_engine(self._plan(graph))
            if cuda_engine is None:
                raise EngineError(
                    f"TensorRT {self._flavour.version} cannot deserialise its plan of {graph}; build the plans again: "
                    f"python -m export.to_trt --engine {self._bundle.path}"
                )
            self._cuda_engines[graph] = cuda_engine
        return self._cuda_engines[graph]

    def _plan(self, graph: str) -> bytes:
        ours = self._flavour.name, self._flavour.version
        for plan in self._bundle.plans():
            fits = (plan.flavour, plan.version) == ours and self._device.capability in plan.capabilities
            if plan.graph == graph and fits:
                return self._bundle.file(plan.file).read_bytes()
        name = f"plans/{self._identity(graph)}"
        kept = cache.unsealed(cache.fetch(name))
        return bytes(kept) if kept else self._build(graph, name)

    def _build(self, graph: str, name: str) -> bytes:
        """Build the plan of a graph and keep it in the cache under `name`."""
        self.notices.add(
            f"{self._bundle.path} has no plans for {self._device.name} and {self._flavour.name} "
            f"{self._flavour.version}: they are built at first use, which takes seconds to minutes, and kept in "
            f"the cache; to add them to the bundle, run: python -m export.to_trt --engine {self._bundle.path}"
        )
        inputs, _ = self._bundle.ports(graph)
        plugins = self._bundle.form(graph, _FORM).plugins
        path = self._bundle.graph(graph, DECLARATION.forms)
        plan = build_plan(self._flavour, path, inputs, plugins, BuildOptions(Profile()), on_terminal())
        cache.store(name, cache.sealed(plan), limit=_KEPT_PLANS)
        return plan

    def _identity(self, graph: str) -> str:
        """Return a digest of everything that a plan depends on."""
        parts = {
            "graph": self._bundle.graph_digest(graph, _FORM),
            "tensorrt": [self._flavour.name, self._flavour.version],
            "device": [self._device.name, self._device.capability],
            "profile": Profile().as_dict(),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": f"{self._flavour.name} {self._flavour.version}",
            "device": self._device.name,
            "capability": shown(self._device.capability),
            "precision": self.precision,
        }

    def close(self) -> None:
        self._runner.close()
        self._cuda_engines.clear()


class _Execution:
    """A graph's execution context at one shape. The second launch is captured as a CUDA graph."""

    def __init__(
        self,
        flavour: Flavour,
        device: Device,
        graph: str,
        cuda_engine: Any,
        shapes: Mapping[str, Shape],
        notices: Notices,
    ) -> None:
        self._flavour, self._device, self._graph, self._notices = flavour, device, graph, notices
        self._context = cuda_engine.create_execution_context()
        if self._context is None:
            raise DeviceMemoryError(f"the GPU has too little memory to run {graph}; code smaller images")
        names = [cuda_engine.get_tensor_name(i) for i in range(cuda_engine.num_io_tensors)]
        inputs = {name for name in names if cuda_engine.get_tensor_mode(name) == flavour.api.TensorIOMode.INPUT}
        if inputs != set(shapes):
            raise EngineError(
                f"graph {graph} has the inputs {', '.join(sorted(inputs))}, got {', '.join(sorted(shapes))}; "
                "the plan belongs to another bundle: build it again with python -m export.to_trt"
            )
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, shape):
                smallest, _, largest = cuda_engine.get_tensor_profile_shape(name, 0)
                raise EngineError(
                    f"{graph}: {name} has shape {shape}, the plan accepts {tuple(smallest)} to {tuple(largest)}; "
                    "build plans for larger images: python -m export.to_trt --max-size WxH"
                )
        specs: dict[str, TensorSpec] = {
            name: (
                tuple(self._context.get_tensor_shape(name)),
                np.dtype(flavour.api.nptype(cuda_engine.get_tensor_dtype(name))),
            )
            for name in names
        }
        self.inputs = {name: spec for name, spec in specs.items() if name in inputs}
        self.outputs = {name: spec for name, spec in specs.items() if name not in inputs}
        self._runs = 0
        self._captures = True
        self._captured: int | None = None

    def bind(self, addresses: Mapping[str, int]) -> None:
        for name, address in addresses.items():
            self._context.set_tensor_address(name, address)

    def execute(self) -> None:
        if self._runs == 1 and self._captures:
            self._captured = self._capture()
        if self._captured is not None:
            self._device.launch(self._captured)
        elif not self._context.execute_async_v3(self._device.stream):
            raise EngineError(
                f"TensorRT {self._flavour.version} cannot run {self._graph} on {self._device.name}; see its messages "
                "on the standard error stream; code smaller images if the GPU's memory is short"
            )
        self._runs += 1

    def _capture(self) -> int | None:
        """Capture the launch as a CUDA graph. Returns None if it cannot be captured."""
        self._captures = False
        try:
            self._device.begin_capture()
            launched = self._context.execute_async_v3(self._device.stream)
            captured = self._device.end_capture()
        except EngineError as error:
            self._add_notice(str(error))
            return None
        if not launched:
            self._device.free_graph(captured)
            self._add_notice("TensorRT refused the launch; see its messages on the standard error stream")
            return None
        return captured

    def _add_notice(self, reason: str) -> None:
        self._notices.add(
            f"the launch of {self._graph} cannot be captured as a CUDA graph: {reason}; its kernels are launched one "
            "by one, which is slower but gives the same results; try another version of TensorRT"
        )

    def release(self) -> None:
        if self._captured is not None:
            self._device.free_graph(self._captured)
