"""Checkpoint to engine bundle with TensorRT plans: `python -m export.to_trt --checkpoint glic.pth`.

The command writes `glic.engine`. If no plans can be built on this machine, the bundle is complete for every other
backend, and the backend `tensorrt` builds the plans at their first use on a machine with an NVIDIA GPU.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from glic_deploy import tensorrt
from glic_deploy.errors import EngineError, PluginError

from . import command
from .bundle import bundle_directory
from .checkpoint import load_checkpoint
from .progress import Progress
from .tensorrt_bundle import PRECISIONS, add_graphs, add_plans
from .to_onnx import add_export_options, export_options, write_bundle


def size(text: str) -> tuple[int, int]:
    """Parse `WIDTHxHEIGHT` as (height, width), padded to multiples of 128."""
    try:
        width, height = (int(side) for side in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no size, expected WIDTHxHEIGHT as in 768x512") from None
    return -(-height // 128) * 128, -(-width // 128) * 128


def capability(text: str) -> tuple[int, int]:
    """Parse a compute capability: `8.9` as (8, 9)."""
    major, _, minor = text.partition(".")
    if not (major.isdigit() and minor.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no compute capability, expected one as 8.9")
    return int(major), int(minor)


class NoPlansError(EngineError):
    """Plans cannot be built on this machine."""


def build_plans(directory: Path, flavour: str | None, options: tensorrt.BuildOptions, progress: Progress) -> None:
    """Add plans to a bundle that has the graphs for them, and check them if this machine's GPU runs them.

    Without a GPU, TensorRT-RTX builds one set of plans for all GPUs that it supports.

    Args:
        directory: the bundle.
        flavour: a key of `glic_deploy.tensorrt.FLAVOURS`; None selects the flavour that supports the GPU.
        options: how to build. Without `capabilities`, plans are built for this machine's GPU, or else for all GPUs.
        progress: shows the steps.

    Raises NoPlansError where this machine cannot build plans, EngineError where building them fails.
    """
    from glic_deploy.backends.cuda import gpu_capability

    found = gpu_capability()
    asked = options.capabilities
    targets = asked
    if not asked and found is not None:
        targets = (found,)
    elif not asked:
        targets = asked = tensorrt.RTX_CAPABILITIES
        flavour = flavour or "rtx"
        if flavour != "rtx":
            raise NoPlansError("there is no GPU here, and TensorRT builds only for the GPU of its own machine")
        if flavour not in tensorrt.installed():
            raise NoPlansError(
                "there is no GPU here; TensorRT-RTX, which builds without one, is not installed "
                f"({tensorrt.INSTALL[flavour]})"
            )
    for target in targets:
        chosen = tensorrt.choose(target, flavour)
    try:
        loaded = tensorrt.load(chosen)
    except PluginError as error:
        raise NoPlansError(str(error)) from error
    progress.say(f"TensorRT flavour {chosen} {loaded.version}, compute capability {tensorrt.shown(*targets)}")
    add_plans(directory, loaded, targets, options.for_capabilities(asked), progress)
    if found not in targets:
        progress.say(
            "the plans were not run, since this machine has no such GPU; a machine with one checks them at first use"
        )
        return
    from .check_plans import check_plans

    check_plans(directory, lambda plan: (plan.flavour, plan.capabilities) == (chosen, targets), progress)


def main(argv: list[str] | None = None, *, prog: str = "python -m export.to_trt") -> int:
    parser = argparse.ArgumentParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", help="a GLIC checkpoint as its authors release it")
    source.add_argument("--engine", type=Path, metavar="DIR", help="an engine bundle to which plans are added")
    add_export_options(parser)
    parser.add_argument(
        "--flavour", choices=sorted(tensorrt.FLAVOURS), help="which TensorRT (default: one that supports the GPU)"
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="fp16", help="precision of the transforms (default: fp16)"
    )
    profile = tensorrt.Profile()
    for name, default in (("min", profile.smallest), ("opt", profile.optimal), ("max", profile.largest)):
        shown = f"{default[1]}x{default[0]}"
        parser.add_argument(f"--{name}-size", type=size, default=default, metavar="WxH", help=f"default: {shown}")
    parser.add_argument(
        "--compute-capability",
        type=capability,
        action="append",
        default=[],
        metavar="X.Y",
        help="build for GPUs of this compute capability; may be repeated (rtx only; default: this machine's "
        "GPU, or else all GPUs)",
    )
    parser.add_argument("--workspace", type=int, metavar="MIB", help="limit of scratch memory on the GPU")
    parser.add_argument(
        "--timing-cache", type=Path, help="file of measured kernel times, which speeds up the next build (TensorRT)"
    )
    plans = parser.add_mutually_exclusive_group()
    plans.add_argument("--graphs-only", action="store_true", help="write the graphs for plans, but no plans")
    plans.add_argument("--require-plans", action="store_true", help="fail if no plans can be built")
    args = parser.parse_args(argv)
    if args.engine and args.output:
        parser.error("--output is for --checkpoint; the plans go into the bundle that --engine names")

    def work(progress: Progress) -> Path:
        options = tensorrt.BuildOptions(
            tensorrt.Profile(args.min_size, args.opt_size, args.max_size),
            tuple(args.compute_capability),
            args.workspace and args.workspace << 20,
            args.timing_cache,
        )
        engine: Path = args.engine or args.output or command.default_output(args.checkpoint)
        if args.checkpoint:
            with bundle_directory(engine) as directory:
                write_bundle(load_checkpoint(args.checkpoint), directory, progress, **export_options(args))
                add_graphs(directory, args.precision)
        else:
            add_graphs(engine, args.precision)
        if not args.graphs_only:
            try:
                build_plans(engine, args.flavour, options, progress)
            except NoPlansError as error:
                if args.require_plans:
                    raise
                progress.say(
                    f"no TensorRT plans were built: {error}; the bundle is complete without them; on a machine with "
                    "an NVIDIA GPU, the backend tensorrt builds them at first use and keeps them in its cache"
                )
        return engine

    if args.engine:
        return command.run(work, "plans need a bundle that is writable: copy it, and name the copy with --engine")
    return command.run(work)


if __name__ == "__main__":
    sys.exit(main())
