"""Runs graphs whose inputs and outputs lie in a GPU's memory: what both GPU backends do around a graph.

For every graph and shape, device and pinned memory are allocated once, at addresses that stay. What one graph gives and
the next one takes is copied on the GPU and comes to the host only when its elements are asked for. What the host needs
comes as soon as it is computed, the first output first: a decoder works on the indexes of a pass while its means are
under way. Of a map that is filled slice by slice each slice is sent once.
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

KEPT_SHAPES = 4
"""Sizes of pictures for which memory stays allocated, for each graph."""

Shape = tuple[int, ...]
Form = tuple[Shape, np.dtype[Any]]


class Executable(Protocol):
    """A graph at one shape."""

    @property
    def inputs(self) -> Mapping[str, Form]:
        """What it takes on the device."""

    @property
    def outputs(self) -> Mapping[str, Form]:
        """What it gives on the device."""

    def bind(self, addresses: Mapping[str, int]) -> None:
        """Say where all tensors are, once and for all runs."""

    def execute(self) -> None:
        """Put a run on the device's stream, or run at once what the stream holds and this. Raises EngineError."""

    def release(self) -> None:
        """Free what it holds itself; nothing of it is under way."""


Prepare = Callable[[str, Mapping[str, Shape]], Executable]
"""Makes a graph ready for inputs of these shapes. Raises EngineError where it takes others."""


class _Slot:
    """Device memory of a tensor, and pinned memory through which it goes up or comes down, allocated when it does."""

    def __init__(self, device: Device, form: Form) -> None:
        self._device = device
        self.shape, self.dtype = form
        self.bytes = int(np.prod(self.shape)) * self.dtype.itemsize
        self.address = device.allocate(max(self.bytes, 1))
        self.generation = 0  # counts what was written to it
        self._host: NDArray[Any] | None = None
        self._arrived: int | None = None

    @property
    def host(self) -> NDArray[Any]:
        if self._host is None:
            self._host = self._device.pinned(self.shape, self.dtype)
        return self._host

    def download(self) -> None:
        """Let the contents come to `host`; they are there after `wait`."""
        if self._arrived is None:
            self._arrived = self._device.event()
        self._device.download(self.host, self.address)
        self._device.record(self._arrived)

    def wait(self) -> None:
        if self._arrived is not None:
            self._device.wait(self._arrived)

    def free(self) -> None:
        self.generation += 1
        self._device.free(self.address)
        if self._host is not None:
            self._device.free_pinned(self._host)
        if self._arrived is not None:
            self._device.free_event(self._arrived)


class _Canvas(_Slot):
    """A map that is sent slice by slice; the graphs that take its first channels read them where they are."""

    users = 0
    sent = 0
    _whole: weakref.ref[Any] | None = None

    def extend(self, value: Settled) -> None:
        """Send those channels that are not there yet."""
        if self._whole is None or self._whole() is not value.whole:
            self._whole, self.sent = weakref.ref(value.whole), 0
        if self.sent < value.channels:
            new = slice(self.sent, value.channels)
            self.host[:, new] = value.whole[:, new]
            self._device.upload(self.address + self.sent * (self.bytes // self.shape[1]), self.host[:, new])
            self.sent = value.channels

    def forget(self) -> None:
        self._whole = None


class _Output:
    """An output that was handed out: of a slot while that holds it, else an array of its own."""

    def __init__(self, runner: DeviceRunner, slot: _Slot, dtype: DTypeLike) -> None:
        self._runner, self._slot, self.dtype = runner, slot, np.dtype(dtype)
        self._generation = slot.generation
        self._array: NDArray[Any] | None = None
        self.shape = slot.shape
        self.coming = False

    def slot(self, runner: DeviceRunner) -> _Slot | None:
        """Where it is in the device's memory, if it still is."""
        return self._slot if self._runner is runner and self._slot.generation == self._generation else None

    def bring(self) -> None:
        self._slot.download()
        self.coming = True

    def read(self) -> NDArray[Any]:
        """The array, waited for. The runner's lock is held, and the slot not written again before all of it is read."""
        if self._array is None:
            if not self.coming:
                self.bring()
            self._slot.wait()
            self._array = self._slot.host.astype(self.dtype)
        return self._array

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        with self._runner.lock:
            array = self.read()
        array.flags.writeable = False  # or what is on the device would not be what it says
        return converted(array, dtype)


@dataclass
class _Prepared:
    """A graph at one shape, its memory, and what was handed out of that."""

    executable: Executable
    inputs: dict[str, _Slot]
    outputs: dict[str, _Slot]
    handed_out: list[weakref.ref[_Output]]

    def settle(self) -> None:
        """Take what is still wanted of the outputs out of their slots."""
        for reference in self.handed_out:
            if (output := reference()) is not None:
                output.read()
        self.handed_out.clear()


Key = tuple[tuple[str, Shape, Shape | None], ...]


class DeviceRunner:
    """Runs the graphs of a bundle on a device. `lock` is held while the device is used, by one runner of all.

    While onnxruntime captures a CUDA graph no other thread may allocate or wait, whichever codec it works for.
    """

    lock = threading.RLock()

    def __init__(self, device: Device, bundle: Bundle, prepare: Prepare) -> None:
        self._device, self._bundle, self._prepare = device, bundle, prepare
        self._prepared: dict[str, OrderedDict[Key, _Prepared]] = {name: OrderedDict() for name in bundle.graphs()}
        self._canvases: dict[Shape, _Canvas] = {}
        self._staying = _outputs_taken_later(bundle)

    def run(self, graph: str, inputs: Mapping[str, Value]) -> list[NDArray[Any]]:
        """What `Backend.run` gives."""
        with self._at_work():
            outputs = self._run(graph, inputs)
            for output in outputs:
                if not output.coming:
                    output.bring()
            return [output.read() for output in outputs]

    def start(self, graph: str, inputs: Mapping[str, Value]) -> Sequence[Value]:
        """What `Backend.start` gives: the graph has run, its first output is here if the host needs one."""
        with self._at_work():
            outputs = self._run(graph, inputs)
            coming = [output for output in outputs if output.coming]
            if not coming:
                self._device.synchronize()  # its errors are this graph's, and the time it takes
            return [output.read() if output in coming[:1] else output for output in outputs]

    def close(self) -> None:
        """Free all memory. What was handed out is read first."""
        with self.lock:
            self._release_all()

    def _run(self, graph: str, inputs: Mapping[str, Value]) -> list[_Output]:
        """The graph put on the stream, and after it the copies of what the host needs."""
        values = {name: self._known(value) for name, value in inputs.items()}
        prepared = self._take(graph, values)
        prepared.settle()
        for name, slot in prepared.inputs.items():
            self._send(values[name], slot)
        prepared.executable.execute()
        return self._hand_out(graph, prepared)

    @contextlib.contextmanager
    def _at_work(self) -> Iterator[None]:
        """Nothing that was begun is under way after an error: pinned memory will be written again."""
        with self.lock:
            try:
                yield
            except BaseException:
                for canvas in self._canvases.values():
                    canvas.forget()
                with contextlib.suppress(EngineError):
                    self._device.synchronize()
                raise

    def _known(self, value: Value) -> NDArray[Any] | Settled | _Output:
        return value if isinstance(value, (_Output, Settled)) else np.asarray(value)

    def _take(self, graph: str, values: Mapping[str, NDArray[Any] | Settled | _Output]) -> _Prepared:
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
                self._release_all()  # what is kept of other sizes may be what lacks
                kept[key] = self._allocate(graph, values)
        kept.move_to_end(key)
        return kept[key]

    def _allocate(self, graph: str, values: Mapping[str, NDArray[Any] | Settled | _Output]) -> _Prepared:
        executable = self._prepare(graph, {name: value.shape for name, value in values.items()})
        prepared = _Prepared(executable, {}, {}, [])
        try:
            for name, form in executable.inputs.items():
                prepared.inputs[name] = self._input(values[name], form)
            for name, form in executable.outputs.items():
                prepared.outputs[name] = _Slot(self._device, form)
            executable.bind({name: slot.address for name, slot in (prepared.inputs | prepared.outputs).items()})
        except EngineError:
            self._release(prepared)
            raise
        return prepared

    def _input(self, value: NDArray[Any] | Settled | _Output, form: Form) -> _Slot:
        if not isinstance(value, Settled):
            return _Slot(self._device, form)
        shape, dtype = value.whole.shape, form[1]
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

    def _send(self, value: NDArray[Any] | Settled | _Output, slot: _Slot) -> None:
        if isinstance(value, Settled):
            assert isinstance(slot, _Canvas)  # as `_input` made it
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
            if (graph, port.name) not in self._staying:
                output.bring()
            outputs.append(output)
        prepared.handed_out = [weakref.ref(output) for output in outputs]
        return outputs


def _outputs_taken_later(bundle: Bundle) -> set[tuple[str, str]]:
    """Graph and name of the outputs that a graph further down in the manifest takes."""
    found: set[tuple[str, str]] = set()
    taken: set[str] = set()
    for graph in reversed(bundle.graphs()):
        inputs, outputs = bundle.ports(graph)
        found |= {(graph, port.name) for port in outputs if port.name in taken}
        taken |= {port.name for port in inputs}
    return found
