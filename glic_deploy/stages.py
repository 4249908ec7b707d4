"""How long the stages of coding take, and what they use of a device, for callers that ask."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

Ranges = Callable[[str], AbstractContextManager[object]]

_ranges: Ranges = nullcontext


@dataclass(frozen=True)
class DeviceUse:
    """What one graph run took of a device: seconds by its own clock, and the most bytes held since it was opened."""

    copy_in: float
    compute: float
    copy_out: float
    peak_bytes: int

    @property
    def seconds(self) -> float:
        return self.copy_in + self.compute + self.copy_out


class Stages(dict[str, float]):
    """Seconds of each stage on the host's clock; `device` has what the graphs took of a device, where there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.device: dict[str, DeviceUse] = {}


@contextmanager
def stage(stages: dict[str, float] | None, name: str) -> Iterator[None]:
    """Add the seconds that the block takes to a stage's sum."""
    if stages is None:
        yield
        return
    with _ranges(name):
        start = time.perf_counter()
        try:
            yield
        finally:
            stages[name] = stages.get(name, 0.0) + time.perf_counter() - start


def mark_ranges(ranges: Ranges) -> None:
    """Open `ranges(name)` around every measured stage from now on, such as `nvtx.annotate` for NVIDIA's profilers."""
    global _ranges
    _ranges = ranges
