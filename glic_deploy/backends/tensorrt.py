"""TensorRT 10 and 11 and TensorRT-RTX on an NVIDIA GPU: plans of the bundle's graphs, run on one stream.

A plan is chosen by flavour, version and compute capability; where none fits it is built from the ONNX, and told so. The
launch of every graph is captured as a CUDA graph for each shape; what comes and goes around it: `device_runs`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ..bundle import TENSORRT, Bundle
from ..errors import EngineError
from ..tensorrt import BuildOptions, Flavour, Profile, build_plan, choose, load, on_terminal
from ..values import Value
from .base import Backend, Precision
from .cuda import CudaDevice, Device, DeviceMemoryError
from .device_runs import DeviceRunner, Form, Shape


class TensorRTBackend(Backend):
    """Engines of one bundle, each loaded when its graph is first run.

    Raises EngineError where there is no GPU, no TensorRT for it, or the bundle has no graphs for TensorRT.
    """

    name = "tensorrt"

    def __init__(self, bundle: Bundle, device: Device | None = None, flavour: Flavour | None = None) -> None:
        self._bundle = bundle
        self._device = device or CudaDevice()
        self._flavour = flavour or load(choose(self._device.capability))
        self._runtime = self._flavour.api.Runtime(self._flavour.logger)
        self._engines: dict[str, Any] = {}
        self._runner = DeviceRunner(self._device, bundle, self._prepare)
        for name in bundle.graphs():
            bundle.variant(name, TENSORRT)
        precision = bundle.variant("analysis", TENSORRT).precision
        self.precision = next((known for known in get_args(Precision) if known == precision), "fp32")

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        return self._runner.run(graph, inputs)

    def start(self, graph: str, inputs: Mapping[str, Value]) -> Sequence[Value]:
        return self._runner.start(graph, inputs)

    def _prepare(self, graph: str, shapes: Mapping[str, Shape]) -> _Execution:
        return _Execution(self._flavour, self._device, graph, self._engine(graph), shapes)

    def _engine(self, graph: str) -> Any:
        if graph not in self._engines:
            engine = self._runtime.deserialize_cuda_engine(self._plan(graph))
            if engine is None:
                raise EngineError(
                    f"TensorRT {self._flavour.version} does not load its plan of {graph}; build the plans again: "
                    f"python -m export.to_trt --engine {self._bundle.path}"
                )
            self._engines[graph] = engine
        return self._engines[graph]

    def _plan(self, graph: str) -> bytes:
        wanted = self._flavour.name, self._flavour.version, tuple(self._device.capability)
        for plan in self._bundle.plans():
            if plan.graph == graph and (plan.flavour, plan.version, plan.capability) == wanted:
                return self._bundle.file(plan.file).read_bytes()
        warnings.warn(
            f"{self._bundle.path} has no plan of {graph} for {self._device.name} and {self._flavour.name} "
            f"{self._flavour.version}: building it now, which takes from seconds to minutes; to keep it, run: "
            f"python -m export.to_trt --engine {self._bundle.path}",
            stacklevel=2,
        )
        inputs, _ = self._bundle.ports(graph)
        plugins = self._bundle.variant(graph, TENSORRT).plugins
        path = self._bundle.graph(graph, [TENSORRT])
        return build_plan(self._flavour, path, inputs, plugins, BuildOptions(Profile()), on_terminal())

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": f"{self._flavour.name} {self._flavour.version}",
            "device": self._device.name,
            "capability": "{}.{}".format(*self._device.capability),
            "precision": self.precision,
        }

    def close(self) -> None:
        self._runner.close()
        self._engines.clear()


class _Execution:
    """A graph's engine at one shape. Its launch is captured as a CUDA graph once a first run has set it up."""

    def __init__(self, flavour: Flavour, device: Device, graph: str, engine: Any, shapes: Mapping[str, Shape]) -> None:
        self._flavour, self._device, self._graph = flavour, device, graph
        self._context = engine.create_execution_context()
        if self._context is None:
            raise DeviceMemoryError(f"the GPU has not enough memory to run {graph}; take smaller pictures")
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        taken = {name for name in names if engine.get_tensor_mode(name) == flavour.api.TensorIOMode.INPUT}
        if taken != set(shapes):
            raise EngineError(
                f"graph {graph} takes {', '.join(sorted(taken))}, got {', '.join(sorted(shapes))}; "
                "the plan is of another bundle: build it again with python -m export.to_trt"
            )
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, shape):
                smallest, _, largest = engine.get_tensor_profile_shape(name, 0)
                raise EngineError(
                    f"{graph}: {name} has shape {shape}, the plan takes {tuple(smallest)} to {tuple(largest)}; "
                    "build plans for larger pictures: python -m export.to_trt --max-size WxH"
                )
        forms: dict[str, Form] = {
            name: (
                tuple(self._context.get_tensor_shape(name)),
                np.dtype(flavour.api.nptype(engine.get_tensor_dtype(name))),
            )
            for name in names
        }
        self.inputs = {name: form for name, form in forms.items() if name in taken}
        self.outputs = {name: form for name, form in forms.items() if name not in taken}
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
                "on the standard error stream; take smaller pictures if the GPU's memory is short"
            )
        self._runs += 1

    def _capture(self) -> int | None:
        """The launch as a CUDA graph; None where it cannot be one."""
        self._captures = False
        try:
            self._device.begin_capture()
            launched = self._context.execute_async_v3(self._device.stream)
            captured = self._device.end_capture()
        except EngineError:
            return None
        if not launched:
            self._device.free_graph(captured)
            return None
        return captured

    def release(self) -> None:
        if self._captured is not None:
            self._device.free_graph(self._captured)
