"""How long the stages of coding take, for callers that ask."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

Ranges = Callable[[str], AbstractContextManager[object]]

_ranges: Ranges = nullcontext


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
