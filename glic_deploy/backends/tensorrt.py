"""TensorRT 10 and 11 and TensorRT-RTX on an NVIDIA GPU: plans of the bundle's graphs, run on one stream.

A plan is chosen by flavour, version and compute capability; where none fits it is built from the ONNX, and told so. For
every graph and shape, device and pinned memory are allocated once and the launch is captured as a CUDA graph. An array
that one graph gave and the next one takes unchanged is not sent to the GPU again.
"""

from __future__ import annotations

import threading
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle import TENSORRT, Bundle
from ..errors import EngineError
from ..tensorrt import BuildOptions, Flavour, Profile, build_plan, choose, load
from .base import Backend
from .cuda import CudaDevice, Device

_KEPT_SHAPES = 4  # sizes of pictures for which memory stays allocated, for each graph

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass
class _Buffer:
    """Memory of one input or output at one shape."""

    address: int
    host: NDArray[Any]
    version: int = 0  # counts what was written to it


@dataclass
class _Prepared:
    """A graph at one shape: its buffers and, once captured, its launch."""

    context: Any
    inputs: dict[str, _Buffer]
    outputs: dict[str, _Buffer]
    runs: int = 0
    graph: int | None = None


@dataclass
class _Loaded:
    """A graph's engine and what is prepared of it, the latest used last."""

    engine: Any
    prepared: OrderedDict[Shapes, _Prepared] = field(default_factory=OrderedDict)


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
        self._loaded: dict[str, _Loaded] = {}
        # Arrays handed out whose contents are still in a buffer, by identity.
        self._resident: dict[int, tuple[weakref.ref[Any], _Buffer, int]] = {}
        self._captures = True
        self._lock = threading.Lock()
        for name in bundle.graphs():
            bundle.variant(name, TENSORRT)
        self.precision = bundle.variant("analysis", TENSORRT).get("precision", "fp32")

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        with self._lock:
            loaded = self._load(graph)
            prepared = self._prepare(graph, loaded, inputs)
            for name, buffer in prepared.inputs.items():
                self._send(inputs[name], buffer)
            self._execute(graph, prepared)
            for buffer in prepared.outputs.values():
                buffer.version += 1
                self._device.download(buffer.host, buffer.address)
            self._device.synchronize()
            return [self._hand_out(graph, prepared, name) for name in self._bundle.outputs(graph)]

    # Plans

    def _load(self, graph: str) -> _Loaded:
        if graph not in self._loaded:
            engine = self._runtime.deserialize_cuda_engine(self._plan(graph))
            if engine is None:
                raise EngineError(
                    f"TensorRT {self._flavour.version} does not load its plan of {graph}; build the plans again: "
                    f"python -m export.to_trt --engine {self._bundle.path}"
                )
            self._loaded[graph] = _Loaded(engine)
        return self._loaded[graph]

    def _plan(self, graph: str) -> bytes:
        wanted = self._flavour.name, self._flavour.version, list(self._device.capability)
        for plan in self._bundle.plans():
            if plan["graph"] == graph and (plan["flavour"], plan["version"], plan["capability"]) == wanted:
                return self._bundle.file(plan["file"]).read_bytes()
        warnings.warn(
            f"{self._bundle.path} has no plan of {graph} for {self._device.name} and {self._flavour.name} "
            f"{self._flavour.version}: building it now, which takes from seconds to minutes; to keep it, run: "
            f"python -m export.to_trt --engine {self._bundle.path}",
            stacklevel=2,
        )
        inputs, _ = self._bundle.ports(graph)
        plugins = self._bundle.variant(graph, TENSORRT)["plugins"]
        path = self._bundle.graph(graph, [TENSORRT])
        return build_plan(self._flavour, path, inputs, plugins, BuildOptions(Profile()))

    # Memory

    def _prepare(self, graph: str, loaded: _Loaded, inputs: Mapping[str, NDArray[Any]]) -> _Prepared:
        shapes: Shapes = tuple((name, array.shape) for name, array in sorted(inputs.items()))
        if shapes not in loaded.prepared:
            while len(loaded.prepared) >= _KEPT_SHAPES:
                self._release(loaded.prepared.popitem(last=False)[1])
            loaded.prepared[shapes] = self._allocate(graph, loaded.engine, inputs)
        loaded.prepared.move_to_end(shapes)
        return loaded.prepared[shapes]

    def _allocate(self, graph: str, engine: Any, inputs: Mapping[str, NDArray[Any]]) -> _Prepared:
        api = self._flavour.api
        context = engine.create_execution_context()
        if context is None:
            raise EngineError(f"the GPU has not enough memory to run {graph}; take smaller pictures")
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        kinds = {name: engine.get_tensor_mode(name) for name in names}
        expected = {name for name, kind in kinds.items() if kind == api.TensorIOMode.INPUT}
        if expected != set(inputs):
            raise EngineError(
                f"graph {graph} takes {', '.join(sorted(expected))}, got {', '.join(sorted(inputs))}; "
                "the plan is of another bundle: build it again with python -m export.to_trt"
            )
        for name in expected:
            if not context.set_input_shape(name, inputs[name].shape):
                smallest, _, largest = engine.get_tensor_profile_shape(name, 0)
                raise EngineError(
                    f"{graph}: {name} has shape {inputs[name].shape}, the plan takes {tuple(smallest)} to "
                    f"{tuple(largest)}; build plans for larger pictures: python -m export.to_trt --max-size WxH"
                )
        prepared = _Prepared(context, {}, {})
        for name in names:
            dtype = np.dtype(api.nptype(engine.get_tensor_dtype(name)))
            shape = tuple(context.get_tensor_shape(name))
            host = self._device.pinned(shape, dtype)
            buffer = _Buffer(self._device.allocate(max(host.nbytes, 1)), host)
            (prepared.inputs if name in expected else prepared.outputs)[name] = buffer
            context.set_tensor_address(name, buffer.address)
        return prepared

    def _release(self, prepared: _Prepared) -> None:
        for buffer in [*prepared.inputs.values(), *prepared.outputs.values()]:
            buffer.version += 1  # whatever was handed out of it is no longer there
            self._device.free(buffer.address)
            self._device.free_pinned(buffer.host)

    # One run

    def _send(self, array: NDArray[Any], buffer: _Buffer) -> None:
        source = self._on_gpu(array)
        if source is not None and source.host.dtype == buffer.host.dtype:
            self._device.copy(buffer.address, source.address, buffer.host.nbytes)
        else:
            np.copyto(buffer.host, array, casting="same_kind")
            self._device.upload(buffer.address, buffer.host)

    def _on_gpu(self, array: NDArray[Any]) -> _Buffer | None:
        """The buffer that holds what is in the array, if one still does."""
        if id(array) not in self._resident:
            return None
        reference, buffer, version = self._resident[id(array)]
        return buffer if reference() is array and buffer.version == version else None

    def _execute(self, graph: str, prepared: _Prepared) -> None:
        if prepared.graph is None and prepared.runs == 1 and self._captures:
            prepared.graph = self._capture(prepared.context)
        if prepared.graph is not None:
            self._device.launch(prepared.graph)
        elif not prepared.context.execute_async_v3(self._device.stream):
            raise EngineError(
                f"TensorRT {self._flavour.version} cannot run {graph} on {self._device.name}; see its messages on the "
                "standard error stream; take smaller pictures if the GPU's memory is short"
            )
        prepared.runs += 1

    def _capture(self, context: Any) -> int | None:
        """The launch as a CUDA graph, after a first run has allocated what it needs; None where it cannot be one."""
        try:
            self._device.begin_capture()
            launched = context.execute_async_v3(self._device.stream)
            captured = self._device.end_capture()
        except EngineError:
            launched = False
        if not launched:
            self._captures = False
            return None
        return captured

    def _hand_out(self, graph: str, prepared: _Prepared, name: str) -> NDArray[Any]:
        _, outputs = self._bundle.ports(graph)
        dtype = next(port["dtype"] for port in outputs if port["name"] == name)
        buffer = prepared.outputs[name]
        array: NDArray[Any] = buffer.host.astype(dtype)
        if dtype != "float32":  # only latents go from graph to graph
            return array
        array.flags.writeable = False  # or what is on the GPU would not be what it says
        key = id(array)
        self._resident[key] = weakref.ref(array, lambda _: self._resident.pop(key, None)), buffer, buffer.version
        return array

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": f"{self._flavour.name} {self._flavour.version}",
            "device": self._device.name,
            "capability": "{}.{}".format(*self._device.capability),
            "precision": self.precision,
        }

    def close(self) -> None:
        with self._lock:
            for loaded in self._loaded.values():
                for prepared in loaded.prepared.values():
                    self._release(prepared)
            self._loaded.clear()
            self._resident.clear()
