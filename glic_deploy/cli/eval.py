"""Measure how well an engine compresses images: rate, quality, time, and bits per stage.

glic eval --engine DIR images/
glic eval --engine A --engine B --engine C --engine D images/ --csv rows.csv
glic eval --engine new/ --engine old/ images/ --external vtm.csv
glic eval --engine DIR images/ --report out.html
"""

from __future__ import annotations

import argparse
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import exits, options, output, paths, targets
from .messages import console

if TYPE_CHECKING:
    from ..evaluation.run import Evaluation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", metavar="IMAGES", nargs="+", type=options.path, help="image files, folders or globs")
    options.add_engine(parser, several=True)
    options.add_codec(parser)
    options.add_effort(parser)
    parser.add_argument(
        "--codecs",
        metavar="NAME,...",
        help="other codecs to compare with: jpeg, webp, avif, jxl, or none (default: all installed codecs)",
    )
    parser.add_argument(
        "--published",
        choices=("kodak", "clic", "tecnick"),
        help="test set whose published curve to compare with (default: kodak if the images are its 24)",
    )
    parser.add_argument(
        "--external",
        metavar="FILE",
        action="append",
        default=[],
        type=options.path,
        help="CSV or JSON file with further curves, with columns bpp, psnr and codec; may be given several times",
    )
    written = (
        ("keep", "DIR", "keep the .glic files and rows in this folder, and resume from them"),
        ("csv", "PATH", "write every row as CSV"),
        ("maps", "DIR", "draw maps of the first image: bits per block and node degrees"),
        ("report", "PATH", "write a report: one HTML page with plots, maps, tables and images"),
        ("figures", "DIR", "write the report's plots as SVG and its tables as Markdown"),
    )
    for name, metavar, text in written:
        parser.add_argument(f"--{name}", metavar=metavar, type=options.path, help=text)
    parser.add_argument(
        "--report-images",
        metavar="N",
        type=options.whole,
        default=12,
        help="number of images on the report's page, before and after coding (default: 12)",
    )
    parser.add_argument(
        "--bench",
        metavar="RESULT.json",
        action="append",
        default=[],
        type=options.path,
        help="result of glic bench for the report, instead of a new short benchmark; may be given several times",
    )
    parser.add_argument(
        "--background", metavar="COLOUR", type=options.colour, help="colour behind transparent pixels, such as white"
    )
    options.add_limits(parser)
    options.add_reports(parser)


def run(args: argparse.Namespace) -> int:
    from ..bench import compare
    from ..evaluation import results, tables
    from ..evaluation.families import families, load_external
    from ..evaluation.run import Evaluation, Settings
    from ..files import atomic_write
    from ..report import figures

    images = paths.sources(args.images, paths.IMAGE_SUFFIXES)
    if not any(map(os.path.exists, images)):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), images[0])
    options.tell_passed_over("eval", args, args.images, paths.IMAGE_SUFFIXES)
    targets.check_reports(args, [*images, *args.bench, *args.external])
    _check_folders(args)
    drawn = args.maps or args.report or args.figures
    if drawn:
        figures.check_installed()
    engines = families(args.engine)
    settings = Settings(
        engines=[path for path, _ in engines],
        families=[title for _, title in engines],
        external=[curve for path in args.external for curve in load_external(path)],
        images=images,
        backend=args.backend,
        precision=args.precision,
        threads=args.threads,
        device=args.device,
        background=args.background,
        limits=options.limits(args),
        codecs=_names(args.codecs),
        published=args.published,
        effort=args.effort,
        checkpoint=args.checkpoint,
        keep=args.keep,
    )
    benches = [compare.load(path) for path in args.bench]
    evaluation = Evaluation(settings, (lambda line: None) if args.quiet else console.say)
    document = evaluation.run()
    if drawn:
        _look(evaluation, document, benches, args)
    if args.csv:
        atomic_write(args.csv, results.as_csv(document).encode(errors="surrogateescape"))
    if args.json != paths.STDIO and len(document["failures"]) < len(images):
        print(tables.render(document))
    if args.json:
        output.write_json(args.json, document)
    return exits.code_of_all(evaluation.errors)


def _check_folders(args: argparse.Namespace) -> None:
    """Raise UsageError if the folder of --maps or --figures has the user's own files at the places of ours."""
    if not (args.maps or args.figures):
        return
    from ..report import build

    for option, folder, names in (("maps", args.maps, build.MAPS), ("figures", args.figures, build.FIGURES)):
        if folder and (taken := build.foreign(folder, names)):
            raise exits.UsageError(
                f"--{option} {folder}: glic eval did not write {taken[0]} and does not replace it; name another "
                f"folder: --{option} {option}/"
            )


def _look(
    evaluation: Evaluation, document: dict[str, Any], benches: list[dict[str, Any]], args: argparse.Namespace
) -> None:
    from ..report.build import Report, short_bench

    say = (lambda line: None) if args.quiet else console.say
    report = Report(evaluation, document)
    report.look(args.report_images if args.report else 0, say)
    if args.maps:
        report.write_maps(Path(args.maps))
    if args.report or args.figures:
        report.benches = benches or [short_bench(evaluation, say)]
    if args.report:
        report.write_page(args.report)
    if args.figures:
        report.write_figures(Path(args.figures))


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [] if text == "none" else text.split(",")
