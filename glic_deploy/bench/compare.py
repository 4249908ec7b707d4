"""Compare two results, and report which times changed by more than the spread of both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import EngineError
from .latency import DIRECTIONS
from .statistics import Change, Summary

Key = tuple[str, ...]


def load(path: str) -> dict[str, Any]:
    """Load a result that `glic bench --json` wrote.

    Raises EngineError if the file is no result or has another schema, OSError if it cannot be read.
    """
    from .run import SCHEMA

    try:
        result = json.loads(Path(path).read_bytes())
        schema = result["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(
            f"{path} is not a result of glic bench ({error!r}); name a file that glic bench --json wrote"
        ) from None
    if schema != SCHEMA:
        raise EngineError(
            f"{path} has schema {schema!r}, but this glic-deploy reads only {SCHEMA!r}; run the old benchmark again"
        )
    loaded: dict[str, Any] = result
    return loaded


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the change of every time that both results contain, of whole directions and of single stages.

    Each entry has `what` (contender, image, size, direction, stage), the medians `old_s` and `new_s`, their `ratio`,
    and `exceeds_spread`.
    """
    before = dict(_times(old))
    found = []
    for key, summary in _times(new):
        if key in before:
            change = Change.between(before[key], summary)
            found.append(
                {
                    "what": list(key),
                    "old_s": before[key].median,
                    "new_s": summary.median,
                    "ratio": change.ratio,
                    "exceeds_spread": change.exceeds_spread,
                }
            )
    return found


def render(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return a text with the changes that exceed the spread, and with the differences that may explain them."""
    lines = [f"Compared with {old['made_at']}, version {old['version']}:"]
    for name, pick in _CIRCUMSTANCES.items():
        if pick(old) != pick(new):
            lines.append(f"  {name}: {pick(old)} before, {pick(new)} now")
    found = changes(old, new)
    real = [change for change in found if change["exceeds_spread"]]
    for change in real:
        ratio = "" if change["ratio"] is None else f", {change['ratio']:.3f}x"
        times = f"{1e3 * change['old_s']:10.2f} ms -> {1e3 * change['new_s']:10.2f} ms{ratio}"
        lines.append(f"  {' '.join(change['what']):60} {times}")
    lines.append(f"  {len(found) - len(real)} of {len(found)} times are within the spread (p10 to p90) of both")
    return "\n".join(lines)


_CIRCUMSTANCES: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "processor": lambda result: result["machine"]["cpu"]["model"],
    "cores": lambda result: result["machine"]["cpu"]["cores"],
    "GPU": lambda result: [gpu.get("name") for gpu in result["machine"]["gpus"]],
    "versions": lambda result: result["machine"]["versions"],
    "revision": lambda result: result["machine"]["revision"],
    "threads": lambda result: result["settings"]["threads"],
    "model": lambda result: result["engine"]["model_fingerprint"],
    "arithmetic": lambda result: result["engine"]["arithmetic_fingerprint"],
}


def _times(result: Mapping[str, Any]) -> Iterator[tuple[Key, Summary]]:
    for entry in result["latency"]:
        where = (entry["contender"], entry["image"], "x".join(map(str, entry["size"])))
        for direction in DIRECTIONS:
            yield (*where, direction), Summary.from_dict(entry[direction]["total_s"])
            for stage, values in entry[direction]["stages_s"].items():
                yield (*where, direction, stage), Summary.from_dict(values)
