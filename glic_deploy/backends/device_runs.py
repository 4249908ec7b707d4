"""Runs graphs and our kernels on a GPU's stream, for both GPU backends.

For every graph and shape, device and pinned memory are allocated once, at fixed addresses. An output that a later graph
or kernel reads stays on the GPU; its elements are copied to the host only on demand. The copies of outputs that the
host needs are started as soon as the graph is. Nothing waits before the elements of an output are asked for. A map that
is filled slice by slice reaches the graphs slice by slice, each slice once. `device_sequences` replays the work of a
whole image.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..errors import EngineError
from ..values import Part, Placeable, Settled, Value
from .cuda import Device, DeviceMemoryError
from .device_memory import Canvas, Marks, Shape, Slot, TensorSpec
from .device_outputs import Executable, Output, Prepared
from .device_sequences import Sequence as Recorded
from .device_sequences import Sequences
from .proof import Proof

KEPT_SHAPES = 4
"""The number of image sizes for which each graph keeps its memory."""

READ_BY_KERNELS = frozenset({"means", "image"})
"""The outputs that our kernels may read, beside graphs: those of a pass and of the synthesis."""

Prepare = Callable[[str, Mapping[str, Shape]], Executable]
"""Prepares a graph for inputs of these shapes. Raises EngineError if the graph does not accept them."""

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
        self._marks: Marks[Prepared] = Marks(device)
        self._sequences = Sequences(device, self._marks)
        self._device, self._bundle, self._prepare, self._proof = device, bundle, prepare, proof
        self._free_shared = free_shared
        self._prepared: dict[str, OrderedDict[Key, Prepared]] = {name: OrderedDict() for name in bundle.graphs()}
        self._canvases: dict[Shape, Canvas] = {}
        self._constants: dict[str, Slot] = {}
        self._kept_on_device = _outputs_read_on_the_device(bundle)

    def run(self, graph: str, inputs: Mapping[str, Value]) -> list[NDArray[Any]]:
        """Implements `Backend.run`."""
        with self._exclusive():
            outputs = self._run(graph, inputs)
            for output in outputs:
                output.fetch()
        results = [output.read() for output in outputs]
        if self._proof.is_due(graph, inputs):
            self._proof.check(graph, inputs, results)
        return results

    def start(self, graph: str, inputs: Mapping[str, Value]) -> Sequence[Value]:
        """Implements `Backend.start`: waits for nothing, unless the results must be compared with the CPU's."""
        if self._proof.is_due(graph, inputs):
            return self.run(graph, inputs)
        with self._exclusive():
            return self._run(graph, inputs)

    def recorded(
        self, name: str, work: Callable[[Value], list[Value]], value: Value, report: Callable[[str], None]
    ) -> Sequence[Value]:
        """Implements `Backend.recorded`, for work that returns outputs of graphs and kernels.

        `report` is called with the reason if the work cannot be captured.
        """
        key = name, tuple(value.shape), isinstance(value, Placeable)
        with self._exclusive():
            sequence = self._sequences.due(key)
            if sequence is not None:
                source = self._as_source(value)
                if sequence.graph is None or sequence.source != self._address_of(source):
                    self._record(sequence, work, source, report)
                if sequence.graph is not None:
                    return self._replay(sequence, source)
        return work(value)

    def launch(
        self,
        name: str,
        inputs: Mapping[str, Value],
        outputs: Mapping[str, TensorSpec],
        kernel: Callable[[Mapping[str, int]], None],
    ) -> list[Value]:
        """Run a kernel of ours on the stream.

        Args:
            name: names the memory of inputs and outputs, for each shape of the inputs.
            inputs: the inputs. Those on this device are read where they are.
            outputs: shape and dtype of each output.
            kernel: puts the work on the stream, for the addresses of all inputs and outputs.
        """
        with self._exclusive():
            values = {key: self._as_source(value) for key, value in inputs.items()}
            memory = _key(values) + tuple((each, shape, None) for each, (shape, _) in outputs.items())
            prepared = self._prepare_once(name, memory, lambda: self._allocate_outputs(outputs))
            prepared.settle()
            addresses = {key: slot.address for key, slot in prepared.outputs.items()}
            for key, value in values.items():
                address = self._address_of(value)
                addresses[key] = address if address is not None else self._sent(prepared, key, value)
            kernel(addresses)
            handed_out = []
            for slot in prepared.outputs.values():
                slot.generation += 1
                handed_out.append(Output(self, slot, slot.dtype))
            prepared.handed_out = [weakref.ref(output) for output in handed_out]
            return [*handed_out]

    def send(self, name: str, array: NDArray[Any]) -> Value:
        """Upload an array, once for several kernels."""
        with self._exclusive():
            prepared = self._prepare_once(
                name, _key({name: array}), lambda: self._allocate_outputs({name: (array.shape, array.dtype)})
            )
            prepared.settle()
            slot = prepared.outputs[name]
            slot.generation += 1
            slot.upload(array)
            output = Output(self, slot, array.dtype)
            prepared.handed_out = [weakref.ref(output)]
            return output

    def constant(self, name: str, array: Callable[[], NDArray[Any]]) -> int:
        """Return the address of a constant, which is uploaded when it is first asked for."""
        with self._exclusive():
            if name not in self._constants:
                values = array()
                self._constants[name] = Slot(self._marks, (values.shape, values.dtype))
                self._constants[name].upload(values)
            return self._constants[name].address

    @property
    def held(self) -> int:
        """The bytes of device memory that are allocated for tensors."""
        kept = (prepared for graph in self._prepared.values() for prepared in graph.values())
        slots = {id(slot): slot for each in kept for slot in (*each.inputs.values(), *each.outputs.values())}
        return sum(slot.bytes for slot in (*slots.values(), *self._constants.values()))

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

    def forget_sequences(self) -> None:
        """Forget what was recorded, because memory that all graphs share is freed."""
        self._sequences.forget()

    def refuse_to_wait_in_a_capture(self) -> None:
        """Raise EngineError if this thread records a sequence."""
        recording = self._marks.recording
        if recording is not None and recording.thread == threading.get_ident():
            raise EngineError("the host waits for a result")

    def _record(
        self,
        sequence: Recorded[Prepared],
        work: Callable[[Value], list[Value]],
        source: Value,
        report: Callable[[str], None],
    ) -> None:
        for kept in self._prepared.values():
            for prepared in kept.values():
                prepared.settle()
        sequence.source = self._address_of(source)
        try:
            self._sequences.capture(sequence, work, source)
        except EngineError as error:
            report(str(error))
        for prepared in sequence.recording.used.values():
            prepared.handed_out.clear()
        self._forget_canvases()

    def _replay(self, sequence: Recorded[Prepared], source: Value) -> list[Value]:
        owners: dict[int, Prepared] = {}
        for (graph, key), prepared in sequence.recording.used.items():
            self._prepared[graph].move_to_end(key)
            prepared.settle()
            for slot in prepared.outputs.values():
                slot.generation += 1
                owners[id(slot)] = prepared
        self._forget_canvases()
        self._sequences.launch(sequence, source)
        outputs: list[Value] = []
        for recorded in sequence.outputs:
            assert isinstance(recorded, Output)  # see `recorded`
            output = recorded.renewed()
            owners[id(output.memory)].handed_out.append(weakref.ref(output))
            outputs.append(output)
        return outputs

    def _forget_canvases(self) -> None:
        for canvas in self._canvases.values():
            canvas.forget()

    def _run(self, graph: str, inputs: Mapping[str, Value]) -> list[Output]:
        """Enqueue the graph, and then the copies of the outputs that the host needs."""
        values = {name: self._as_source(value) for name, value in inputs.items()}
        prepared = self._prepare_once(graph, _key(values), lambda: self._allocate(graph, values))
        prepared.settle()
        for name, slot in prepared.inputs.items():
            self._upload(values[name], slot)
        assert prepared.executable is not None  # only kernels have none
        prepared.executable.execute()
        return self._hand_out(graph, prepared)

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Hold the lock. After an error, wait until nothing is in flight, because pinned memory will be reused."""
        with self.on_device():
            try:
                yield
            except BaseException:
                self._forget_canvases()
                with contextlib.suppress(EngineError):
                    self._device.synchronize()
                raise

    def _as_source(self, value: Value) -> Value:
        if isinstance(value, Placeable):
            value = value.place()
        return value if isinstance(value, (Output, Settled, Part)) else np.asarray(value)

    def _address_of(self, value: Value) -> int | None:
        """Return the address of a value on this device; None if it is on the host."""
        if isinstance(value, Part):
            whole = self._address_of(value.whole)
            channel = int(np.prod(value.shape[2:])) * value.dtype.itemsize
            return None if whole is None else whole + value.start * channel
        slot = value.slot(self) if isinstance(value, Output) else None
        return slot.address if slot is not None and slot.dtype == value.dtype else None

    def _sent(self, prepared: Prepared, name: str, value: Value) -> int:
        """Upload an input of a kernel from the host; return its address."""
        if name not in prepared.inputs:
            prepared.inputs[name] = Slot(self._marks, (value.shape, value.dtype))
        prepared.inputs[name].upload(value)
        return prepared.inputs[name].address

    def _prepare_once(self, graph: str, key: Key, allocate: Callable[[], Prepared]) -> Prepared:
        kept = self._prepared.setdefault(graph, OrderedDict())
        if key not in kept:
            if self._marks.recording is not None:
                raise EngineError(f"{graph} allocates memory")
            while len(kept) >= KEPT_SHAPES:
                self._release(kept.popitem(last=False)[1])
            try:
                kept[key] = allocate()
            except DeviceMemoryError:
                self._release_all()  # the memory of other sizes may suffice
                kept[key] = allocate()
        kept.move_to_end(key)
        if self._marks.recording is not None:
            self._marks.recording.used[graph, key] = kept[key]
        return kept[key]

    def _allocate(self, graph: str, values: Mapping[str, Value]) -> Prepared:
        executable = self._prepare(graph, {name: value.shape for name, value in values.items()})
        prepared = Prepared(executable)
        try:
            for name, spec in executable.inputs.items():
                prepared.inputs[name] = self._input(values[name], spec)
            for name, spec in executable.outputs.items():
                prepared.outputs[name] = Slot(self._marks, spec)
            executable.bind({name: slot.address for name, slot in (prepared.inputs | prepared.outputs).items()})
        except EngineError:
            self._release(prepared)
            raise
        return prepared

    def _allocate_outputs(self, outputs: Mapping[str, TensorSpec]) -> Prepared:
        prepared = Prepared(None)
        try:
            for name, spec in outputs.items():
                prepared.outputs[name] = Slot(self._marks, spec)
        except EngineError:
            self._release(prepared)
            raise
        return prepared

    def _input(self, value: Value, spec: TensorSpec) -> Slot:
        if not isinstance(value, Settled):
            return Slot(self._marks, spec)
        shape, dtype = value.whole.shape, spec[1]
        if shape not in self._canvases:
            self._canvases[shape] = Canvas(self._marks, (shape, dtype))
        self._canvases[shape].users += 1
        return self._canvases[shape]

    def _release(self, prepared: Prepared) -> None:
        self._sequences.forget(prepared)
        prepared.settle()
        self._device.synchronize()
        if prepared.executable is not None:
            prepared.executable.release()
        for slot in [*prepared.inputs.values(), *prepared.outputs.values()]:
            if isinstance(slot, Canvas):
                slot.users -= 1
                if slot.users:
                    continue
                del self._canvases[slot.shape]
            slot.free()

    def _release_all(self) -> None:
        for kept in self._prepared.values():
            while kept:
                self._release(kept.popitem()[1])
        while self._constants:
            self._device.synchronize()
            self._constants.popitem()[1].free()
        self._free_shared()

    def _upload(self, value: Value, slot: Slot) -> None:
        if isinstance(value, Settled):
            assert isinstance(slot, Canvas)  # see `_input`
            for first, piece in value.pieces(slot.begin(value)):
                slot.fill(first, piece, piece.slot(self) if isinstance(piece, Output) else None)
            return
        source = value.slot(self) if isinstance(value, Output) else None
        if source is not None and source.dtype == slot.dtype:
            self._device.copy(slot.address, source.address, slot.bytes)
        else:
            slot.upload(value)

    def _hand_out(self, graph: str, prepared: Prepared) -> list[Output]:
        outputs = []
        for port in self._bundle.ports(graph)[1]:
            slot = prepared.outputs[port.name]
            slot.generation += 1
            output = Output(self, slot, port.dtype)
            if (graph, port.name) not in self._kept_on_device:
                output.fetch()
            outputs.append(output)
        prepared.handed_out = [weakref.ref(output) for output in outputs]
        return outputs


def _key(values: Mapping[str, Value]) -> Key:
    """Return what the memory of a graph or kernel depends on."""
    return tuple(
        (name, value.shape, value.whole.shape if isinstance(value, Settled) else None)
        for name, value in sorted(values.items())
    )


def _outputs_read_on_the_device(bundle: Bundle) -> set[tuple[str, str]]:
    """Return the graph and name of every output that a later graph of the manifest or a kernel reads."""
    found: set[tuple[str, str]] = set()
    read: set[str] = set()
    for graph in reversed(bundle.graphs()):
        inputs, outputs = bundle.ports(graph)
        found |= {(graph, port.name) for port in outputs if port.name in read | READ_BY_KERNELS}
        read |= {port.name for port in inputs}
    return found
