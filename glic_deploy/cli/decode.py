"""Decode .glic files to pictures.

glic decode photo.glic photo.png --engine DIR
glic decode coded/ pictures/ --format tiff --engine DIR
glic decode - - --engine DIR < photo.glic > photo.png
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from . import options, output, paths

if TYPE_CHECKING:
    from .. import Codec

_FORMATS = {"png": "PNG", "tiff": "TIFF", "webp": "WEBP", "bmp": "BMP", "ppm": "PPM", "jpg": "JPEG"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", metavar="IN", nargs="+", help=".glic files, folders, globs, or - for stdin")
    parser.add_argument("output", metavar="OUT", help="a picture file for one input, else a folder; - for stdout")
    options.add_engine(parser)
    parser.add_argument(
        "--format", choices=_FORMATS, help="of the pictures (default: by OUT's suffix; png in folders and on stdout)"
    )
    options.add_limits(parser)
    options.add_reports(parser)


def run(args: argparse.Namespace) -> int:
    writes = f".{args.format or 'png'}"
    jobs = paths.plan(args.inputs, args.output, reads=frozenset({paths.GLIC_SUFFIX}), writes=writes)
    output.check_stdout(jobs, args.json)
    with options.open_codec(args) as codec:
        batch = output.Batch("decode", args, codec.describe())
        return batch.run(jobs, lambda job: _decode(codec, job, args))


def _decode(codec: Codec, job: paths.Job, args: argparse.Namespace) -> output.Row:
    from ..image import format_of, save_image

    to_file = job.target != paths.STDIO
    format = _FORMATS[args.format] if args.format else format_of(job.target) if to_file else "PNG"
    data = output.read_input(job.source, options.limits(args).max_file_bytes)
    stages: dict[str, float] = {}
    image = codec.decode(data, stages=stages)
    with output.open_output(job.target) as stream:
        save_image(image, stream, format=format)
    height, width = image.shape[:2]
    return {"width": width, "height": height, "bytes": len(data), "stages": stages}
