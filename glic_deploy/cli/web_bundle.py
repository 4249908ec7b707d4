"""Write the part of an engine that web pages decode .glic files with.

glic web-bundle --engine DIR --output WEB
glic web-bundle --engine DIR --output WEB --encoder

The directory WEB holds the decoder's graphs and tables; any web server can serve it. docs/web.md describes how pages
use it. The constants of the transforms are stored in float16 if a trial shows that this costs next to nothing.
"""

from __future__ import annotations

import argparse
import dataclasses

from .. import __version__
from . import exits, options, output, targets
from .messages import collected, console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine", metavar="DIR", type=options.path, required=True, help="engine bundle that the exporter wrote"
    )
    parser.add_argument(
        "--output", metavar="WEB", type=options.path, required=True, help="directory to write; replaces an earlier one"
    )
    parser.add_argument("--encoder", action="store_true", help="include the encoder, so that pages can encode too")
    options.add_reports(parser)


def run(args: argparse.Namespace) -> int:
    from ..web_bundle import DECODER, ENCODER, Written, write

    targets.check_reports(args, [])
    written: Written = write(args.engine, args.output, encoder=args.encoder)
    if not args.quiet:
        for name, size in written.files.items():
            console.say(f"{size / 1e6:8.3f} MB  {name}")
        console.say(f"{written.decoder / 1e6:8.3f} MB  in all for a decoder")
        for file, what, measured in (
            (DECODER, "decoder", _decibels("noise", written.noise)),
            (ENCODER, "encoder", _decibels("loss", written.latent_loss)),
        ):
            if file in written.half:
                kind = "float16" if written.half[file] else "float32"
                console.say(f"constants of the {what} in {kind}{measured}")
    if args.json:
        document = {"command": "web-bundle", "version": __version__, "output": args.output}
        output.write_json(args.json, document | dataclasses.asdict(written) | {"warnings": collected()})
    return exits.OK


def _decibels(what: str, value: float | None) -> str:
    return "" if value is None else f": {what} of float16 {value:.4g} dB"
