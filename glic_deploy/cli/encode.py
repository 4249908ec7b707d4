"""Encode images to .glic files.

glic encode photo.png photo.glic --engine DIR
glic encode photos/ '*.jpg' coded/ --engine DIR
glic encode photos/ coded/ --engine DIR --workers 4     four files at a time; run it again to code the missing files
cat photo.png | glic encode - - --engine DIR > photo.glic
"""

from __future__ import annotations

import argparse
import contextlib
from typing import TYPE_CHECKING, Any, BinaryIO

from .. import files
from . import options, output, paths, progress, streams
from .batch import Batch, Row, Work

if TYPE_CHECKING:
    from .. import Codec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", metavar="IN", nargs="+", type=options.path, help="image files, folders or globs; - reads stdin"
    )
    parser.add_argument(
        "output",
        metavar="OUT",
        type=options.path,
        help="a .glic file for one input, a folder for several; - writes to stdout",
    )
    options.add_engine(parser)
    options.add_codec(parser)
    alpha = parser.add_mutually_exclusive_group()
    alpha.add_argument(
        "--background",
        metavar="COLOUR",
        type=options.colour,
        help="colour behind transparent pixels, such as white",
    )
    alpha.add_argument(
        "--alpha",
        choices=("refuse", "keep"),
        default="refuse",
        help="refuse: an image with transparent pixels fails without --background; keep: its opacity is coded "
        "losslessly (default: refuse)",
    )
    parser.add_argument(
        "--color",
        choices=("srgb", "keep"),
        default="srgb",
        help="srgb: pixels with an ICC profile are converted to sRGB; keep: the pixels are coded as they are, with the "
        "profile (default: srgb)",
    )
    options.add_metadata(parser)
    options.add_quality(parser)
    parser.add_argument(
        "--tile",
        metavar="N",
        type=options.tile,
        help="code in tiles of at most N pixels on a side, a multiple of 128; 0 codes the image whole (default: whole "
        "if --max-memory allows it)",
    )
    options.add_overwrite(parser, "replace .glic files only")
    options.add_workers(parser)
    options.add_limits(parser)
    options.add_reports(parser)


def run(args: argparse.Namespace) -> int:
    jobs = options.permitted_jobs(
        "encode", args, reads=paths.IMAGE_SUFFIXES, writes=paths.GLIC_SUFFIX, makes=paths.GLIC_SUFFIX
    )
    output.check_stdout(jobs, args.json)
    with options.open_codec(args) as codec, options.open_manifest("encode", args, jobs, codec) as manifest:
        from ..image import lift_pillow_limit

        lift_pillow_limit(args.max_pixels)
        return Batch("encode", args, codec.describe(), manifest).run(jobs, Encoding(codec, args))


class Encoding(Work):
    """An image file to a `.glic` file."""

    doing = "encoding"

    def __init__(self, codec: Codec, args: argparse.Namespace) -> None:
        self._codec = codec
        self._limits = options.limits(args)
        self._stdin: BinaryIO | None = None
        handling = {name: getattr(args, name) for name in ("background", "alpha", "color", "metadata")}
        self._options: dict[str, Any] = {**handling, **options.quality(args)}
        self._qualities = {entry["fingerprint"]: entry["quality"] for entry in codec.describe().get("qualities", ())}
        if args.tile is not None:
            self._options["tile"] = args.tile
        if bar := progress.tile_bar(args):
            self._options["progress"] = bar

    def read(self, job: paths.Job) -> BinaryIO:
        bound = self._limits.max_image_bytes
        if job.source != paths.STDIO:
            return files.open_ahead(job.source, bound)
        self._stdin = files.seekable(streams.stdin(), bound)
        return self._stdin

    def code(self, data: BinaryIO, row: Row) -> bytes:
        from ..container import parse_header

        stages: dict[str, float] = {}
        with contextlib.nullcontext() if data is self._stdin else data:
            coded: bytes = self._codec.encode(data, stages=stages, **self._options)
        header = parse_header(coded, self._limits)
        row |= {"width": header.width, "height": header.height, "bytes": len(coded), "stages": stages}
        if self._qualities:
            row["quality"] = self._qualities[(header.model_fingerprint + header.arithmetic_fingerprint).hex()]
        return coded

    def write(self, job: paths.Job, coded: bytes) -> None:
        with output.open_output(job) as stream:
            stream.write(coded)
