"""Render the result of an evaluation as tables of plain text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .. import machine
from ..bench.tables import stage_title

# Title: key, width, digits.
_CELLS = {
    "bpp": ("bpp", 9, 4),
    "PSNR dB": ("psnr", 9, 2),
    "MS-SSIM": ("ms_ssim", 9, 4),
    "encode s": ("encode_s", 10, 3),
    "decode s": ("decode_s", 10, 3),
}


def render(document: Mapping[str, Any]) -> str:
    """Return the whole result as text."""
    return "\n".join(
        [machine.summary(document["machine"]), *_engines(document), *_codecs(document), *_compared(document)]
    )


def _engines(document: Mapping[str, Any]) -> Iterator[str]:
    for engine in document["engines"]:
        backend = ", ".join(f"{key} {value}" for key, value in engine["backend"].items())
        yield ""
        yield f"{engine['title']}: model {engine['model_fingerprint']}, {engine['arithmetic']} arithmetic; {backend}"
        titles = "".join(f"{title:>{width}}" for title, (_, width, _) in _CELLS.items())
        yield f"  {'image':32}{'size':>11}{'bytes':>10}{titles}"
        for row in engine["rows"]:
            size = f"{row['width']}x{row['height']}"
            yield f"  {_short(row['image']):32}{size:>11}{row['bytes']:>10,}{_numbers(row)}"
        yield f"  {'mean':53}{_numbers(engine['mean'])}"
        yield from _parts(engine["mean"])


def _parts(average: Mapping[str, Any]) -> Iterator[str]:
    if not average.get("parts_bpp"):
        return
    yield f"  bits per stage, mean of the images (estimated {average['estimated_bpp']:.4f} bpp)"
    for name, bpp in average["parts_bpp"].items():
        title = {"z": "hyper latent", "range coder": "range coder beyond the estimate"}.get(name, stage_title(name))
        yield f"    {title:32}{bpp:9.5f} bpp {bpp / average['bpp']:7.2%}"


def _codecs(document: Mapping[str, Any]) -> Iterator[str]:
    for codec in document["codecs"]:
        yield ""
        yield codec["codec"]
        for point in codec["points"]:
            yield f"  {'quality ' + str(point['quality']):53}{_numbers(point['mean'])}"


def _compared(document: Mapping[str, Any]) -> Iterator[str]:
    if document["bd_rates"]:
        yield ""
    for pair in document["bd_rates"]:
        if pair["percent"] is not None:
            yield f"BD-rate of {pair['of']} against {pair['to']}: {pair['percent']:+.2f} %"
    missing = {pair["of"] for pair in document["bd_rates"] if pair["percent"] is None}
    if missing:
        yield f"No BD-rate of {', '.join(sorted(missing))}: it needs two curves of four points with PSNRs in common"
    for pair in document["at_equal_rate"]:
        if pair["psnr_of_other"] is not None:
            difference = pair["psnr"] - pair["psnr_of_other"]
            yield f"at {pair['bpp']:.4f} bpp: {pair['of']} {difference:+.2f} dB against {pair['to']}"
    for failure in document["failures"]:
        yield f"skipped {failure['image']}: {failure['error']}"


def _numbers(row: Mapping[str, Any]) -> str:
    return "".join(
        f"{'-' if row[key] is None else f'{row[key]:.{digits}f}':>{width}}" for key, width, digits in _CELLS.values()
    )


def _short(name: str, width: int = 31) -> str:
    return name if len(name) <= width else "…" + name[1 - width :]
