"""Draw plots of results, and maps over images, with matplotlib; no display is needed."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..bench.latency import DIRECTIONS
from ..errors import EngineError
from ..evaluation.curves import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARK = "written by glic eval"
"""Text in each file of plots and maps; a later run replaces only files that contain the text."""

INK, MUTED, GRID = "#1d2433", "#667085", "#e4e7ec"
OURS, PUBLISHED = "#c2410c", "#1d2433"
OTHERS = ("#2563eb", "#0d9488", "#9333ea", "#64748b", "#ca8a04")

# Title, stages and colour of each part of a bar. The colours of the slices run from light to dark.
_STAGE_GROUPS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("read, pad", ("read", "pad"), "#cbd5e1"),
    ("analysis", ("analysis",), "#c2410c"),
    ("hyper", ("hyper_analysis", "hyper_synthesis"), "#eab308"),
    ("slice 0", ("slice0_anchors", "slice0_nonanchors"), "#bae6fd"),
    ("slice 1", ("slice1_anchors", "slice1_nonanchors"), "#7dd3fc"),
    ("slice 2", ("slice2_anchors", "slice2_nonanchors"), "#38bdf8"),
    ("slice 3", ("slice3_anchors", "slice3_nonanchors"), "#0284c7"),
    ("slice 4", ("slice4_anchors", "slice4_nonanchors"), "#075985"),
    ("range coder", ("range coder",), "#16a34a"),
    ("synthesis", ("synthesis",), "#9f1239"),
    ("crop, write", ("crop", "write"), "#94a3b8"),
)
_REST = "#1d2433"
_PARTS = (
    ("hyper latent", ("z",), "#eab308"),
    *((title, names, colour) for title, names, colour in _STAGE_GROUPS if title.startswith("slice")),
    ("range coder", ("range coder",), "#16a34a"),
    ("header", ("header",), "#1d2433"),
)


def check_installed() -> None:
    """Raise EngineError if matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise EngineError("plots and maps need matplotlib: pip install 'glic-deploy[bench]'")


def _figure(width: float, height: float) -> Figure:
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "glic",
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial", "sans-serif"],
            "font.size": 10,
            "axes.edgecolor": MUTED,
            "axes.labelcolor": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "text.color": INK,
        }
    )
    return Figure(figsize=(width, height), layout="constrained")


def as_svg(figure: Figure) -> bytes:
    """Return the figure as an SVG file; equal figures give equal bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None}, facecolor="white")
    return stream.getvalue()


def as_png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150, metadata={"Comment": MARK}, facecolor="white")
    return stream.getvalue()


def rate_distortion(ours: Curve, others: Sequence[Curve]) -> Figure:
    """Plot PSNR over rate: our points, the published curve and the other codecs."""
    figure = _figure(7.2, 4.6)
    axes = figure.subplots()
    colours = iter(OTHERS)
    for curve in others:
        published = curve.title.startswith("GLIC")
        colour = PUBLISHED if published else next(colours, MUTED)
        rates, psnrs = zip(*((point.bpp, point.psnr) for point in curve.points), strict=True)
        style = "--o" if published else "-o"
        axes.plot(rates, psnrs, style, color=colour, markersize=3.5, linewidth=1.6, label=curve.title)
    rates, psnrs = zip(*((point.bpp, point.psnr) for point in ours.points), strict=True)
    axes.plot(rates, psnrs, "-D", color=OURS, markersize=7, linewidth=2.4, label=ours.title, zorder=5)
    axes.set(xlabel="bits per pixel", ylabel="PSNR, dB")
    axes.grid(color=GRID)
    axes.legend(frameon=False, loc="lower right")
    return figure


def spent_bits(engines: Sequence[Mapping[str, Any]]) -> Figure:
    """Plot the parts of a file in bits per pixel, with one bar for each engine."""
    figure = _figure(7.2, 1.5 + 0.5 * len(engines))
    axes = figure.subplots()
    for row, engine in enumerate(engines):
        parts = engine["mean"]["parts_bpp"]
        _stack(axes, row, ((title, sum(parts.get(n, 0) for n in names), colour) for title, names, colour in _PARTS))
    axes.set(xlabel="bits per pixel", yticks=range(len(engines)), yticklabels=[engine["title"] for engine in engines])
    _finish_bars(figure, axes)
    return figure


def latency(results: Sequence[Mapping[str, Any]], titles: Sequence[str]) -> Figure:
    """Plot the median milliseconds of each stage, with one bar for each contender, size and direction."""
    bars = [
        (f"{title}, {entry['contender']}\n{'×'.join(map(str, entry['size']))} {direction}", entry[direction])
        for result, title in zip(results, titles, strict=True)
        for entry in result["latency"]
        for direction in DIRECTIONS
    ]
    figure = _figure(8.2, 1.2 + 0.52 * len(bars))
    axes = figure.subplots()
    for row, (_, times) in enumerate(bars):
        stages = {name: 1e3 * values["median"] for name, values in times["stages_s"].items()}
        groups = [(t, sum(stages.get(n, 0) for n in names), colour) for t, names, colour in _STAGE_GROUPS]
        end = _stack(axes, row, [*groups, ("rest", 1e3 * times["rest_s"]["median"], _REST)])
        total = f"{1e3 * times['total_s']['median']:,.0f} ms"
        axes.annotate(total, (end, row), (5, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set(xlabel="milliseconds, median", yticks=range(len(bars)), yticklabels=[label for label, _ in bars])
    axes.margins(x=0.1)
    axes.set_xlim(left=0)
    _finish_bars(figure, axes)
    return figure


def _stack(axes: Axes, row: int, parts: Iterator[tuple[str, float, str]] | Sequence[tuple[str, float, str]]) -> float:
    """Draw one bar of stacked parts, and return the position of its end."""
    left = 0.0
    for title, value, colour in parts:
        axes.barh(row, value, left=left, color=colour, height=0.62, label=title if row == 0 else None)
        left += max(value, 0.0)
    return left


def _finish_bars(figure: Figure, axes: Axes) -> None:
    axes.invert_yaxis()
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=9)
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=6, frameon=False, fontsize=8.5)


def growth(sweep: Mapping[str, Any]) -> Figure:
    """Plot time and memory over megapixels, with the fitted laws and the machine's memory."""
    figure = _figure(8.2, 3.4)
    times, memory = figure.subplots(1, 2)
    points = sweep["points"]
    megapixels = np.array([point["pixels"] for point in points]) / 1e6
    span = np.geomspace(megapixels[0], megapixels[-1] * 4, 50)
    for direction, colour in zip(DIRECTIONS, (OURS, OTHERS[0]), strict=True):
        times.loglog(megapixels, [p[f"{direction}_s"]["median"] for p in points], "o", color=colour, label=direction)
        law = sweep[f"{direction}_law"]
        if law:
            label = f"pixels^{law['exponent']:.2f}"
            times.loglog(span, law["factor"] * (span * 1e6) ** law["exponent"], color=colour, linewidth=1, label=label)
    times.set(xlabel="megapixels", ylabel="seconds")
    times.legend(frameon=False, fontsize=8.5)
    memory.loglog(megapixels, [(p["peak_resident_bytes"] or np.nan) / 2**30 for p in points], "o", color=INK)
    law = sweep["memory_law"]
    if law:
        reach = (law["ends_at_pixels"] or 0) / 1e6
        span = np.geomspace(megapixels[0], max(reach * 1.5, megapixels[-1] * 4), 80)
        grown = law["fixed_bytes"] + law["factor"] * (span * 1e6) ** law["exponent"]
        memory.loglog(span, grown / 2**30, color=INK, linewidth=1, label=f"fixed + pixels^{law['exponent']:.2f}")
        if law["available_bytes"] and reach:
            memory.axhline(law["available_bytes"] / 2**30, color=OURS, linestyle="--", linewidth=1)
            label = f"memory suffices up to {reach:.0f} MPixel"
            memory.plot(reach, law["available_bytes"] / 2**30, "D", color=OURS, linestyle="none", label=label)
        memory.legend(frameon=False, fontsize=8.5)
    memory.set(xlabel="megapixels", ylabel="peak resident, GiB")
    for axes in (times, memory):
        axes.grid(color=GRID)
    return figure


def overlay(
    image: NDArray[np.uint8],
    values: NDArray[Any],
    cell: int,
    *,
    title: str,
    unit: str,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Draw a map over an image in grey.

    Args:
        image: uint8 (H, W, 3).
        values: the map, (h, w); each value covers `cell`×`cell` pixels.
        cell: side of a cell in pixels.
        title: title of the figure.
        unit: unit of the values, for the colour bar.
        limits: values of the first and last colour; None for 0 and the 99.5th percentile.
    """
    height, width = image.shape[:2]
    figure = _figure(5.6, 5.6 * height / width * 0.86 + 0.5)
    axes = figure.subplots()
    grey = image.astype(np.float32).mean(-1)
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255)
    low, high = limits or (0, float(np.percentile(values, 99.5)))
    rows, columns = values.shape
    drawn = axes.imshow(
        values,
        cmap="inferno",
        alpha=0.62,
        extent=(-0.5, columns * cell - 0.5, rows * cell - 0.5, -0.5),
        vmin=low,
        vmax=high,
        interpolation="nearest",
    )
    axes.set(title=title, xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.title.set_fontsize(8.5)
    bar = figure.colorbar(drawn, ax=axes, fraction=0.035, pad=0.015)
    bar.set_label(unit, fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    return figure
