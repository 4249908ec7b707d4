"""Options that several commands share, and the objects made of them."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..limits import DEFAULT_LIMITS, Limits
from ..machine import cores
from .exits import UsageError
from .paths import STDIO, Job

if TYPE_CHECKING:
    from .. import Codec
    from ..manifest import Manifest


def add_engine(parser: argparse.ArgumentParser, *, required: bool = True, several: bool = False) -> None:
    parser.add_argument(
        "--engine",
        metavar="DIR",
        required=required,
        action="append" if several else "store",
        help="the engine bundle, made by export, or a folder of several"
        + ("; may be given several times" if several else ""),
    )
    parser.add_argument("--backend", metavar="NAME", help="what runs its graphs (default: the best that works here)")
    parser.add_argument(
        "--precision", choices=("fp32", "fp16", "bf16"), help="of the transforms (default: the backend's)"
    )
    parser.add_argument("--threads", metavar="N", type=positive, help="CPU threads (default: all that may be used)")


def add_quality(parser: argparse.ArgumentParser) -> None:
    goal = parser.add_mutually_exclusive_group()
    goal.add_argument(
        "--quality", metavar="N", type=positive, help="of a folder of bundles, 1: smallest files (default: the highest)"
    )
    goal.add_argument("--target-bpp", metavar="X", type=float, help="the highest quality within X bits per pixel")
    goal.add_argument("--target-psnr", metavar="X", type=float, help="the lowest quality that reaches X dB")


def quality(args: argparse.Namespace) -> dict[str, float]:
    """The options of `Codec.encode` that `add_quality`'s arguments ask for."""
    goal = {name: getattr(args, name) for name in ("quality", "target_bpp", "target_psnr")}
    return {name: value for name, value in goal.items() if value is not None}


def add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-pixels",
        metavar="N",
        type=positive,
        default=DEFAULT_LIMITS.max_pixels,
        help=f"refuse larger pictures (default: {DEFAULT_LIMITS.max_pixels:,})",
    )
    parser.add_argument(
        "--max-side",
        metavar="N",
        type=positive,
        default=DEFAULT_LIMITS.max_side,
        help=f"refuse wider or taller pictures (default: {DEFAULT_LIMITS.max_side:,})",
    )
    parser.add_argument(
        "--max-memory",
        metavar="SIZE",
        type=memory,
        default=DEFAULT_LIMITS.max_memory,
        help="memory that coding may take, such as 3G: encode cuts larger pictures into tiles, decode refuses larger "
        f"tiles (default: {DEFAULT_LIMITS.max_memory >> 30}G)",
    )


def add_reports(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", metavar="PATH", help="write what was done as JSON; -: to stdout, nothing else on it")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")


def add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        metavar="N",
        type=positive,
        help="work on so many files at a time, and keep a manifest in the folder OUT: what it has done and is whole is "
        "skipped when the command is run again (default: one after another, existing files are replaced)",
    )


def limits(args: argparse.Namespace) -> Limits:
    return Limits(max_pixels=args.max_pixels, max_side=args.max_side, max_memory=args.max_memory)


def open_codec(args: argparse.Namespace) -> Codec:
    from .. import Codec

    threads = args.threads
    if threads is None and args.workers:
        threads = max(1, cores() // args.workers)
    return Codec(args.engine, backend=args.backend, precision=args.precision, threads=threads, limits=limits(args))


_NO_SETTINGS = {
    "inputs", "output", "engine", "backend", "threads", "workers", "max_pixels", "max_side", "json", "quiet", "debug",
}  # fmt: skip


@contextlib.contextmanager
def open_manifest(
    command: str, args: argparse.Namespace, jobs: Sequence[Job], codec: Codec
) -> Iterator[Manifest | None]:
    """What is done already in the folder OUT; None without --workers."""
    if not args.workers:
        yield None
        return
    if any(job.target in (STDIO, args.output) for job in jobs):
        raise UsageError("--workers is for many files; name a folder as the output (ending in / if it is new)")
    from ..manifest import Manifest

    settings = {name: value for name, value in vars(args).items() if name not in _NO_SETTINGS}
    engines = codec.fingerprints if command == "encode" else ()
    with Manifest(args.output, {"command": command, "engines": engines, **settings}) as manifest:
        yield manifest


def positive(text: str) -> int:
    value = int(text.replace("_", "").replace(",", ""))
    if value < 1:
        raise argparse.ArgumentTypeError(f"got {text}, expected at least 1")
    return value


def memory(text: str) -> int:
    """Bytes of `3G`, `1.5G`, `700M` or a plain number; the units are powers of 1024."""
    units = {"K": 10, "M": 20, "G": 30, "T": 40}
    unit = text[-1:].upper()
    return positive(str(int(float(text[:-1]) * (1 << units[unit])))) if unit in units else positive(text)


def region(text: str) -> tuple[int, int, int, int]:
    """`x,y,width,height` in pixels."""
    parts = text.split(",")
    if len(parts) != 4:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected X,Y,WIDTH,HEIGHT in pixels")
    x, y, width, height = map(int, parts)
    return x, y, width, height


def colour(text: str) -> tuple[int, int, int]:
    """`white`, `#fff`, `#ffffff`, `rgb(255,255,255)` or `255,255,255`."""
    from PIL import ImageColor

    numbers = text.count(",") == 2 and text[:1].isdigit()
    try:
        rgb = ImageColor.getrgb(f"rgb({text})" if numbers else text)
    except ValueError:
        rgb = (0, 0, 0, 0)
    if len(rgb) != 3 or max(rgb) > 255:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected an opaque colour: white, #ffffff or 255,255,255")
    return rgb
