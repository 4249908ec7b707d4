"""Latency, one image at a time: contenders take turns on the same image, run after run."""

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
    """How often to run: `repeats` runs after `warm_up` ones; after FEWEST_RUNS, none begins after `seconds`."""

    repeats: int
    warm_up: int
    seconds: float


def take_turns(contenders: Sequence[Contender], workload: Workload, plan: Plan) -> list[list[Answer]]:
    """The answers of each contender; run i of one was next to run i of the others (A B A B)."""
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
    """Statistics of each direction: the whole, the whole without files, every stage, and what no stage accounts for."""
    return {direction: _direction([run[direction] for run in runs]) for direction in DIRECTIONS}


def _direction(runs: Sequence[Answer]) -> dict[str, Any]:
    totals = [run["total"] for run in runs]
    stages: dict[str, list[float]] = {name: [run["stages"][name] for run in runs] for name in runs[0]["stages"]}
    files = [sum(run["stages"].get(name, 0.0) for name in FILES) for run in runs]
    return {
        "total_s": Summary.of(totals).as_dict(),
        "without_files_s": Summary.of([a - b for a, b in zip(totals, files, strict=True)]).as_dict(),
        "stages_s": {name: Summary.of(values).as_dict() for name, values in stages.items()},
        "rest_s": Summary.of([run["total"] - sum(run["stages"].values()) for run in runs]).as_dict(),
        "runs_s": totals,
    }


def compare_pairs(contenders: Sequence[Contender], runs: Sequence[Sequence[Answer]]) -> list[dict[str, Any]]:
    """For every two contenders, the later one's times over the earlier one's, pair by pair."""
    ratios = []
    for (base, base_runs), (other, other_runs) in combinations(zip(contenders, runs, strict=True), 2):
        ratio: dict[str, Any] = {"of": other.name, "to": base.name}
        for direction in DIRECTIONS:
            totals = ([run[direction]["total"] for run in each] for each in (other_runs, base_runs))
            ratio[direction] = paired_ratios(*totals).as_dict()
        ratios.append(ratio)
    return ratios


def peak_resident(runs: Sequence[Answer]) -> int | None:
    """Most bytes that the process has held up to the end of these runs; None where the system does not tell."""
    return max((run["peak_resident_bytes"] for run in runs if run["peak_resident_bytes"] is not None), default=None)
