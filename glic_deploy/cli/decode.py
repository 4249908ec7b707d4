"""Decode .glic files to images.

glic decode photo.glic photo.png --engine DIR
glic decode coded/ images/ --format tiff --engine DIR
glic decode coded/ thumbnails/ --format jpg --scale 8 --engine DIR
glic decode coded/ images/ --engine DIR --workers 4     four files at a time; run it again to code the missing files
glic decode - - --engine DIR < photo.glic > photo.png
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, NamedTuple

from ..scales import SCALES
from . import options, output, paths, progress
from .batch import Batch, Row, Work

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .. import Codec, Metadata
    from ..tiles import Strips

_FORMATS = {"png": "PNG", "tiff": "TIFF", "webp": "WEBP", "bmp": "BMP", "ppm": "PPM", "jpg": "JPEG"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", metavar="IN", nargs="+", type=options.path, help=".glic files, folders or globs; - reads stdin"
    )
    parser.add_argument(
        "output",
        metavar="OUT",
        type=options.path,
        help="an image file for one input, a folder for several; - writes to stdout",
    )
    options.add_engine(parser)
    options.add_codec(parser)
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        help="format of the images (default: by OUT's suffix; png in folders and on stdout)",
    )
    parser.add_argument(
        "--region", metavar="X,Y,W,H", type=options.region, help="decode only this part of the images, in pixels"
    )
    parser.add_argument(
        "--scale",
        type=int,
        choices=(1, *SCALES),
        default=1,
        help="a preview: the sides are divided by this number, in a fraction of the time (default: 1, the whole image)",
    )
    parser.add_argument(
        "--on-error",
        choices=("raise", "fill"),
        default="raise",
        help="raise: an image with a damaged tile fails; fill: the tile is grey in the image (default: raise)",
    )
    parser.add_argument(
        "--color",
        choices=("srgb", "keep"),
        default="keep",
        help="keep: the image has the colours of the .glic file, and its ICC profile if it has one; srgb: they are "
        "converted to sRGB (default: keep)",
    )
    options.add_metadata(parser)
    options.add_overwrite(parser, "replace nothing")
    options.add_workers(parser)
    options.add_limits(parser)
    options.add_reports(parser)


def run(args: argparse.Namespace) -> int:
    writes = f".{args.format or 'png'}"
    jobs = options.permitted_jobs("decode", args, reads=frozenset({paths.GLIC_SUFFIX}), writes=writes, makes=writes)
    output.check_stdout(jobs, args.json)
    with options.open_codec(args) as codec, options.open_manifest("decode", args, jobs, codec) as manifest:
        return Batch("decode", args, codec.describe(), manifest).run(jobs, Decoding(codec, args))


class Decoded(NamedTuple):
    """What is written as an image file."""

    image: NDArray[np.uint8] | Strips
    metadata: Metadata


class Decoding(Work):
    """A `.glic` file to an image file."""

    doing = "decoding"

    def __init__(self, codec: Codec, args: argparse.Namespace) -> None:
        self._codec = codec
        self._limits = options.limits(args)
        self._format: str | None = _FORMATS[args.format] if args.format else None
        self._fill: bool = args.on_error == "fill"
        self._in_strips = not args.workers  # else coding would be done by the threads that write
        self._color: str = args.color
        self._metadata: str = args.metadata
        self._options: dict[str, Any] = {"color": args.color, "scale": args.scale}
        if args.region:
            self._options["region"] = args.region
        if bar := progress.tile_bar(args):
            self._options["progress"] = bar

    def read(self, job: paths.Job) -> bytes:
        self._format_of(job)  # an unknown one is told before the work is done
        return output.read_glic(job.source, self._limits.max_file_bytes)

    def code(self, data: bytes, row: Row) -> Decoded:
        """Decode a file. The strips of an image in tiles are decoded, and fill in the row, while they are written."""
        from ..container import is_tiled, parse_header
        from ..metadata import describing_decoded, read_metadata

        stages: dict[str, float] = {}
        options = {"stages": stages, **self._options}
        if self._fill:
            row["damaged"] = options["damaged"] = []
            options["on_error"] = "fill"
        in_strips = self._in_strips and is_tiled(data)
        image = self._codec.decode_strips(data, **options) if in_strips else self._codec.decode(data, **options)
        header = parse_header(data, self._limits)
        row |= {"width": header.width, "height": header.height, "bytes": len(data), "stages": stages}
        if "region" in options:
            row["region"] = options["region"]
        if options["scale"] > 1:
            row["scale"] = options["scale"]
        found = read_metadata(data, limits=self._limits)
        return Decoded(image, describing_decoded(found, header, self._color, self._metadata))

    def write(self, job: paths.Job, coded: Decoded) -> None:
        from ..saving import save_image
        from ..tiles import Strips, save_strips

        with output.open_output(job) as stream:
            if isinstance(coded.image, Strips):
                save_strips(coded.image, stream, self._format_of(job), coded.metadata)
            else:
                save_image(coded.image, stream, format=self._format_of(job), metadata=coded.metadata)

    def _format_of(self, job: paths.Job) -> str:
        from ..saving import format_of

        return self._format or ("PNG" if job.target == paths.STDIO else format_of(job.target))
