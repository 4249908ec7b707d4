"""Render a comparison as a table, and save its results as Polygraphy's JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from polygraphy.json import save_json

from glic_deploy.errors import GlicError

from .inputs import Arrays
from .outcomes import GraphComparison, Outcome
from .runners import silence

SUMMARY = "comparison.json"


def render(outcomes: Sequence[Outcome], runners: Sequence[str], missing: Mapping[str, str], images: int) -> str:
    """Render the whole comparison as text: a row for each graph, a column for each runner, and the verdict last."""
    return "\n".join([*_table(outcomes, runners), *_missing(missing), *_wrong(outcomes), _verdict(outcomes, images)])


def _table(outcomes: Sequence[Outcome], runners: Sequence[str]) -> Iterator[str]:
    cells = {(outcome.graph, outcome.runner): _cell(outcome) for outcome in outcomes}
    graphs = list(dict.fromkeys(outcome.graph for outcome in outcomes))
    rows = [["", *runners], *([graph, *(cells.get((graph, name), "-") for name in runners)] for graph in graphs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    yield f"largest absolute difference from {runners[0]}, and the mean time of a run:"
    for name, *others in rows:
        yield "  ".join([name.ljust(widths[0]), *map(str.rjust, others, widths[1:])])


def _cell(outcome: Outcome) -> str:
    if outcome.seconds is None:
        return "FAILED"
    took = f"{1000 * outcome.seconds:7.1f} ms"
    if not outcome.differences:
        return took
    largest = max(outcome.differences.values(), key=lambda difference: (not difference.within, difference.largest))
    found = "exact" if largest.within and largest.largest == 0 else f"{largest.largest:.2g}"
    return f"{found if outcome.right else f'WRONG {found}'} {took}"


def _missing(missing: Mapping[str, str]) -> Iterator[str]:
    by_reason: dict[str, list[str]] = {}
    for name, reason in missing.items():
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        yield f"not compared: {', '.join(names)}: {reason}"


def _wrong(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        if outcome.failure is not None:
            yield f"FAILED: {outcome.graph} on {outcome.runner}: {outcome.failure}"
        for output, found in outcome.differences.items():
            if not found.within:
                allowed = found.tolerance
                yield (
                    f"WRONG: {outcome.graph} on {outcome.runner}: {output} differs by {found.largest:.3g} at most and "
                    f"{found.mean:.3g} in the mean, allowed are {allowed.largest:.3g} and {allowed.mean:.3g}"
                )


def _verdict(outcomes: Sequence[Outcome], images: int) -> str:
    graphs = list(dict.fromkeys(outcome.graph for outcome in outcomes))
    wrong = list(dict.fromkeys(outcome.graph for outcome in outcomes if not outcome.right))
    of = f"{len(graphs)} graphs on {images} image{'s' if images > 1 else ''}"
    if not wrong:
        return f"all {of} agree"
    return f"{len(wrong)} of {of} {'differ' if len(wrong) > 1 else 'differs'}: {', '.join(wrong)}"


def require_replaceable(directory: Path) -> None:
    """Raise GlicError unless a directory is missing, is empty or contains an earlier comparison."""
    if directory.exists() and not (directory / SUMMARY).is_file() and not (directory.is_dir() and _is_empty(directory)):
        raise GlicError(f"{directory} exists and is no earlier comparison; name another directory with --save")


def _is_empty(directory: Path) -> bool:
    return not any(directory.iterdir())


def save_graph(directory: Path, graph: str, feeds: Sequence[Arrays], comparison: GraphComparison) -> None:
    """Write the inputs, every runner's outputs and their comparison as files for Polygraphy's tools."""
    folder = directory / graph
    folder.mkdir()
    with silence():
        save_json(list(feeds), str(folder / "inputs.json"))
        comparison.results.save(str(folder / "results.json"))
        comparison.accuracy.save(str(folder / "accuracy.json"))


def save_summary(directory: Path, outcomes: Sequence[Outcome], missing: Mapping[str, str], **about: Any) -> None:
    """Write the table as JSON; a later comparison replaces only directories that have this file."""
    summary = {**about, "outcomes": [_as_json(outcome) for outcome in outcomes], "not_compared": dict(missing)}
    (directory / SUMMARY).write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n")


def _as_json(outcome: Outcome) -> dict[str, Any]:
    differences = {
        output: {
            "largest": _number(found.largest),
            "mean": _number(found.mean),
            "allowed": asdict(found.tolerance),
            "within": found.within,
        }
        for output, found in outcome.differences.items()
    }
    return {**asdict(outcome), "differences": differences, "right": outcome.right}


def _number(value: float) -> float | None:
    """Return a finite number, or None for NaN and infinities, which JSON lacks."""
    return value if math.isfinite(value) else None
