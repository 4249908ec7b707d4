"""Execution contexts of TensorRT: a graph at one shape, its scratch memory, and its launch as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import EngineError
from ..tensorrt import Flavour
from .cuda import Device, DeviceMemoryError
from .device_memory import Shape, TensorSpec
from .tensorrt_plans import KernelCache

Report = Callable[[str], None]
"""Called with the reason if the launch of a graph is not captured as a CUDA graph."""


class Scratch:
    """Device memory for the intermediate results of all graphs of a codec, which run one after another on a stream.

    Args:
        device: the device.
        before_free: called before memory is freed that a CUDA graph may use.
    """

    def __init__(self, device: Device, before_free: Callable[[], None]) -> None:
        self._device, self._before_free = device, before_free
        self.address = self.size = 0

    def reserve(self, size: int) -> None:
        """Grow to `size` bytes. Growing changes the address. Raises DeviceMemoryError."""
        if size > self.size:
            self.free()
            self.address = self._device.allocate(size)
            self.size = size

    def free(self) -> None:
        """Free the memory when no run uses it any more."""
        if self.size:
            self._before_free()
            self._device.synchronize()
            self._device.free(self.address)
        self.address = self.size = 0


class LoadedEngine:
    """A deserialised plan, the digest of that plan, and how its execution contexts are made.

    Args:
        flavour: the flavour of TensorRT.
        device: the device.
        cuda_engine: TensorRT's `ICudaEngine`.
        plan: the SHA-256 of the plan.
    """

    def __init__(self, flavour: Flavour, device: Device, cuda_engine: Any, plan: str) -> None:
        self.cuda_engine, self.plan = cuda_engine, plan
        self._api = flavour.api
        self._kernels: KernelCache | None = None
        self._settings: Any = flavour.api.ExecutionContextAllocationStrategy.USER_MANAGED
        self.captures_itself = flavour.name == "rtx"
        if self.captures_itself:
            # LAZY specialisation would freeze the kernels for any shape into the captured graph.
            config = cuda_engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(self._settings)
            config.cuda_graph_strategy = self._api.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            config.dynamic_shapes_kernel_specialization_strategy = (
                self._api.DynamicShapesKernelSpecializationStrategy.EAGER
            )
            self._kernels = KernelCache(config, plan, device)
            self._settings = config

    def context(self) -> Any:
        """Return an execution context without scratch memory; None if TensorRT cannot make one."""
        return self.cuda_engine.create_execution_context(self._settings)

    def store_kernels(self) -> None:
        """Keep the kernels that TensorRT-RTX compiled at the first run of a shape."""
        if self._kernels is not None:
            self._kernels.store()

    def inputs(self) -> set[str]:
        """Return the names of the inputs."""
        return {
            name for name in self.tensors() if self.cuda_engine.get_tensor_mode(name) == self._api.TensorIOMode.INPUT
        }

    def tensors(self) -> list[str]:
        """Return the names of inputs and outputs."""
        return [self.cuda_engine.get_tensor_name(i) for i in range(self.cuda_engine.num_io_tensors)]

    def spec(self, context: Any, name: str) -> TensorSpec:
        """Return the shape and dtype of a tensor, once the shapes of all inputs are set."""
        dtype = np.dtype(self._api.nptype(self.cuda_engine.get_tensor_dtype(name)))
        return tuple(context.get_tensor_shape(name)), dtype

    def set_shapes(self, context: Any, graph: str, shapes: Mapping[str, Shape]) -> int:
        """Set the shapes of all inputs. Returns the bytes of scratch memory of a run. Raises EngineError."""
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                smallest, _, largest = self.cuda_engine.get_tensor_profile_shape(name, 0)
                raise EngineError(
                    f"{graph}: {name} has shape {shape}, the plan accepts {tuple(smallest)} to {tuple(largest)}; "
                    "build plans for larger images: python -m export.to_trt --max-size WxH"
                )
        return int(context.update_device_memory_size_for_shapes())


class Execution:
    """A graph's execution context at one shape. From its second run on, its launch is a CUDA graph.

    A graph that runs while a sequence is captured becomes a part of the CUDA graph of that sequence. TensorRT-RTX
    captures launches itself; those of TensorRT are captured here. A new address of the scratch memory makes a captured
    launch invalid.
    """

    def __init__(
        self,
        flavour: Flavour,
        device: Device,
        scratch: Scratch,
        graph: str,
        engine: LoadedEngine,
        shapes: Mapping[str, Shape],
        report: Report,
    ) -> None:
        self._flavour, self._device, self._scratch, self._graph = flavour, device, scratch, graph
        self._engine, self._report = engine, report
        self._context = engine.context()
        if self._context is None:
            raise DeviceMemoryError(f"the GPU has too little memory to run {graph}; code smaller images")
        inputs = engine.inputs()
        if inputs != set(shapes):
            raise EngineError(
                f"graph {graph} has the inputs {', '.join(sorted(inputs))}, got {', '.join(sorted(shapes))}; "
                "the plan belongs to another bundle: build it again with python -m export.to_trt"
            )
        self._needed = engine.set_shapes(self._context, graph, shapes)
        specs = {name: engine.spec(self._context, name) for name in engine.tensors()}
        self.inputs = {name: spec for name, spec in specs.items() if name in inputs}
        self.outputs = {name: spec for name, spec in specs.items() if name not in inputs}
        self._scratch_address = 0
        self._runs = 0  # at this address
        self._captures = not engine.captures_itself
        self._captured: int | None = None

    def bind(self, addresses: Mapping[str, int]) -> None:
        self._scratch.reserve(self._needed)
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise EngineError(
                    f"TensorRT {self._flavour.version} refuses the memory of {name} of {self._graph}; see its messages "
                    "on the standard error stream, and build the plans again: python -m export.to_trt"
                )

    def execute(self) -> None:
        if self._needed and self._scratch_address != self._scratch.address:
            self.release()
            self._context.set_device_memory(self._scratch.address, self._scratch.size)
            self._scratch_address, self._runs = self._scratch.address, 0
        if not self._runs and self._engine.captures_itself and not self._is_capturable():
            self._report("TensorRT-RTX says that its stream cannot be captured")
        alone = not self._device.capturing
        if self._runs == 1 and self._captures and alone:
            self._captured = self._capture()
        if self._captured is not None and alone:
            self._device.launch(self._captured)
        elif not self._context.execute_async_v3(self._device.stream):
            raise EngineError(
                f"TensorRT {self._flavour.version} cannot run {self._graph} on {self._device.name}; see its messages "
                "on the standard error stream; code smaller images if the GPU's memory is short"
            )
        if not self._runs:
            self._engine.store_kernels()
        self._runs += 1

    def _is_capturable(self) -> bool:
        return bool(self._context.is_stream_capturable(self._device.stream))

    def _capture(self) -> int | None:
        """Capture the launch as a CUDA graph. Returns None if it cannot be captured."""
        self._captures = False
        try:
            self._device.begin_capture()
            launched = self._context.execute_async_v3(self._device.stream)
            captured = self._device.end_capture()
        except EngineError as error:
            self._report(str(error))
            return None
        if not launched:
            self._device.free_graph(captured)
            self._report("TensorRT refused the launch; see its messages on the standard error stream")
            return None
        self._captures = True
        return captured

    def release(self) -> None:
        if self._captured is not None:
            self._device.synchronize()
            self._device.free_graph(self._captured)
        self._captured = None
