"""What a runner keeps of a graph or kernel at one shape: what runs it, its memory, and the outputs that it gave."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..values import converted
from .device_memory import Slot, TensorSpec


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


class Owner(Protocol):
    """The runner that an output is of; see `DeviceRunner`."""

    lock: threading.RLock

    def on_device(self) -> AbstractContextManager[None]: ...
    def refuse_to_wait_in_a_capture(self) -> None: ...


class Output:
    """An output of a graph, read from its slot. Its elements are copied before the slot is overwritten."""

    def __init__(self, runner: Owner, slot: Slot, dtype: DTypeLike) -> None:
        self._runner, self.memory, self.dtype = runner, slot, np.dtype(dtype)
        self._generation = slot.generation
        self._array: NDArray[Any] | None = None
        self.shape = slot.shape
        self.in_flight = False

    def slot(self, runner: Owner) -> Slot | None:
        """Return the device memory of the output, None if it was overwritten or belongs to another runner."""
        return self.memory if self._runner is runner and self.memory.generation == self._generation else None

    def renewed(self) -> Output:
        """Return the output of a replay of the sequence that this output was recorded in."""
        output = Output(self._runner, self.memory, self.dtype)
        output.in_flight = self.in_flight
        return output

    def fetch(self) -> None:
        """Start the copy to the host, unless it was started."""
        with self._runner.on_device():
            if self._array is None and not self.in_flight:
                self.memory.download()
                self.in_flight = True

    def read(self) -> NDArray[Any]:
        """Wait for the array and return it.

        If another thread overwrites the slot during the wait, that thread stores the array first (see `settle`).
        """
        self.fetch()
        if self._array is None:
            self._runner.refuse_to_wait_in_a_capture()
            with self.memory.waiting(self._runner.lock):
                if self._array is None:
                    self._array = self.memory.host.astype(self.dtype)
        return self._array

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        array = self.read()
        array.flags.writeable = False  # a change would not reach the device
        return converted(array, dtype)


@dataclass(eq=False)
class Prepared:
    """A graph or a kernel at one shape, its memory, and references to the outputs that were handed out."""

    executable: Executable | None
    inputs: dict[str, Slot] = field(default_factory=dict)
    outputs: dict[str, Slot] = field(default_factory=dict)
    handed_out: list[weakref.ref[Output]] = field(default_factory=list)

    def settle(self) -> None:
        """Copy the outputs that are still referenced out of their slots."""
        for reference in self.handed_out:
            if (output := reference()) is not None:
                output.read()
        self.handed_out.clear()
