"""Check that .glic files are whole and that an engine decodes them, without writing images.

glic verify photo.glic --engine DIR
glic verify coded/ --engine DIR --json -
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from .. import __version__
from . import exits, options, output, paths, targets
from .messages import collect, collected, console

if TYPE_CHECKING:
    from .. import Codec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", metavar="FILE", nargs="+", type=options.path, help=".glic files, folders or globs; - reads stdin"
    )
    options.add_engine(parser)
    options.add_codec(parser)
    options.add_limits(parser)
    options.add_reports(parser)


def run(args: argparse.Namespace) -> int:
    reads = frozenset({paths.GLIC_SUFFIX})
    names = paths.sources(args.inputs, reads)
    options.tell_passed_over("verify", args, args.inputs, reads)
    targets.check_reports(args, names)
    rows: list[dict[str, Any]] = []
    errors: list[BaseException] = []
    with options.open_codec(args) as codec:
        for number, name in enumerate(names, 1):
            place = f"[{number}/{len(names)}] " if len(names) > 1 else ""
            row: dict[str, Any] = {"input": name, "warnings": []}
            with console.status(None if args.quiet else f"{place}{name}: verifying"), collect(name, row["warnings"]):
                try:
                    row |= {"ok": True, **_verified(codec, name, options.limits(args).max_file_bytes)}
                except exits.EXPECTED as error:
                    errors.append(error)
                    row |= {"ok": False, **exits.as_json(error)}
            if row["ok"]:
                if not args.quiet:
                    console.say(f"{place}{name}: {_numbers(row)}")
            else:
                console.say(f"glic verify: error: {place}{name}: {row['error'].removeprefix(f'{name}: ')}")
            rows.append(row)
        described = codec.describe()
    if len(names) > 1 and not args.quiet:
        console.say(f"{len(names) - len(errors)} of {len(names)} files are whole")
    if args.json:
        document = {"command": "verify", "version": __version__, "codec": described, "files": rows}
        output.write_json(args.json, document | {"warnings": collected()})
    return exits.code_of_all(errors)


def _verified(codec: Codec, name: str, max_bytes: int) -> dict[str, Any]:
    data = output.read_glic(name, max_bytes)
    found = codec.verify(data)
    return {"bytes": len(data), **dataclasses.asdict(found)}


def _numbers(row: dict[str, Any]) -> str:
    """Return what was verified in one line."""
    parts = [f"{row['width']} x {row['height']}", f"{row['tiles']} tiles" if row["tiles"] > 1 else ""]
    parts += [f"{name} of {size:,} bytes" for name, size in row["metadata"].items()]
    parts.append(
        f"{row['symbols']:,} symbols in {row['seconds']:.2f} s, {row['symbols'] / row['seconds']:,.0f} a second "
        f"(range coder {row['stages']['range coder']:.3f} s)"
    )
    return "whole: " + ", ".join(filter(None, parts))
