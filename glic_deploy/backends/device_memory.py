"""The memory of tensors on a GPU, with pinned memory for their copies, and the marks on the stream that say when a copy
has arrived.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..values import Settled, Value
from .cuda import Device

Shape = tuple[int, ...]
TensorSpec = tuple[Shape, np.dtype[Any]]


M = TypeVar("M")


class Recording(Generic[M]):
    """Collects what a thread puts on the stream while the stream is captured.

    Attributes:
        thread: the thread.
        copies: the slots whose pinned memory is copied, each with the array that it sends; None: it receives.
        used: the memory of graphs and kernels, by the name of each and by what the memory depends on.
    """

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.copies: list[tuple[Slot, Value | None]] = []
        self.used: dict[tuple[str, Any], M] = {}


class Marks(Generic[M]):
    """Waits for marks on a device's stream. Nothing waits for a mark before one that was reached.

    `recording` collects the marks instead while the stream is captured, because nothing can wait for them.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.recording: Recording[M] | None = None
        self._set = self._reached = 0

    def reach_all(self) -> None:
        """Note that the stream was waited for."""
        self._reached = self._set

    def set(self, event: int) -> int:
        """Record an event on the stream; return the number of the mark."""
        self.device.record(event)
        self._set += 1
        return self._set

    def wait(self, event: int, number: int) -> None:
        """Wait for the mark of this number, which is the event's last."""
        if number > self._reached:
            self.device.wait(event)
            self._reached = max(number, self._reached)


class Slot:
    """The device memory of a tensor, and pinned memory for its copies, which is allocated by the first copy."""

    def __init__(self, marks: Marks[Any], spec: TensorSpec) -> None:
        self.marks, self._device = marks, marks.device
        self.shape, self.dtype = spec
        self.bytes = int(np.prod(self.shape)) * self.dtype.itemsize
        self.address = self._device.allocate(max(self.bytes, 1))
        self.generation = 0  # counts the writes
        self._host: NDArray[Any] | None = None
        self._event: int | None = None
        self._mark = 0  # behind the last copy between `host` and the device
        self._waiting = 0  # threads that wait for a copy without the runner's lock
        self._freed = False

    @property
    def host(self) -> NDArray[Any]:
        if self._host is None:
            self._host = self._device.pinned(self.shape, self.dtype)
        return self._host

    def download(self) -> None:
        """Start the copy of the contents to `host`, once `host` is free; `waiting` waits for it."""
        self.wait()
        self._device.download(self.host, self.address)
        self.mark()

    def upload(self, value: Value) -> None:
        """Start the copy of an array to the device, once `host` is free."""
        self.wait()
        np.copyto(self.host, np.asarray(value), casting="same_kind")
        self._device.upload(self.address, self.host)
        self.mark(value)

    def mark(self, sent: Value | None = None) -> None:
        """Mark the place on the stream where `host` is no longer in use. sent: the value that is copied to the GPU."""
        if self.marks.recording is not None:
            self.marks.recording.copies.append((self, sent))
            return
        if self._event is None:
            self._event = self._device.event()
        self._mark = self.marks.set(self._event)

    def wait(self) -> None:
        """Wait for the last copy between `host` and the device."""
        if self._event is not None:
            self.marks.wait(self._event, self._mark)

    @contextlib.contextmanager
    def waiting(self, lock: threading.RLock) -> Iterator[None]:
        """Wait for the last copy, then enter with the lock. The lock is not held during the wait."""
        with lock:
            self._waiting += 1
        try:
            self.wait()
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
        if self._freed and not self._waiting and self._event is not None:
            self._device.free_event(self._event)
            self._event = None


class Canvas(Slot):
    """A map that is filled slice by slice. Graphs that read its first channels share this memory."""

    users = 0
    _filled = 0
    _whole: weakref.ref[Any] | None = None

    def begin(self, value: Settled) -> int:
        """Return the number of channels of this map that the canvas holds; of another map, it holds 0."""
        if self._whole is None or self._whole() is not value.whole:
            self._whole, self._filled = weakref.ref(value.whole), 0
        return self._filled

    def fill(self, first: int, piece: Value, source: Slot | None) -> None:
        """Put the channels from `first` on into the canvas, from a slot on the device, or from the host."""
        channels = slice(first, first + piece.shape[1])
        address = self.address + first * (self.bytes // self.shape[1])
        if source is not None:
            self._device.copy(address, source.address, source.bytes)
        else:
            if not first:
                self.wait()  # another thread's map may still be on its way from `host`
            self.host[:, channels] = piece
            self._device.upload(address, self.host[:, channels])
            self.mark(piece)
        self._filled = channels.stop

    def forget(self) -> None:
        self._whole = None
