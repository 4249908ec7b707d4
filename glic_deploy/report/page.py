"""Render the report as one HTML page that contains its images, plots, script and numbers and loads nothing else."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..bench import tables as bench_tables
from ..evaluation import tables as eval_tables
from .maps import Overlay

_ZOOMS = (1, 2, 4, 8)
# Browsers must not load anything, even if a file's name contains HTML that was not escaped.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@dataclass(frozen=True)
class Pair:
    """Hold an image before and after coding.

    Attributes:
        row: the image's row of the evaluation.
        before: the original, uint8 (H, W, 3).
        after: the decoded image, uint8 (H, W, 3).
    """

    row: Mapping[str, Any]
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]


@dataclass(frozen=True)
class Contents:
    """Hold the contents of the page.

    Attributes:
        document: result of the evaluation.
        benches: results of benchmarks.
        bench_titles: a title for each benchmark.
        plots: SVG files by title, in order.
        overlays: maps of an image.
        map_of: name of that image.
        pairs: images before and after coding with the first engine.
    """

    document: Mapping[str, Any]
    benches: Sequence[Mapping[str, Any]]
    bench_titles: Sequence[str]
    plots: Mapping[str, bytes]
    overlays: Sequence[Overlay]
    map_of: str
    pairs: Sequence[Pair]


def render(contents: Contents) -> str:
    """Return the page as HTML5."""
    folder = Path(__file__).parent
    document = contents.document
    engine = document["engines"][0]
    body = "\n".join(
        [
            f"<h1>GLIC: {escape(engine['title'])}</h1>",
            f"<p>{escape(document['made_at'])}, glic-deploy {escape(document['version'])}, model "
            f"{escape(engine['model_fingerprint'])}, {escape(engine['arithmetic'])} arithmetic "
            f"{escape(engine['arithmetic_fingerprint'])}</p>",
            _headline(contents),
            *_plots(contents),
            *_maps(contents),
            *_pairs(contents),
            *_numbers(contents),
        ]
    )
    numbers = json.dumps({"evaluation": document, "benchmarks": list(contents.benches)}).replace("<", "\\u003c")
    return _PAGE.format(
        policy=_POLICY,
        title=escape(f"GLIC: {engine['title']}"),
        style=(folder / "look.css").read_text() + (folder / "page.css").read_text(),
        body=body,
        numbers=numbers,
        script=(folder / "viewer.js").read_text(),
    )


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
{body}
<footer><code>glic eval --report</code> made this page. The page also contains all numbers as JSON:
<code>JSON.parse(result.textContent)</code> in the browser's console.</footer>
<script type="application/json" id="result">{numbers}</script>
<script type="module">
{script}
document.querySelectorAll(".image").forEach(compare);
</script>
</body>
</html>
"""


def _headline(contents: Contents) -> str:
    mean = contents.document["engines"][0]["mean"]
    cells = [(f"{mean['bpp']:.4f}", "bits per pixel, mean")] if mean["bpp"] is not None else []
    if mean["psnr"] is not None:
        cells.append((f"{mean['psnr']:.2f} dB", "PSNR, mean"))
    if mean["ms_ssim"] is not None:
        cells.append((f"{mean['ms_ssim']:.4f}", "MS-SSIM, mean"))
    if contents.benches:
        entry = contents.benches[0]["latency"][0]
        size = "×".join(map(str, entry["size"]))
        for direction in ("encode", "decode"):
            seconds = entry[direction]["total_s"]["median"]
            cells.append((f"{1e3 * seconds:,.0f} ms", f"{direction}, {size}, {entry['contender']}"))
    boxes = "".join(f"<div><b>{escape(value)}</b><span>{escape(title)}</span></div>" for value, title in cells)
    return f'<div class="headline">{boxes}</div>'


def _plots(contents: Contents) -> Iterator[str]:
    for title, svg in contents.plots.items():
        yield f"<h2>{escape(title)}</h2>"
        yield f'<figure><img alt="{escape(title)}" src="{_data("image/svg+xml", svg)}"></figure>'


def _maps(contents: Contents) -> Iterator[str]:
    if not contents.overlays:
        return
    yield "<h2>Where the bits go, and how the graphs adapt</h2>"
    yield (
        f"<p>{escape(contents.map_of)}. If the graphs adapt, bits and the degrees of global graphs follow the content: "
        "they are high along texture and edges, and low in flat areas. Every group of 64 nodes shares a budget of 64 "
        "edges per node. A global group spans the image, so its map compares distant parts. A local group is a "
        "window of 8×8 nodes, so its map shows contrast inside windows, not between windows. A window without contrast "
        "is a flat patch. A node of degree 0 attends to all of its 256 candidates.</p>"
    )
    figures = (
        f'<figure><img alt="{escape(overlay.title)}" src="{_data("image/png", overlay.png)}"></figure>'
        for overlay in contents.overlays
    )
    yield f'<div class="maps">{"".join(figures)}</div>'


def _pairs(contents: Contents) -> Iterator[str]:
    if not contents.pairs:
        return
    yield "<h2>Before and after</h2>"
    yield (
        "<p>The original is left of the divider, the decoded image is right of it. Drag the divider, or use the slider "
        "with the arrow keys. Zoom with the buttons, a double click, two fingers, or Ctrl and the wheel. Drag the "
        "image to pan.</p>"
    )
    for pair in contents.pairs:
        yield _pair(pair)


def _pair(pair: Pair) -> str:
    row = pair.row
    width, height = row["width"], row["height"]
    name = escape(Path(row["image"]).name)
    psnr = "equal" if row["psnr"] is None else f"{row['psnr']:.2f} dB"
    ms_ssim = "" if row["ms_ssim"] is None else f"<span>MS-SSIM {row['ms_ssim']:.4f}</span>"
    buttons = "".join(f'<button type="button" data-zoom="{zoom}">{zoom}×</button>' for zoom in _ZOOMS)
    # The viewer is as wide as the page, but not taller than most screens.
    style = f"aspect-ratio: {width} / {height}; width: min(100%, calc(82vh * {width} / {height}))"
    return f"""<section class="image">
<div class="bar"><b>{name}</b><span>{width}×{height}</span><span>{row["bytes"]:,} bytes</span>
<span>{row["bpp"]:.4f} bpp</span><span>{psnr}</span>{ms_ssim}<span class="push">{buttons}</span></div>
<div class="viewer" style="{style}">
<div class="layer before"><img alt="{name}, original" draggable="false" src="{_image_section(pair.before)}"></div>
<div class="layer after"><img alt="{name}, decoded" draggable="false" src="{_image_section(pair.after)}"></div>
<span class="tag left">original</span><span class="tag right">decoded</span><div class="divider"></div></div>
<input type="range" min="0" max="100" step="0.5" value="50" aria-label="divider of {name}">
</section>"""


def _numbers(contents: Contents) -> Iterator[str]:
    yield "<h2>In numbers</h2>"
    yield f"<pre>{escape(eval_tables.render(contents.document))}</pre>"
    for bench, title in zip(contents.benches, contents.bench_titles, strict=True):
        yield f"<h3>Speed: {escape(title)}</h3>"
        yield f"<pre>{escape(bench_tables.render(bench))}</pre>"


def _image_section(image: NDArray[np.uint8]) -> str:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "WEBP", lossless=True, quality=50, method=3)
    return _data("image/webp", stream.getvalue())


def _data(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
