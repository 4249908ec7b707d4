"""Options that several commands share, and the objects made of them."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, get_args

from ..backends import names as backend_names
from ..backends.base import Precision
from ..limits import CODED_MULTIPLE, DEFAULT_LIMITS, Limits
from ..machine import cores
from . import targets
from .exits import UsageError
from .messages import console
from .paths import STDIO, CommandLine, Job, passed_over, plan

if TYPE_CHECKING:
    from .. import Codec
    from ..run_manifest import RunManifest


PRECISIONS: tuple[str, ...] = get_args(Precision)


def add_engine(parser: argparse.ArgumentParser, *, required: bool = True, several: bool = False) -> None:
    """Add --engine; `several` lets it be given more than once."""
    parser.add_argument(
        "--engine",
        metavar="DIR",
        type=path,
        required=required,
        action="append" if several else "store",
        help="engine bundle that the exporter wrote, or a folder of several bundles"
        + ("; may be given several times; engines given as NAME=DIR with one NAME form one curve" if several else ""),
    )


def add_codec(parser: argparse.ArgumentParser) -> None:
    """Add what `Codec` takes beside an engine and limits: --backend, --precision, --threads and --device."""
    add_backend(parser)
    add_threads(parser)
    add_device(parser)


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Add --backend, which takes one name, and --precision."""
    parser.add_argument(
        "--backend",
        metavar="NAME",
        type=backend,
        help=f"backend that runs the graphs: {', '.join(backend_names())} (default: the best that works here)",
    )
    add_precision(parser)


def add_precision(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="precision of the transforms (default: the backend chooses)",
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads", metavar="N", type=threads, help="number of CPU threads (default: one for each available core)"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device",
        metavar="N",
        type=whole,
        help="number of the GPU, from 0, as CUDA counts them (default: the first GPU, or the CPU)",
    )


def add_quality(parser: argparse.ArgumentParser) -> None:
    goal = parser.add_mutually_exclusive_group()
    goal.add_argument(
        "--quality",
        metavar="N",
        type=number,
        help="bundle of the folder to use: 1 makes the smallest files; 3.5 is a rate between 3 and 4 (default: the "
        "highest quality)",
    )
    goal.add_argument("--target-bpp", metavar="X", type=number, help="make the best file of at most X bits per pixel")
    goal.add_argument("--target-bytes", metavar="N", type=positive, help="make the best file of at most N bytes")
    goal.add_argument("--target-psnr", metavar="X", type=number, help="make the smallest file of at least X dB")
    parser.add_argument("--strict", action="store_true", help="refuse to write a file that misses its target")
    add_effort(parser)


def add_effort(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--effort",
        metavar="N",
        type=whole,
        help="0 rounds to the nearest symbol; 1 weighs bits against error, as glic tune has measured; 2 also refines "
        "latents, which takes minutes and needs --checkpoint (default: 1 if it gained on every image that the engine "
        "was tuned on, else 0)",
    )
    parser.add_argument(
        "--checkpoint", metavar="C.pth", type=path, help="checkpoint of the engine, for --effort 2, which needs PyTorch"
    )


_TARGET = ("quality", "target_bpp", "target_bytes", "target_psnr", "effort")


def quality(args: argparse.Namespace) -> dict[str, float]:
    """The options of `Codec.encode` that `add_quality`'s arguments ask for."""
    given = {name: getattr(args, name) for name in _TARGET}
    return {name: value for name, value in given.items() if value is not None} | {"strict": args.strict}


def add_metadata(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metadata",
        choices=("keep", "strip"),
        default="keep",
        help="keep or drop EXIF and XMP, and an ICC profile that the pixels do not need (default: keep)",
    )


def add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-pixels",
        metavar="N",
        type=positive,
        default=DEFAULT_LIMITS.max_pixels,
        help=f"refuse larger images (default: {DEFAULT_LIMITS.max_pixels:,})",
    )
    parser.add_argument(
        "--max-side",
        metavar="N",
        type=positive,
        default=DEFAULT_LIMITS.max_side,
        help=f"refuse wider or taller images (default: {DEFAULT_LIMITS.max_side:,})",
    )
    parser.add_argument(
        "--max-memory",
        metavar="SIZE",
        type=memory,
        default=DEFAULT_LIMITS.max_memory,
        help="limit of the memory for coding, such as 3G: encode cuts larger images into tiles, decode refuses larger "
        f"tiles (default: {DEFAULT_LIMITS.max_memory >> 30}G)",
    )


def add_reports(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", metavar="PATH", type=path, help="write the results as JSON; - writes them to stdout, and nothing else"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print errors only")


def add_overwrite(parser: argparse.ArgumentParser, keeps: str) -> None:
    parser.add_argument(
        "--overwrite", action="store_true", help=f"replace existing files, but never an input (default: {keeps})"
    )


def add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        metavar="N",
        type=threads,
        help="code N files at a time and keep a manifest in the folder OUT; another run of the command skips the files "
        "that the manifest lists as done and that are still intact (default: one file after another)",
    )


def limits(args: argparse.Namespace) -> Limits:
    return Limits(max_pixels=args.max_pixels, max_side=args.max_side, max_memory=args.max_memory)


def open_codec(args: argparse.Namespace) -> Codec:
    from .. import Codec

    threads = args.threads
    if threads is None and getattr(args, "workers", None):
        threads = max(1, cores() // args.workers)
    return Codec(
        args.engine,
        backend=args.backend,
        precision=args.precision,
        threads=threads,
        device=args.device,
        limits=limits(args),
        checkpoint=getattr(args, "checkpoint", None),
    )


_NO_SETTINGS = {
    "inputs", "output", "engine", "backend", "threads", "device", "workers", "max_pixels", "max_side", "json", "quiet",
    "debug", "verbose", "overwrite", "reports_permitted",
}  # fmt: skip


@contextlib.contextmanager
def open_manifest(
    command: str, args: argparse.Namespace, jobs: Sequence[Job], codec: Codec
) -> Iterator[RunManifest | None]:
    """What is done already in the folder OUT; None without --workers."""
    if not args.workers:
        yield None
        return
    from ..run_manifest import RunManifest

    settings = {name: value for name, value in vars(args).items() if name not in _NO_SETTINGS}
    engines = codec.fingerprints if command == "encode" else ()
    with RunManifest(args.output, {"command": command, "engines": engines, **settings}) as manifest:
        yield manifest


def permitted_jobs(
    command: str, args: argparse.Namespace, *, reads: frozenset[str], writes: str, makes: str
) -> list[Job]:
    """What encode or decode is to do, once it is clear that it loses nothing. Raises UsageError, OSError."""
    line = CommandLine(command, args.inputs, args.output, args.engine)
    targets.check_direction(line)
    jobs = plan(line, reads=reads, writes=writes)
    tell_passed_over(command, args, args.inputs, reads)
    targets.check_reports(args, [job.source for job in jobs], jobs)  # first: an error is reported there
    made: set[str] = set()
    if args.workers:
        if any(job.target in (STDIO, args.output) for job in jobs):
            raise UsageError(
                "--workers is for many files; name a folder as OUT: "
                + line.with_output("out/", "--workers", str(args.workers))
            )
        from ..run_manifest import made_in

        made = made_in(args.output, [job.target for job in jobs])
    return targets.permit(line, jobs, makes=makes, overwrite=args.overwrite, made=made)


def tell_passed_over(command: str, args: argparse.Namespace, inputs: Sequence[str], reads: frozenset[str]) -> None:
    """Say on stderr which files of the input folders are not read."""
    if not args.quiet and (said := passed_over(inputs, reads)):
        console.say(f"glic {command}: {said}")


def path(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("it is empty, expected the name of a file or folder")
    return text


def backend(text: str) -> str:
    """A backend's name."""
    if text not in backend_names():
        raise argparse.ArgumentTypeError(f"got {shortened(text)}, expected one of {', '.join(backend_names())}")
    return text


def whole(text: str) -> int:
    """A whole number of at least 0, whose digits may be grouped by _ or commas."""
    try:
        value = int(text.replace("_", "").replace(",", ""))
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {shortened(text)}, expected a whole number") from None
    if value < 0:
        raise argparse.ArgumentTypeError(f"got {shortened(text)}, expected at least 0")
    return value


def positive(text: str) -> int:
    value = whole(text)
    if not value:
        raise argparse.ArgumentTypeError(f"got {shortened(text)}, expected at least 1")
    return value


def threads(text: str) -> int:
    """A number of threads or workers that a machine can start: at most 16 for each of its cores, but 64 anywhere."""
    most = max(64, 16 * cores())
    value = positive(text)
    if value > most:
        raise argparse.ArgumentTypeError(
            f"got {shortened(text)}, expected at most {most} on this machine of {cores()} cores; more than the cores "
            "gain nothing"
        )
    return value


def number(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"got {shortened(text)}, expected a number above 0")
    return value


def memory(text: str) -> int:
    """Bytes of `3G`, `1.5G`, `700M` or a plain number; the units are powers of 1024."""
    units = {"K": 10, "M": 20, "G": 30, "T": 40}
    unit = text[-1:].upper()
    if unit not in units:
        return positive(text)
    value = number(text[:-1]) * (1 << units[unit])
    if not 1 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"got {shortened(text)}, expected a size such as 3G or 700M")
    return int(value)


def tile(text: str) -> int:
    """The side of tiles in pixels: 0, or a multiple of 128 from 256."""
    value = whole(text)
    if value and (value < 2 * CODED_MULTIPLE or value % CODED_MULTIPLE):
        raise argparse.ArgumentTypeError(
            f"got {shortened(text)}, expected 0, or a multiple of {CODED_MULTIPLE} from {2 * CODED_MULTIPLE} as 1024"
        )
    return value


def region(text: str) -> tuple[int, int, int, int]:
    """`x,y,width,height` in pixels."""
    try:
        x, y, width, height = map(int, text.split(","))
    except ValueError:
        x = y = width = height = -1
    if min(x, y) < 0 or min(width, height) < 1:
        raise argparse.ArgumentTypeError(
            f"got {shortened(text)}, expected X,Y,WIDTH,HEIGHT in pixels, such as 0,0,640,480"
        )
    return x, y, width, height


def colour(text: str) -> tuple[int, int, int]:
    """`white`, `#fff`, `#ffffff`, `rgb(255,255,255)` or `255,255,255`."""
    from PIL import ImageColor

    numbers = text.count(",") == 2 and text[:1].isdigit()
    try:
        rgb = ImageColor.getrgb(f"rgb({text})" if numbers else text)
    except (ValueError, OverflowError):
        rgb = (0, 0, 0, 0)
    if len(rgb) != 3 or min(rgb) < 0 or max(rgb) > 255:
        raise argparse.ArgumentTypeError(
            f"got {shortened(text)}, expected an opaque colour: white, #ffffff or 255,255,255"
        )
    return rgb


def shortened(text: str, most: int = 40) -> str:
    return repr(text if len(text) <= most else text[:most] + "...")
