"""Measure how fast an engine is on this machine, stage by stage, and describe what was timed.

glic bench --engine DIR
glic bench --engine DIR --against torch --checkpoint C.pth --size 768x512,1920x1080
glic bench --engine DIR photo.png --json now.json --compare before.json
"""

from __future__ import annotations

import argparse

from ..backends import names as backend_names
from . import exits, options, output, paths, targets
from .messages import console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="*",
        type=options.path,
        help="images to code (default: a synthetic one)",
    )
    options.add_engine(parser)
    parser.add_argument(
        "--backend",
        metavar="NAME[:PRECISION],...",
        type=options.path,
        help=f"backends to measure in turns: {', '.join(backend_names())} (default: the best that works)",
    )
    options.add_precision(parser)
    options.add_threads(parser)
    options.add_device(parser)
    parser.add_argument(
        "--against", choices=("torch",), help="also measure the eager PyTorch network, in turns with the engine"
    )
    parser.add_argument("--checkpoint", metavar="C.pth", type=options.path, help="checkpoint of the eager network")
    parser.add_argument(
        "--size",
        metavar="WxH,...",
        type=sizes,
        default=[],
        help="scale the images to these sizes (default: their own size; 768x512 for the synthetic image)",
    )
    parser.add_argument(
        "--repeats", metavar="N", type=options.positive, default=9, help="number of timed runs (default: 9)"
    )
    parser.add_argument(
        "--warm-up", metavar="N", type=options.positive, default=2, help="number of warm-up runs (default: 2)"
    )
    parser.add_argument(
        "--seconds",
        metavar="S",
        type=options.number,
        default=60,
        help="start no further run of an image after S seconds; at least three runs are made (default: 60)",
    )
    parser.add_argument(
        "--batch",
        metavar="N",
        type=options.whole,
        default=4,
        help="number of images for throughput; 0 skips this measurement (default: 4)",
    )
    parser.add_argument(
        "--in-flight",
        metavar="N",
        type=options.threads,
        default=2,
        help="number of images in flight while throughput is measured (default: 2)",
    )
    parser.add_argument(
        "--cold",
        metavar="N",
        type=options.whole,
        default=2,
        help="number of further processes for the cold start (default: 2)",
    )
    parser.add_argument(
        "--sweep",
        metavar="WxH,...",
        type=sizes,
        nargs="?",
        const=(),
        help="measure how time and memory grow with image size (without a value: 256x256 to 2048x2048)",
    )
    parser.add_argument("--compare", metavar="OLD.json", type=options.path, help="print the changes since that result")
    parser.add_argument(
        "--json",
        metavar="PATH",
        type=options.path,
        help="write the result as JSON; - writes it to stdout, and nothing else",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print no progress")


def run(args: argparse.Namespace) -> int:
    contenders = backends(args.backend, args.precision)
    if (args.against is None) != (args.checkpoint is None):
        raise exits.UsageError(
            "--against torch needs --checkpoint C.pth, and --checkpoint needs --against torch; give both"
        )

    from ..bench import compare, tables
    from ..bench.latency import Plan
    from ..bench.run import Settings
    from ..bench.run import run as run_bench
    from ..bench.sweep import SIZES

    targets.check_reports(args, [*args.images, *filter(None, (args.compare, args.checkpoint))])
    old = compare.load(args.compare) if args.compare else None
    settings = Settings(
        engine=args.engine,
        backends=contenders,
        precision=args.precision,
        threads=args.threads,
        device=args.device,
        checkpoint=args.checkpoint,
        images=args.images,
        sizes=args.size,
        plan=Plan(args.repeats, args.warm_up, args.seconds),
        batch=args.batch,
        in_flight=args.in_flight,
        cold=args.cold,
        sweep=None if args.sweep is None else args.sweep or SIZES,
    )
    result = run_bench(settings, (lambda line: None) if args.quiet else console.say)
    if args.json != paths.STDIO:
        print(tables.render(result))
        if old is not None:
            print(compare.render(old, result))
    if args.json:
        document = result if old is None else {**result, "compared": compare.changes(old, result)}
        output.write_json(args.json, document)
    return exits.OK


def backends(text: str | None, precision: str | None) -> list[str | None]:
    """Split `onnxruntime,openvino:bf16` into backends; a backend keeps the precision behind its colon.

    Returns [None], the default backend, for None. Raises UsageError if a part is wrong, a part occurs twice, or
    --precision does not say which backend it is for.
    """
    if text is None:
        return [None]
    parts = text.split(",")
    for part in parts:
        name, colon, own = part.partition(":")
        if name not in backend_names() or (colon and own not in options.PRECISIONS):
            raise exits.UsageError(
                f"--backend has {part!r}, expected a backend's name ({', '.join(backend_names())}), or a name with a "
                f"precision ({', '.join(options.PRECISIONS)}) such as openvino:bf16"
            )
        if precision and (colon or len(parts) > 1):
            behind = ",".join(part if ":" in part else f"{part}:{precision}" for part in parts)
            raise exits.UsageError(
                f"--precision {precision} does not say which backend it is for; put the precision behind each backend: "
                f"--backend {behind}"
            )
    if len(set(parts)) < len(parts):
        raise exits.UsageError(
            f"--backend {text} names a backend twice; name each backend once, or with different precisions"
        )
    return list(parts)


def sizes(text: str) -> list[tuple[int, int]]:
    """Parse `768x512,1920x1080` into pairs of width and height. Raises ArgumentTypeError."""
    found = []
    for part in text.split(","):
        width, _, height = part.lower().partition("x")
        if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
            raise argparse.ArgumentTypeError(f"got {part!r}, expected WIDTHxHEIGHT such as 768x512")
        found.append((int(width), int(height)))
    return found
