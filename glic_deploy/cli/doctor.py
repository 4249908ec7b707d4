"""Examine this machine: show versions, CPU, native libraries and backends, and name the remedy for each problem.

With --engine, also encode and decode a small image. The exit code is 0 if glic can code here.
"""

from __future__ import annotations

import argparse

from .. import __version__
from . import exits, options, output, targets
from .messages import console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_engine(parser, required=False)
    options.add_codec(parser)
    parser.add_argument(
        "--json", metavar="PATH", type=options.path, help="write the findings as JSON instead; - writes them to stdout"
    )
    parser.add_argument(
        "--clear-cache",
        action="store_true",
        help="first delete the contents of the cache: compiled models and the results of checks",
    )


def run(args: argparse.Namespace) -> int:
    from .. import cache, doctor

    targets.check_reports(args, [])
    if args.clear_cache:
        freed = cache.clear()
        console.say(f"deleted {freed:,} bytes of {cache.directory()}")
    report = doctor.examine()
    if args.engine:
        report += doctor.round_trip(
            args.engine, backend=args.backend, threads=args.threads, precision=args.precision, device=args.device
        )
    healthy = doctor.can_code(report)
    if args.json:
        document = {"command": "doctor", "version": __version__, "healthy": healthy}
        output.write_json(args.json, document | {"findings": [finding.as_dict() for finding in report]})
    else:
        print(doctor.as_text(report))
    return exits.OK if healthy else exits.BAD_ENGINE
