"""Replays all that an image puts on a GPU's stream, graphs, kernels and copies, as one CUDA graph.

The caller passes its work as a function of one input, such as an image. At each shape, the first two calls run this
function as it is: they allocate the memory, compare the graphs with the CPU, and let TensorRT choose its kernels. In
the third call the stream is captured while the function runs, and from then on the captured CUDA graph is launched.
This is right because all work is asynchronous and at fixed addresses, and because a sequence reads nothing from the
host but its input, which is written to pinned memory before each launch. A sequence that allocates, waits, or sends
other arrays is not recorded. Whatever frees memory that a sequence may use forgets the sequence.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from ..errors import EngineError
from ..values import Value
from .cuda import Device
from .device_memory import Marks, Recording, Shape

RUNS_BEFORE = 2
"""The number of runs of a sequence before that which is captured."""

SequenceKey = tuple[str, Shape, bool]
"""The name of a sequence, the shape of its input, and whether the input is on the device."""

M = TypeVar("M")


@dataclass
class Sequence(Generic[M]):
    """A sequence at one shape of its input.

    Attributes:
        runs: the number of runs so far.
        graph: the CUDA graph, None if there is none yet.
        source: the address of the input if it is on the device.
        outputs: what the work returned when it was captured. They hold nothing.
        recording: the memory that the CUDA graph uses.
    """

    runs: int = 0
    graph: int | None = None
    source: int | None = None
    outputs: list[Value] = field(default_factory=list)
    recording: Recording[M] = field(default_factory=Recording)

    def uses(self, memory: M) -> bool:
        """Return whether the CUDA graph uses this memory; True if there is none yet."""
        return self.graph is None or any(each is memory for each in self.recording.used.values())


class Sequences(Generic[M]):
    """The sequences of a runner, whose lock must be held by all callers.

    Args:
        device: the device.
        marks: the marks on its stream.
    """

    def __init__(self, device: Device, marks: Marks[M]) -> None:
        self._device, self._marks = device, marks
        self._sequences: dict[SequenceKey, Sequence[M]] = {}

    def due(self, key: SequenceKey) -> Sequence[M] | None:
        """Count a run. Return the sequence if the run is to be captured or replayed."""
        sequence = self._sequences.setdefault(key, Sequence())
        sequence.runs += 1
        return sequence if sequence.runs > RUNS_BEFORE else None

    def capture(self, sequence: Sequence[M], work: Callable[[Value], list[Value]], value: Value) -> None:
        """Capture the work, which is not run. Raises EngineError."""
        self._free(sequence)
        self._device.synchronize()
        self._marks.reach_all()
        with self._device.gate.capture():
            self._device.begin_capture()
            self._marks.recording = recording = sequence.recording = Recording()
            try:
                sequence.outputs = work(value)
                if any(sent is not None and sent is not value for _, sent in recording.copies):
                    raise EngineError("other arrays than its input are sent to the GPU")
            except BaseException:
                with contextlib.suppress(EngineError):  # a capture that is invalid ends with an error
                    self._device.free_graph(self._device.end_capture())
                raise
            finally:
                self._marks.recording = None
            sequence.graph = self._device.end_capture()

    def launch(self, sequence: Sequence[M], value: Value) -> None:
        """Put the captured work on the stream, for this input."""
        assert sequence.graph is not None
        for slot, sent in sequence.recording.copies:
            slot.wait()
            if sent is not None:
                np.copyto(slot.host, np.asarray(value), casting="same_kind")
        self._device.launch(sequence.graph)
        for slot, _ in sequence.recording.copies:
            slot.mark()

    def forget(self, memory: M | None = None) -> None:
        """Forget the sequences that may use this memory; None: all. Captures begin anew with the first run."""
        for key, sequence in [*self._sequences.items()]:
            if memory is None or sequence.uses(memory):
                del self._sequences[key]
                self._free(sequence)

    def _free(self, sequence: Sequence[M]) -> None:
        if sequence.graph is not None:
            self._device.synchronize()
            self._device.free_graph(sequence.graph)
        sequence.graph = None
