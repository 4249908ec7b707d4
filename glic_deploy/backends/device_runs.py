"""Manages the device memory of graphs on a GPU, for both GPU backends.

For every graph and shape, device and pinned memory are allocated once, at fixed addresses. An output that a later graph
reads is copied on the GPU; its elements are copied to the host only on demand. Outputs that the host needs are copied
as soon as they are computed, in order, so that a decoder decodes with the indexes of a pass while the copy of the means
is in flight. A map that is filled slice by slice is uploaded slice by slice, each slice once.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..bundle import Bundle
from ..errors import EngineError
from ..values import Settled, Value, converted
from .cuda import Device, DeviceMemoryError
from .proof import Proof

KEPT_SHAPES = 4
"""The number of image sizes for which each graph keeps its memory."""

Shape = tuple[int, ...]
TensorSpec = tuple[Shape, np.dtype[Any]]


class Executable(Protocol):
    """A graph at one shape."""

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """The inputs on the device."""

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """The outputs on the device."""

    def bind(self, addresses: Mapping[str, int]) -> None:
        """Set the addresses of all tensors, for all runs."""

    def execute(self) -> None:
        """Enqueue a run on the device's stream, or synchronise the stream and run. Raises EngineError."""

    def release(self) -> None:
        """Free the resources of the executable. No run may be in flight."""


Prepare = Callable[[str, Mapping[str, Shape]], Executable]
"""Prepares a graph for inputs of these shapes. Raises EngineError if the graph does not accept them."""


class _Slot:
    """The device memory of a tensor, and pinned memory for its copies, which is allocated by the first copy."""

    def __init__(self, device: Device, spec: TensorSpec) -> None:
        self._device = device
        self.shape, self.dtype = spec
        self.bytes = int(np.prod(self.shape)) * self.dtype.itemsize
        self.address = device.allocate(max(self.bytes, 1))
        self.generation = 0  # counts the writes
        self._host: NDArray[Any] | None = None
        self._arrived: int | None = None
        self._waiting = 0  # threads that wait for a copy without the runner's lock
        self._freed = False

    @property
    def host(self) -> NDArray[Any]:
        if self._host is None:
            self._host = self._device.pinned(self.shape, self.dtype)
        return self._host

    def download(self) -> None:
        """Start the copy of the contents to `host`; `wait` waits for it."""
        if self._arrived is None:
            self._arrived = self._device.event()
        self._device.download(self.host, self.address)
        self._device.record(self._arrived)

    @contextlib.contextmanager
    def waiting(self, lock: threading.RLock) -> Iterator[None]:
        """Wait for the last `download`, then enter with the lock. The lock is not held during the wait."""
        with lock:
            self._waiting += 1
        try:
            if self._arrived is not None:
                self._device.wait(self._arrived)
        except BaseException:
            with lock:
                self._leave()
            raise
        with lock:
            self._leave()
            yield

    def _leave(self) -> None:
        self._waiting -= 1
        self._free_event()

    def free(self) -> None:
        self.generation += 1
        self._freed = True
        self._device.free(self.address)
        if self._host is not None:
            self._device.free_pinned(self._host)
        self._free_event()

    def _free_event(self) -> None:
        """Free the event of a slot that was freed, unless threads wait for it: the last of them frees the event."""
        if self._freed and not self._waiting and self._arrived is not None:
            self._device.free_event(self._arrived)
            self._arrived = None


class _Canvas(_Slot):
    """A map that is uploaded slice by slice. Graphs that read its first channels share this memory."""

    users = 0
    sent = 0
    _whole: weakref.ref[Any] | None = None

    def extend(self, value: Settled) -> None:
        """Upload the channels that were not uploaded yet."""
        if self._whole is None or self._whole() is not value.whole:
            if self._arrived is not None:
                self._device.wait(self._arrived)  # another thread's map may still be on its way from `host`
            self._whole, self.sent = weakref.ref(value.whole), 0
        if self.sent < value.channels:
            new = slice(self.sent, value.channels)
            self.host[:, new] = value.whole[:, new]
            self._device.upload(self.address + self.sent * (self.bytes // self.shape[1]), self.host[:, new])
            if self._arrived is None:
                self._arrived = self._device.event()
            self._device.record(self._arrived)
            self.sent = value.channels

    def forget(self) -> None:
        self._whole = None


class _Output:
    """An output of a graph, read from its slot. Its elements are copied before the slot is overwritten."""

    def __init__(self, runner: DeviceRunner, slot: _Slot, dtype: DTypeLike) -> None:
        self._runner, self._slot, self.dtype = runner, slot, np.dtype(dtype)
        self._generation = slot.generation
        self._array: NDArray[Any] | None = None
        self.shape = slot.shape
        self.in_flight = False

    def slot(self, runner: DeviceRunner) -> _Slot | None:
        """Return the device memory of the output, None if it was overwritten or belongs to another runner."""
        return self._slot if self._runner is runner and self._slot.generation == self._generation else None

    def fetch(self) -> None:
        self._slot.download()
        self.in_flight = True

    def read(self) -> NDArray[Any]:
        """Wait for the array and return it.

        If another thread overwrites the slot during the wait, that thread stores the array first (see `settle`).
        """
        with self._runner.on_device():
            if self._array is None and not self.in_flight:
                self.fetch()
        if self._array is None:
            with self._slot.waiting(self._runner.lock):
                if self._array is None:
                    self._array = self._slot.host.astype(self.dtype)
        return self._array

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        array = self.read()
        array.flags.writeable = False  # a change would not reach the device
        return converted(array, dtype)


@dataclass
class _Prepared:
    """A graph at one shape, its memory, and references to the outputs that were handed out."""

    executable: Executable
    inputs: dict[str, _Slot]
    outputs: dict[str, _Slot]
    handed_out: list[weakref.ref[_Output]]

    def settle(self) -> None:
        """Copy the outputs that are still referenced out of their slots."""
        for reference in self.handed_out:
            if (output := reference()) is not None:
                output.read()
        self.handed_out.clear()


Key = tuple[tuple[str, Shape, Shape | None], ...]


class DeviceRunner:
    """Runs the graphs of a bundle on a device, which no other runner uses.

    `lock` is held while work is put on the device's stream. Threads wait for results without the lock, so that others
    put more work on the stream meanwhile.

    Args:
        device: the device.
        bundle: the bundle.
        prepare: prepares a graph for inputs of some shapes.
        proof: checks the first run of each graph of the entropy path at each shape.
        free_shared: frees what all executables share, when none is left.
    """

    def __init__(
        self,
        device: Device,
        bundle: Bundle,
        prepare: Prepare,
        proof: Proof,
        free_shared: Callable[[], None] = lambda: None,
    ) -> None:
        self.lock = threading.RLock()
        self._device, self._bundle, self._prepare, self._proof = device, bundle, prepare, proof
        self._free_shared = free_shared
        self._prepared: dict[str, OrderedDict[Key, _Prepared]] = {name: OrderedDict() for name in bundle.graphs()}
        self._canvases: dict[Shape, _Canvas] = {}
        self._kept_on_device = _outputs_read_by_graphs(bundle)

    def run(self, graph: str, inputs: Mapping[str, Value]) -> list[NDArray[Any]]:
        """Implements `Backend.run`."""
        with self._exclusive():
            outputs = self._run(graph, inputs)
            for output in outputs:
                if not output.in_flight:
                    output.fetch()
        results = [output.read() for output in outputs]
        if self._proof.is_due(graph, inputs):
            self._proof.check(graph, inputs, results)
        return results

    def start(self, graph: str, inputs: Mapping[str, Value]) -> Sequence[Value]:
        """Implements `Backend.start`: the first output that the host needs is ready."""
        if self._proof.is_due(graph, inputs):
            return self.run(graph, inputs)
        with self._exclusive():
            outputs = self._run(graph, inputs)
        first = next((output for output in outputs if output.in_flight), None)
        return [output.read() if output is first else output for output in outputs]

    @property
    def held(self) -> int:
        """The bytes of device memory that are allocated for tensors."""
        kept = (prepared for graph in self._prepared.values() for prepared in graph.values())
        slots = {id(slot): slot for each in kept for slot in (*each.inputs.values(), *each.outputs.values())}
        return sum(slot.bytes for slot in slots.values())

    def trim(self) -> None:
        """Free all memory; it is allocated again on demand. Outputs that are still referenced are copied first."""
        with self.on_device():
            self._release_all()

    @contextlib.contextmanager
    def on_device(self) -> Iterator[None]:
        """Hold the lock, with the device as the one that this thread uses."""
        with self.lock:
            self._device.activate()
            yield

    def _run(self, graph: str, inputs: Mapping[str, Value]) -> list[_Output]:
        """Enqueue the graph, and then the copies of the outputs that the host needs."""
        values = {name: self._as_source(value) for name, value in inputs.items()}
        prepared = self._prepare_once(graph, values)
        prepared.settle()
        for name, slot in prepared.inputs.items():
            self._upload(values[name], slot)
        prepared.executable.execute()
        return self._hand_out(graph, prepared)

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Hold the lock. After an error, wait until nothing is in flight, because pinned memory will be reused."""
        with self.on_device():
            try:
                yield
            except BaseException:
                for canvas in self._canvases.values():
                    canvas.forget()
                with contextlib.suppress(EngineError):
                    self._device.synchronize()
                raise

    def _as_source(self, value: Value) -> NDArray[Any] | Settled | _Output:
        return value if isinstance(value, (_Output, Settled)) else np.asarray(value)

    def _prepare_once(self, graph: str, values: Mapping[str, NDArray[Any] | Settled | _Output]) -> _Prepared:
        kept = self._prepared.setdefault(graph, OrderedDict())
        key: Key = tuple(
            (name, value.shape, value.whole.shape if isinstance(value, Settled) else None)
            for name, value in sorted(values.items())
        )
        if key not in kept:
            while len(kept) >= KEPT_SHAPES:
                self._release(kept.popitem(last=False)[1])
            try:
                kept[key] = self._allocate(graph, values)
            except DeviceMemoryError:
                self._release_all()  # the memory of other sizes may suffice
                kept[key] = self._allocate(graph, values)
        kept.move_to_end(key)
        return kept[key]

    def _allocate(self, graph: str, values: Mapping[str, NDArray[Any] | Settled | _Output]) -> _Prepared:
        executable = self._prepare(graph, {name: value.shape for name, value in values.items()})
        prepared = _Prepared(executable, {}, {}, [])
        try:
            for name, spec in executable.inputs.items():
                prepared.inputs[name] = self._input(values[name], spec)
            for name, spec in executable.outputs.items():
                prepared.outputs[name] = _Slot(self._device, spec)
            executable.bind({name: slot.address for name, slot in (prepared.inputs | prepared.outputs).items()})
        except EngineError:
            self._release(prepared)
            raise
        return prepared

    def _input(self, value: NDArray[Any] | Settled | _Output, spec: TensorSpec) -> _Slot:
        if not isinstance(value, Settled):
            return _Slot(self._device, spec)
        shape, dtype = value.whole.shape, spec[1]
        if shape not in self._canvases:
            self._canvases[shape] = _Canvas(self._device, (shape, dtype))
        self._canvases[shape].users += 1
        return self._canvases[shape]

    def _release(self, prepared: _Prepared) -> None:
        prepared.settle()
        self._device.synchronize()
        prepared.executable.release()
        for slot in [*prepared.inputs.values(), *prepared.outputs.values()]:
            if isinstance(slot, _Canvas):
                slot.users -= 1
                if slot.users:
                    continue
                del self._canvases[slot.shape]
            slot.free()

    def _release_all(self) -> None:
        for kept in self._prepared.values():
            while kept:
                self._release(kept.popitem()[1])
        self._free_shared()

    def _upload(self, value: NDArray[Any] | Settled | _Output, slot: _Slot) -> None:
        if isinstance(value, Settled):
            assert isinstance(slot, _Canvas)  # see `_input`
            slot.extend(value)
            return
        source = value.slot(self) if isinstance(value, _Output) else None
        if source is not None and source.dtype == slot.dtype:
            self._device.copy(slot.address, source.address, slot.bytes)
        else:
            np.copyto(slot.host, np.asarray(value), casting="same_kind")
            self._device.upload(slot.address, slot.host)

    def _hand_out(self, graph: str, prepared: _Prepared) -> list[_Output]:
        outputs = []
        for port in self._bundle.ports(graph)[1]:
            slot = prepared.outputs[port.name]
            slot.generation += 1
            output = _Output(self, slot, port.dtype)
            if (graph, port.name) not in self._kept_on_device:
                output.fetch()
            outputs.append(output)
        prepared.handed_out = [weakref.ref(output) for output in outputs]
        return outputs


def _outputs_read_by_graphs(bundle: Bundle) -> set[tuple[str, str]]:
    """Return the graph and name of every output that a later graph of the manifest reads."""
    found: set[tuple[str, str]] = set()
    read: set[str] = set()
    for graph in reversed(bundle.graphs()):
        inputs, outputs = bundle.ports(graph)
        found |= {(graph, port.name) for port in outputs if port.name in read}
        read |= {port.name for port in inputs}
    return found
