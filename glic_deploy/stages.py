"""Measure the time of each stage of coding, if the caller passes a dictionary for the times."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

Ranges = Callable[[str], AbstractContextManager[object]]

_ranges: Ranges = nullcontext


@contextmanager
def stage(stages: dict[str, float] | None, name: str) -> Iterator[None]:
    """Add the seconds of the block to the total of a stage; do nothing if `stages` is None."""
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
    """Open `ranges(name)` around every stage from now on, for example `nvtx.annotate` for NVIDIA's profilers."""
    global _ranges
    _ranges = ranges
