"""Render the result of a benchmark as tables of plain text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from .. import machine
from .latency import DIRECTIONS

_COLUMNS = ("median", "p10", "p90", "p99", "min")
_GROUPS = {"hyper_analysis": "hyper analysis", "hyper_synthesis": "hyper synthesis"}


def stage_title(name: str) -> str:
    """Return the title of a stage: `slice2_nonanchors` becomes `slice 2 non-anchors`."""
    if name.startswith("slice"):
        number, _, parity = name.removeprefix("slice").partition("_")
        return f"slice {number} {parity.replace('non', 'non-')}"
    return _GROUPS.get(name, name)


def render(result: Mapping[str, Any]) -> str:
    """Return the whole result as text."""
    return "\n".join([*_head(result), *_latency(result), *_ratios(result), *_rest(result), *_sweep(result)])


def _head(result: Mapping[str, Any]) -> Iterator[str]:
    engine, settings = result["engine"], result["settings"]
    yield machine.summary(result["machine"])
    yield (
        f"engine {engine['path']}: model {engine['model_fingerprint']}, "
        f"{engine['arithmetic']} arithmetic {engine['arithmetic_fingerprint']}, {mebibytes(engine['bytes'])}"
    )
    for contender in result["contenders"]:
        backend = ", ".join(f"{key} {value}" for key, value in contender["codec"]["backend"].items())
        yield f"{contender['name']}: {backend}"
    yield (
        f"encode: PNG file to .glic file; decode: .glic file to PPM file; one image at a time, contenders in turns, at "
        f"most {settings['repeats']} runs after {settings['warm_up']} warm-up runs, each contender in its own process"
    )


def _latency(result: Mapping[str, Any]) -> Iterator[str]:
    for entry in result["latency"]:
        width, height = entry["size"]
        n = entry["encode"]["total_s"]["n"]
        yield ""
        yield (
            f"{entry['contender']}, {entry['image']} at {width}x{height}, {entry['bytes']:,} bytes, n = {n}; "
            "milliseconds"
        )
        yield f"  {'':24}" + "".join(f"{column:>10}" for column in _COLUMNS) + f"{'share':>8}"
        for direction in DIRECTIONS:
            yield from _direction(direction, entry[direction])


def _direction(direction: str, times: Mapping[str, Any]) -> Iterator[str]:
    total = times["total_s"]["median"]
    yield _row(direction, times["total_s"])
    yield _row("  without read and write", times["without_files_s"])
    stages = {stage_title(name): values for name, values in times["stages_s"].items()}
    for name, values in {**stages, "rest": times["rest_s"]}.items():
        yield _row(f"  {name}", values) + f"{values['median'] / total:8.1%}"


def _row(name: str, values: Mapping[str, float]) -> str:
    return f"  {name:24}" + "".join(f"{1e3 * values[column]:10.2f}" for column in _COLUMNS)


def _ratios(result: Mapping[str, Any]) -> Iterator[str]:
    if result["ratios"]:
        yield ""
    for pair in result["ratios"]:
        width, height = pair["size"]
        times = ", ".join(f"{direction} {_ratio(pair[direction])}" for direction in DIRECTIONS)
        yield f"{pair['of']} / {pair['to']}, pair by pair, {pair['image']} at {width}x{height}: {times}"


def _ratio(values: Mapping[str, float]) -> str:
    return f"{values['median']:.2f} ({values['p10']:.2f} to {values['p90']:.2f})"


def _rest(result: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    for rates in result["throughput"]:
        speeds = ", ".join(
            f"{direction} {rates[direction]['images_per_s']:.2f} images/s, "
            f"{rates[direction]['megapixels_per_s']:.3f} MPixel/s"
            for direction in DIRECTIONS
        )
        yield (f"{rates['contender']}: throughput, {rates['images']} images, {rates['in_flight']} in flight: {speeds}")
    for contender in result["contenders"]:
        starts = contender["cold_start"]
        parts = ", ".join(
            f"{title} {median(start[key] for start in starts):.2f} s"
            for key, title in (("start_s", "import"), ("open_s", "open"), ("first_image_s", "first image"))
        )
        yield (
            f"{contender['name']}: peak resident {mebibytes(contender['peak_resident_bytes'])}"
            + f"; cold start (median of {len(starts)}): {parts}"
        )


def _sweep(result: Mapping[str, Any]) -> Iterator[str]:
    sweep = result["sweep"]
    if sweep is None:
        return
    yield ""
    yield f"{sweep['contender']} by size, each in a fresh process"
    yield f"  {'size':>11} {'MPixel':>8} {'encode ms':>11} {'decode ms':>11} {'peak resident':>14}"
    for point in sweep["points"]:
        width, height = point["size"]
        times = " ".join(f"{1e3 * point[f'{direction}_s']['median']:11.1f}" for direction in DIRECTIONS)
        peak = mebibytes(point["peak_resident_bytes"])
        yield f"  {f'{width}x{height}':>11} {point['pixels'] / 1e6:8.3f} {times} {peak:>14}"
    if sweep["failure"]:
        yield f"  {'x'.join(map(str, sweep['failure']['size'])):>11} failed: {sweep['failure']['error']}"
    yield from growth(sweep)


def growth(sweep: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines that state the fitted laws in words."""
    for direction in DIRECTIONS:
        law = sweep[f"{direction}_law"]
        if law:
            yield f"  {direction} time grows as pixels^{law['exponent']:.2f}"
    law = sweep["memory_law"]
    if law:
        text = f"  memory: {mebibytes(law['fixed_bytes'])} plus a part that grows as pixels^{law['exponent']:.2f}"
        if law["ends_at_pixels"]:
            text += f"; {mebibytes(law['available_bytes'])} suffice up to {law['ends_at_pixels'] / 1e6:.1f} MPixel"
        yield text


def mebibytes(count: float | None) -> str:
    return "unknown" if count is None else f"{count / 2**20:,.0f} MiB"
