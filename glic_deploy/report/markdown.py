"""Render results as Markdown tables, for READMEs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from ..bench.latency import DIRECTIONS
from ..bench.tables import mebibytes


def render(document: Mapping[str, Any], benches: Sequence[Mapping[str, Any]], titles: Sequence[str]) -> str:
    """Return a table of compression and a table of the speed of each benchmark.

    The first table lists each engine and, below it, the other codecs at the quality nearest to the engine's rate.
    """
    speed = [line for bench, title in zip(benches, titles, strict=True) for line in _speed(bench, title)]
    return "\n".join([*_compression(document), *speed]) + "\n"


def _compression(document: Mapping[str, Any]) -> Iterator[str]:
    yield f"Means over {document['engines'][0]['mean']['images']} images.\n"
    yield "| codec | bpp | PSNR dB | MS-SSIM |"
    yield "| --- | ---: | ---: | ---: |"
    for engine in document["engines"]:
        yield _compression_row(engine["title"], engine["mean"])
        for codec in document["codecs"]:
            rate = engine["mean"]["bpp"]
            nearest = min(codec["points"], key=lambda point: abs(point["mean"]["bpp"] - rate))
            yield _compression_row(f"{codec['title']}, quality {nearest['quality']}", nearest["mean"])


def _compression_row(title: str, mean: Mapping[str, Any]) -> str:
    ms_ssim = "" if mean["ms_ssim"] is None else f"{mean['ms_ssim']:.4f}"
    psnr = "" if mean["psnr"] is None else f"{mean['psnr']:.2f}"
    return f"| {title} | {mean['bpp']:.4f} | {psnr} | {ms_ssim} |"


def _speed(bench: Mapping[str, Any], title: str) -> Iterator[str]:
    cpu, threads = bench["machine"]["cpu"], bench["settings"]["threads"]
    gpus = "".join(f", {gpu['name']}" for gpu in bench["machine"]["gpus"])
    yield f"\n{title} on {cpu['model']}, {threads or cpu['cores']} threads{gpus}; file to file, median (p10 to p90).\n"
    yield "| | image | n | encode ms | decode ms | peak resident | first image after start |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    contenders = {contender["name"]: contender for contender in bench["contenders"]}
    for entry in bench["latency"]:
        contender = contenders[entry["contender"]]
        cold = median(sum(start.values()) for start in contender["cold_start"])
        times = " | ".join(_milliseconds(entry[direction]["total_s"]) for direction in DIRECTIONS)
        size, n = "×".join(map(str, entry["size"])), entry["encode"]["total_s"]["n"]
        memory = mebibytes(contender["peak_resident_bytes"])
        yield f"| {entry['contender']} | {size} | {n} | {times} | {memory} | {cold:.1f} s |"
    for pair in bench["ratios"]:
        ratios = " | ".join(f"{pair[direction]['median']:.2f}×" for direction in DIRECTIONS)
        yield f"| {pair['of']} / {pair['to']} | {'×'.join(map(str, pair['size']))} | | {ratios} | | |"


def _milliseconds(values: Mapping[str, float]) -> str:
    return f"{1e3 * values['median']:,.0f} ({1e3 * values['p10']:,.0f} to {1e3 * values['p90']:,.0f})"
