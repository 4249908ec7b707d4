"""Measure latency, one image at a time: the contenders take turns on the same image, run after run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from .contender import Answer, Contender
from .images import Workload
from .statistics import Summary, paired_ratios

DIRECTIONS = ("encode", "decode")
FEWEST_RUNS = 3
FILES = ("read", "write")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """Plan the runs of an image.

    Attributes:
        repeats: number of timed runs.
        warm_up: number of untimed runs before them.
        seconds: time after which no further run starts, once FEWEST_RUNS timed runs are made.
    """

    repeats: int
    warm_up: int
    seconds: float


def take_turns(contenders: Sequence[Contender], workload: Workload, plan: Plan) -> list[list[Answer]]:
    """Run the contenders in turns (A B A B), so that run i of one contender is next to run i of the others.

    Returns a list of answers for each contender.
    """
    for contender in contenders:
        for _ in range(plan.warm_up):
            contender.round_trip(workload.path)
    runs: list[list[Answer]] = [[] for _ in contenders]
    begin = time.monotonic()
    for number in range(plan.repeats):
        if number >= FEWEST_RUNS and time.monotonic() - begin > plan.seconds:
            break
        for contender, own in zip(contenders, runs, strict=True):
            own.append(contender.round_trip(workload.path))
    return runs


def summarise(runs: Sequence[Answer]) -> dict[str, Any]:
    """Summarise the runs of one contender for each direction.

    An entry has the total time, the total without reading and writing files, the time of every stage, the rest that
    belongs to no stage, and the totals of all runs; all in seconds.
    """
    return {direction: _direction([run[direction] for run in runs]) for direction in DIRECTIONS}


def _direction(runs: Sequence[Answer]) -> dict[str, Any]:
    totals = [run["total"] for run in runs]
    stages: dict[str, list[float]] = {
        name: [run["stages"].get(name, 0.0) for run in runs] for name in runs[0]["stages"]
    }
    files = [sum(run["stages"].get(name, 0.0) for name in FILES) for run in runs]
    return {
        "total_s": Summary.of(totals).as_dict(),
        "without_files_s": Summary.of([a - b for a, b in zip(totals, files, strict=True)]).as_dict(),
        "stages_s": {name: Summary.of(values).as_dict() for name, values in stages.items()},
        "rest_s": Summary.of([run["total"] - sum(run["stages"].values()) for run in runs]).as_dict(),
        "runs_s": totals,
    }


def compare_pairs(contenders: Sequence[Contender], runs: Sequence[Sequence[Answer]]) -> list[dict[str, Any]]:
    """Summarise the ratios of total times, run by run, for every two contenders: the later over the earlier one."""
    ratios = []
    for (base, base_runs), (other, other_runs) in combinations(zip(contenders, runs, strict=True), 2):
        ratio: dict[str, Any] = {"of": other.name, "to": base.name}
        for direction in DIRECTIONS:
            totals = ([run[direction]["total"] for run in each] for each in (other_runs, base_runs))
            ratio[direction] = paired_ratios(*totals).as_dict()
        ratios.append(ratio)
    return ratios


def peak_resident(runs: Sequence[Answer]) -> int | None:
    """Return the process's peak resident memory in bytes up to the end of these runs; None if it is unknown."""
    return max((run["peak_resident_bytes"] for run in runs if run["peak_resident_bytes"] is not None), default=None)
