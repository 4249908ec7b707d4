"""Show what .glic files and engine bundles say about themselves, without decoding.

glic info photo.glic
glic info DIR          an engine bundle, a folder of several, or of .glic files
"""

from __future__ import annotations

import argparse
import glob
import os
from collections.abc import Mapping
from typing import Any

from .. import __version__
from ..errors import BitstreamError, LimitError
from ..limits import DEFAULT_LIMITS, Limits
from ..metrics import bits_per_pixel
from . import exits, options, output, paths, targets
from .messages import console, one_line

# Nothing here is allocated by what a header says, so that a file above every limit can still be looked at.
_UNLIMITED = Limits(
    max_pixels=1 << 64, max_memory=1 << 90, max_side=1 << 32, max_payload_bpp=1 << 32, max_metadata=1 << 40
)
_LARGEST_PAYLOAD = (1 << 32) - 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs",
        metavar="FILE_OR_DIR",
        nargs="+",
        type=options.path,
        help=".glic files, bundles, folders, or - for stdin",
    )
    parser.add_argument("--json", metavar="PATH", type=options.path, help="write it as JSON instead; -: to stdout")


def run(args: argparse.Namespace) -> int:
    targets.check_reports(args, args.inputs)
    entries: list[dict[str, Any]] = []
    errors: list[BaseException] = []
    for name in [name for given in args.inputs for name in _expand(given)]:
        try:
            entry = _describe_bundle(name) if os.path.isdir(name) else _describe_file(name)
        except exits.EXPECTED as error:
            errors.append(error)
            entry = {"ok": False, **exits.as_json(error)}
            message = exits.describe(error)
            console.say(f"glic info: error: {'' if message.startswith(f'{name}:') else f'{name}: '}{message}")
        else:
            entry = {"ok": True, **entry}
            if not args.json:
                _print(name, entry)
        entries.append({"input": name, **entry})
    if args.json:
        output.write_json(args.json, {"command": "info", "version": __version__, "entries": entries})
    return exits.code_of_all(errors)


def _expand(given: str) -> list[str]:
    """A folder that is no bundle stands for the bundles in it, or its .glic files."""
    if os.path.isdir(given) and not os.path.exists(os.path.join(given, "manifest.json")):
        if glob.glob(os.path.join(glob.escape(given), "*", "manifest.json")):
            from ..qualities import bundles_in

            return [str(bundle.path) for bundle in bundles_in(given)]
        files = paths.files_in(given, frozenset({paths.GLIC_SUFFIX}))
        if not files:
            raise exits.UsageError(f"{given} is no engine bundle (no manifest.json) and holds no bundle or .glic file")
        return files
    return [given]


def _describe_file(name: str) -> dict[str, Any]:
    from ..channels import Channels
    from ..container import VERSION, parse

    data = output.read_glic(name, _LARGEST_PAYLOAD)
    file = parse(data, _UNLIMITED)
    header = file.header
    tiles = {"tiles": _describe_tiles(data)} if header.tiled else {}
    return {
        "kind": "glic file",
        "format_version": VERSION,
        "width": header.width,
        "height": header.height,
        "bytes": len(data),
        "payload_bytes": len(file.payload),
        "bpp": bits_per_pixel(len(data), header.width * header.height),
        "arithmetic": "exact" if header.exact else "float",
        "channels": Channels.of_header(header).mode,
        "colours": "ICC profile" if header.profiled else "sRGB",
        "tiled": header.tiled,
        "model_fingerprint": header.model_fingerprint.hex(),
        "arithmetic_fingerprint": header.arithmetic_fingerprint.hex(),
        "symbol_checksum": f"{file.symbol_checksum:08x}",
        **tiles,
        "metadata": _describe_metadata(data),
    }


def _describe_metadata(data: bytes) -> dict[str, Any]:
    """Return the bytes of each item, decompressed, and of all of them in the file; damage in place of a number."""
    from .. import container, metadata

    front = container.read_front(memoryview(data))
    behind = memoryview(data)[front.frame_end :]
    items: dict[str, Any] = {}
    for name in metadata.NAMES:
        try:
            content = metadata.item(front.header, behind, name, DEFAULT_LIMITS)
        except (BitstreamError, LimitError) as error:
            items[name] = f"damaged: {error}" if isinstance(error, BitstreamError) else f"too large: {error}"
        else:
            items |= {name: len(content)} if content else {}
    return {**items, "bytes_in_file": front.file_end - front.frame_end}


def _describe_tiles(data: bytes) -> dict[str, Any]:
    from .. import tiles

    file = tiles.parse(data, _UNLIMITED)
    grid = file.grid
    lengths = [len(file.payload(index)) for index in range(len(grid))]
    return {
        "columns": grid.columns.count,
        "rows": grid.rows.count,
        "tile_width": grid.columns.extent,
        "tile_height": grid.rows.extent,
        "overlap": grid.overlap,
        "smallest_bytes": min(lengths),
        "largest_bytes": max(lengths),
    }


def _describe_bundle(name: str) -> dict[str, Any]:
    from ..bundle import Bundle

    return {"kind": "engine bundle", **Bundle.open(name).describe()}


def _print(name: str, entry: Mapping[str, Any]) -> None:
    print(one_line(name))
    _print_fields({key: value for key, value in entry.items() if key != "ok"}, "  ")


def _print_fields(fields: Mapping[str, Any], indent: str) -> None:
    width = max(map(len, fields), default=0)
    for key, value in fields.items():
        if isinstance(value, dict):
            print(f"{indent}{one_line(key)}")
            _print_fields(value, indent + "  ")
        else:
            print(f"{indent}{one_line(key):{width}}  {_text(value)}")


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={_text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, float):
        return f"{value:,.4f}"
    return f"{value:,}" if type(value) is int else one_line(str(value))
