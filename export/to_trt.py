"""Checkpoint to engine bundle with TensorRT plans: `python -m export.to_trt --checkpoint C.pth --output DIR`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from glic_deploy import tensorrt
from glic_deploy.errors import EngineError, GlicError

from .checkpoint import load_checkpoint
from .tensorrt_bundle import PRECISIONS, add_graphs, add_plans
from .to_onnx import export_bundle

Progress = Callable[[str], None]


def size(text: str) -> tuple[int, int]:
    """`WIDTHxHEIGHT` as (height, width), padded to multiples of 128."""
    try:
        width, height = (int(side) for side in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no size, expected WIDTHxHEIGHT as in 768x512") from None
    return -(-height // 128) * 128, -(-width // 128) * 128


def capability(text: str) -> tuple[int, int]:
    """`8.9` as (8, 9)."""
    major, _, minor = text.partition(".")
    if not (major.isdigit() and minor.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no compute capability, expected one as 8.9")
    return int(major), int(minor)


def build_plans(
    directory: Path, flavour: str | None, options: tensorrt.BuildOptions, progress: Progress = print
) -> None:
    """Add plans to a bundle that has the graphs for them, and, where there is a GPU, prove that they are right.

    flavour: a key of `glic_deploy.tensorrt.FLAVOURS`; None takes what fits the GPU. Raises EngineError.
    """
    from glic_deploy.backends.cuda import gpu_capability

    found = gpu_capability()
    chosen = tensorrt.choose(options.capability or found, flavour)
    target = options.capability or found
    if target is None:
        raise EngineError(
            "no NVIDIA GPU here to build for; say what to build for, with TensorRT-RTX: --compute-capability 8.9"
        )
    loaded = tensorrt.load(chosen)
    progress(f"TensorRT flavour {chosen} {loaded.version}, compute capability {target[0]}.{target[1]}")
    add_plans(directory, loaded, target, options, progress, tensorrt.on_terminal())
    if found != target:
        progress("the plans were not run: no GPU of that compute capability here; check them there: glic doctor")
        return
    from .check_plans import check_plans

    check_plans(directory, progress)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m export.to_trt", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", help="a GLIC checkpoint, as its authors release them")
    source.add_argument("--engine", type=Path, help="an engine bundle that is there already; it gets the plans")
    parser.add_argument("--output", type=Path, help="directory to write, with --checkpoint")
    parser.add_argument("--flavour", choices=sorted(tensorrt.FLAVOURS), help="default: what fits the GPU found")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp16", help="of the transforms (default: fp16)")
    profile = tensorrt.Profile()
    for name, default in (("min", profile.smallest), ("opt", profile.optimal), ("max", profile.largest)):
        shown = f"{default[1]}x{default[0]}"
        parser.add_argument(f"--{name}-size", type=size, default=default, metavar="WxH", help=f"default: {shown}")
    parser.add_argument("--compute-capability", type=capability, metavar="X.Y", help="build for another GPU (rtx only)")
    parser.add_argument("--workspace", type=int, metavar="MIB", help="most scratch memory on the GPU")
    parser.add_argument("--timing-cache", type=Path, help="file that makes the next build faster (TensorRT)")
    parser.add_argument("--graphs-only", action="store_true", help="write the graphs for plans, but no plans")
    args = parser.parse_args(argv)
    if args.checkpoint and not args.output:
        parser.error("--checkpoint needs --output")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)

    def progress(line: str) -> None:
        print(line, file=sys.stderr)

    try:
        directory = args.engine or args.output
        options = tensorrt.BuildOptions(
            tensorrt.Profile(args.min_size, args.opt_size, args.max_size),
            args.compute_capability,
            args.workspace and args.workspace << 20,
            args.timing_cache,
        )
        if args.checkpoint:
            export_bundle(load_checkpoint(args.checkpoint), directory, progress)
        add_graphs(directory, args.precision)
        if not args.graphs_only:
            build_plans(directory, args.flavour, options, progress)
    except GlicError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
