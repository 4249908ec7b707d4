"""Find how strongly an engine's encoder should weigh bits against error, and keep the result in the engine.

glic tune --engine DIR photos/
glic tune --engine DIR photos/ --exchange 0.013
glic tune --engine DIR photos/ --dry-run --json result.json

The images are coded at several strengths. The smallest strength that gains nearly the most at the exchange rate is
written to the manifest as encoder data, for glic encode --effort 1. Effort 1 becomes the default if it gained on every
image. Existing files and all decoders are unaffected.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from . import exits, options, output, paths, targets
from .messages import console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", metavar="IMAGES", nargs="+", type=options.path, help="image files, folders or globs")
    options.add_engine(parser)
    options.add_codec(parser)
    parser.add_argument(
        "--exchange",
        metavar="RATE",
        default="20%/dB",
        help="what quality is worth: percent of the bits per dB, or the lambda of a loss (default: 20%%/dB, the slope "
        "of the published checkpoints)",
    )
    parser.add_argument("--dry-run", action="store_true", help="report the result without writing it to the engine")
    options.add_limits(parser)
    options.add_reports(parser)


def run(args: argparse.Namespace) -> int:
    from ..bundle import set_encoder_data
    from ..bundle_codec import BundleCodec
    from ..exchange import Exchange
    from ..image import load_image
    from ..qualities import bundles_in
    from ..tuning import Measured, tune

    exchange = Exchange.parse(args.exchange)
    images = paths.sources(args.images, paths.IMAGE_SUFFIXES)
    options.tell_passed_over("tune", args, args.images, paths.IMAGE_SUFFIXES)
    targets.check_reports(args, images)
    limits = options.limits(args)
    results: list[dict[str, Any]] = []
    for bundle in bundles_in(args.engine):
        codec = BundleCodec(
            bundle.path, backend=args.backend, threads=args.threads, precision=args.precision, device=args.device
        )
        try:
            found = tune([Measured(codec, load_image(image, limits=limits)) for image in images], exchange)
        finally:
            codec.close()
        if not args.dry_run:
            set_encoder_data(bundle.path, found)
        results.append({"bundle": str(bundle.path), "encoder": found and asdict(found)})
        if not args.quiet:
            console.say(f"glic tune: {bundle.path}: {described(found, str(exchange))}")
    if args.json:
        output.write_json(args.json, {"exchange": str(exchange), "images": images, "bundles": results})
    return exits.OK


def described(found: Any, exchange: str) -> str:
    """Say what was found in a line."""
    if found is None:
        return f"at {exchange}, no strength pays; efforts 0 and 1 are the same"
    worst = "" if found.worst_percent is None else f", {found.worst_percent:+.2f} % for the worst image held out"
    return f"at {exchange}, strength {found.strength:g} changes the cost by {found.net_percent:+.2f} %{worst}"
