"""Measure time and memory against image size, and extrapolate to the size that would fill this machine's memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import EngineError, LimitError
from ..files import temporary_directory
from ..limits import DEFAULT_LIMITS
from ..machine import memory_bytes
from .contender import Contender
from .images import Size, prepare
from .latency import DIRECTIONS, Plan, Say, peak_resident, take_turns
from .statistics import PowerLaw, Summary

SMALLEST: Size = (128, 128)
SIZES: tuple[Size, ...] = ((256, 256), (512, 512), (768, 768), (1024, 1024), (1536, 1536), (2048, 2048))


def sweep(
    start: Callable[[], Contender], sources: list[str], sizes: Sequence[Size], plan: Plan, say: Say
) -> dict[str, Any]:
    """Measure SMALLEST and every size, each in a fresh process and in rising order, until a size fails; fit power laws.

    Returns the points, the failure (or None) and the laws of `extrapolate`.
    """
    points: list[dict[str, Any]] = []
    failure = None
    for width, height in sorted({SMALLEST, *sizes}, key=lambda size: size[0] * size[1]):
        with temporary_directory("glic-bench-") as directory:
            (workload,) = prepare(directory, sources[:1], [(width, height)], DEFAULT_LIMITS)
            try:
                with start() as contender:
                    runs = take_turns([contender], workload, plan)[0]
            except (EngineError, LimitError, MemoryError, OSError) as error:
                failure = {"size": [width, height], "error": str(error)}
                say(f"sweep {width}x{height}: {error}")
                break
        point: dict[str, Any] = {
            "size": [width, height],
            "pixels": workload.pixels,
            "peak_resident_bytes": peak_resident(runs),
        }
        for direction in DIRECTIONS:
            point[f"{direction}_s"] = Summary.of([run[direction]["total"] for run in runs]).as_dict()
        points.append(point)
        times = ", ".join(f"{direction} {point[direction + '_s']['median']:.2f} s" for direction in DIRECTIONS)
        say(f"sweep {width}x{height}: {times}")
    return {"points": points, "failure": failure, **extrapolate(points, memory_bytes())}


def extrapolate(points: Sequence[dict[str, Any]], memory: int | None) -> dict[str, Any]:
    """Fit power laws of time and memory over the number of pixels, and extrapolate to `memory` bytes.

    The memory of the first point counts as fixed (code, weights, buffers); the law of memory describes the growth
    beyond the fixed part.
    """
    laws: dict[str, Any] = {}
    for direction in DIRECTIONS:
        law = PowerLaw.fit(
            [point["pixels"] for point in points], [point[f"{direction}_s"]["median"] for point in points]
        )
        laws[f"{direction}_law"] = law and {"factor": law.factor, "exponent": law.exponent}
    return {**laws, "memory_law": _memory_law(points, memory)}


def _memory_law(points: Sequence[dict[str, Any]], memory: int | None) -> dict[str, Any] | None:
    known = [(point["pixels"], point["peak_resident_bytes"]) for point in points if point["peak_resident_bytes"]]
    if not known:
        return None
    fixed = known[0][1]
    law = PowerLaw.fit([pixels for pixels, _ in known[1:]], [peak - fixed for _, peak in known[1:]])
    if law is None:
        return None
    return {
        "fixed_bytes": fixed,
        "factor": law.factor,
        "exponent": law.exponent,
        "available_bytes": memory,
        "ends_at_pixels": law.solve(memory - fixed) if memory else None,
    }
