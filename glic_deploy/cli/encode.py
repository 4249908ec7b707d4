"""Encode pictures to .glic files.

glic encode photo.png photo.glic --engine DIR
glic encode photos/ '*.jpg' coded/ --engine DIR
cat photo.png | glic encode - - --engine DIR > photo.glic
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING

from . import options, output, paths

if TYPE_CHECKING:
    from .. import Codec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", metavar="IN", nargs="+", help="picture files, folders, globs, or - for stdin")
    parser.add_argument("output", metavar="OUT", help="a .glic file for one input, else a folder; - for stdout")
    options.add_engine(parser)
    parser.add_argument(
        "--background",
        metavar="COLOUR",
        type=options.colour,
        help="what shows through transparent pixels, such as white",
    )
    options.add_limits(parser)
    options.add_reports(parser)


def run(args: argparse.Namespace) -> int:
    jobs = paths.plan(args.inputs, args.output, reads=paths.PICTURE_SUFFIXES, writes=paths.GLIC_SUFFIX)
    output.check_stdout(jobs, args.json)
    with options.open_codec(args) as codec:
        from ..image import lift_pillow_limit

        lift_pillow_limit(args.max_pixels)
        batch = output.Batch("encode", args, codec.describe())
        return batch.run(jobs, lambda job: _encode(codec, job, args))


def _encode(codec: Codec, job: paths.Job, args: argparse.Namespace) -> output.Row:
    from ..container import parse_header

    stages: dict[str, float] = {}
    with contextlib.nullcontext(sys.stdin.buffer) if job.source == paths.STDIO else open(job.source, "rb") as source:
        data = codec.encode(source, background=args.background, stages=stages)
    with output.open_output(job.target) as stream:
        stream.write(data)
    header = parse_header(data, options.limits(args))
    return {"width": header.width, "height": header.height, "bytes": len(data), "stages": stages}
