"""Assemble a report from an evaluation and benchmarks, and write its page, plots and maps."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..bench.latency import Plan
from ..bench.run import Settings as BenchSettings
from ..bench.run import run as run_bench
from ..bundle import Bundle
from ..evaluation.run import Evaluation, curves_of
from ..files import atomic_write
from ..image import load_image
from . import figures, maps, markdown, page

SHORT_PLAN = Plan(repeats=3, warm_up=1, seconds=30)
SHORT_SWEEP = ((256, 256), (512, 512), (1024, 1024))

FIGURES = ("rate_and_distortion.svg", "bits_by_stage.svg", "time_by_stage.svg", "growth_with_size__*.svg", "tables.md")
MAPS = ("bits.png", "degrees_*.png")
"""Patterns of the names of files: `write_figures` writes FIGURES, `write_maps` writes MAPS."""

_COMMENT = f"<!-- {figures.MARK} -->\n".encode()

Say = Callable[[str], None]


@dataclass
class Report:
    """Collect the contents of a report on a finished evaluation.

    Attributes:
        evaluation: the evaluation.
        document: the result of the evaluation.
        benches: results of `glic bench`.
        overlays: maps of the first evaluated image.
        map_of: name of that image.
        pairs: the first images, original and decoded.
    """

    evaluation: Evaluation
    document: dict[str, Any]
    benches: Sequence[Mapping[str, Any]] = ()
    overlays: list[maps.Overlay] = field(default_factory=list)
    map_of: str = ""
    pairs: list[page.Pair] = field(default_factory=list)

    def look(self, count: int, say: Say) -> None:
        """Decode the first `count` images for the page, draw the maps of the first image, and add them to the document.

        `say` is called with a line about each step.
        """
        settings = self.evaluation.settings
        rows = self.document["engines"][0]["rows"]
        bundle = Bundle.open(settings.engines[0])
        with self.evaluation.open_codec(settings.engines[0]) as codec:
            for number, row in enumerate(rows[: max(1, count)]):
                image = row["image"]
                pixels = load_image(image, background=settings.background, limits=settings.limits)
                coded = self.evaluation.coded.get(image) or codec.encode(pixels)
                if number == 0:
                    say(f"maps of {image}")
                    self.overlays = maps.draw(codec, bundle, pixels, coded, settings.threads)
                    self.map_of = image
                if number < count:
                    self.pairs.append(page.Pair(row, pixels, codec.decode(coded)))
        self.document["maps"] = [overlay.numbers(self.map_of) for overlay in self.overlays]

    def titles(self) -> list[str]:
        """Return a title for each benchmark: the name of its engine's directory."""
        return [Path(bench["engine"]["path"]).name for bench in self.benches]

    def plots(self) -> dict[str, bytes]:
        """Draw the plots; return SVG files by title."""
        drawn: dict[str, bytes] = {}
        ours, others = curves_of(self.document)
        if ours.points:
            drawn["Rate and distortion"] = figures.as_svg(figures.rate_distortion(ours, others))
            drawn["Bits by stage"] = figures.as_svg(figures.spent_bits(self.document["engines"]))
        if self.benches:
            drawn["Time by stage"] = figures.as_svg(figures.latency(self.benches, self.titles()))
        for bench, title in zip(self.benches, self.titles(), strict=True):
            if bench["sweep"] and bench["sweep"]["points"]:
                drawn[f"Growth with size: {title}"] = figures.as_svg(figures.growth(bench["sweep"]))
        return drawn

    def write_page(self, path: str) -> None:
        contents = page.Contents(
            self.document, self.benches, self.titles(), self.plots(), self.overlays, self.map_of, self.pairs
        )
        atomic_write(path, page.render(contents).encode(errors="backslashreplace"))

    def write_figures(self, folder: Path) -> None:
        """Write the plots as SVG and the tables as Markdown. Raises FileExistsError for a file of the user."""
        folder.mkdir(parents=True, exist_ok=True)
        for title, svg in self.plots().items():
            name = "".join(letter if letter.isalnum() else "_" for letter in title.lower())
            _write(folder / f"{name}.svg", svg + _COMMENT)
        tables = markdown.render(self.document, self.benches, self.titles())
        _write(folder / "tables.md", tables.encode(errors="backslashreplace") + b"\n" + _COMMENT)

    def write_maps(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for overlay in self.overlays:
            _write(folder / f"{overlay.name}.png", overlay.png)


def foreign(folder: str | Path, names: Sequence[str]) -> list[str]:
    """Return the files of a folder that match `names` (FIGURES or MAPS) and that no evaluation wrote, sorted."""
    return sorted(str(path) for name in names for path in Path(folder).glob(name) if not _is_ours(path))


def _write(path: Path, data: bytes) -> None:
    if path.exists() and not _is_ours(path):
        raise FileExistsError(errno.EEXIST, "exists already and is not replaced; name another folder", str(path))
    atomic_write(path, data)


def _is_ours(path: Path) -> bool:
    return path.is_file() and figures.MARK.encode() in path.read_bytes()


def short_bench(evaluation: Evaluation, say: Say) -> dict[str, Any]:
    """Run a short benchmark of the first engine on the first image, and return its result."""
    settings = evaluation.settings
    readable = [image for image in settings.images if image in evaluation.coded]
    return run_bench(
        BenchSettings(
            engine=settings.engines[0],
            backends=(settings.backend,),
            precision=settings.precision,
            threads=settings.threads,
            images=readable[:1],
            plan=SHORT_PLAN,
            batch=0,
            cold=0,
            sweep=SHORT_SWEEP,
        ),
        say,
    )
