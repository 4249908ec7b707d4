"""Compare the graphs of an engine bundle across runners with Polygraphy: `python -m export.compare --engine DIR`.

All runners compute a graph from the same inputs, which are recorded while an image is coded: a difference in one graph
does not affect the next. Graphs of the exact entropy path must agree in every value. The transforms must agree within a
tolerance of their precision.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from glic_deploy.bundle import BASE, Bundle
from glic_deploy.errors import EngineError, GlicError
from glic_deploy.files import atomic_directory
from glic_deploy.image import load_image

if TYPE_CHECKING:
    from .comparison.outcomes import Outcome
    from .comparison.runners import Configuration

AGREES, DIFFERS, ERROR = range(3)

_EXTRAS = {"polygraphy": "polygraphy", "onnxruntime": "cpu"}

_RUNNERS = """\
runners:
  base, native, integer, fp16, bf16   this form of the graphs on onnxruntime, with our library
  tensorrt-graph                      the graphs that plans are built from, on onnxruntime
  openvino, openvino-bf16             our OpenVINO backend
  onnxruntime-cuda, tensorrt          our GPU backends
  tensorrt-plan                       TensorRT's plans in Polygraphy's TrtRunner

exit codes:
  0  all graphs agree
  1  a graph differs or fails on a runner
  2  wrong arguments, or an error: nothing was compared
"""


def compare(
    bundle: Bundle,
    images: Sequence[NDArray[np.uint8]],
    configurations: Sequence[Configuration],
    save: Path | None = None,
    threads: int | None = None,
) -> list[Outcome]:
    """Run every graph in all configurations, and compare the results with those of the first configuration.

    Args:
        bundle: the bundle.
        images: uint8 (H, W, 3) each; the inputs of the graphs are recorded while onnxruntime codes these images.
        configurations: the configurations; the first one is the reference.
        save: directory for the inputs and results of each graph as Polygraphy's JSON, or None.
        threads: CPU threads for coding the images; None for all cores.

    Raises EngineError if a graph does not run on onnxruntime or in the first configuration.
    """
    from glic_deploy.backends.onnxruntime import OnnxRuntimeBackend

    from .comparison.inputs import coding_inputs
    from .comparison.outcomes import compare_graph
    from .comparison.report import save_graph

    backend = OnnxRuntimeBackend(bundle, threads, forms=[BASE])
    inputs = [coding_inputs(bundle, backend, image) for image in images]
    backend.close()
    outcomes: list[Outcome] = []
    for number, graph in enumerate(inputs[0], 1):
        print(f"[{number:2}/{len(inputs[0])}] {graph}", file=sys.stderr)
        feeds = [of_image[graph] for of_image in inputs]
        comparison = compare_graph(bundle, graph, feeds, configurations)
        outcomes += comparison.outcomes
        if save is not None:
            save_graph(save, graph, feeds, comparison)
    return outcomes


def _run(args: argparse.Namespace) -> int:
    try:
        from .comparison import inputs, report, runners
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        raise GlicError(f"{package} is not installed: pip install 'glic-deploy[{_EXTRAS[package]}]'") from None
    bundle = Bundle.open(args.engine)
    paths = args.images or [inputs.shipped_image()]
    images = [load_image(path) for path in paths]
    with contextlib.ExitStack() as stack:
        if args.save is not None:
            report.require_replaceable(args.save)
        configurations, missing = runners.open_all(bundle, args.threads, args.runners)
        stack.callback(runners.close_all, configurations)
        names = [configuration.name for configuration in configurations]
        if len(names) < 2:
            raise EngineError(f"there is nothing to compare {', '.join(names)} with; name two --runners at least")
        directory = None if args.save is None else stack.enter_context(atomic_directory(args.save))
        outcomes = compare(bundle, images, configurations, directory, args.threads)
        if directory is not None:
            about = {"engine": str(bundle.path), "images": list(map(str, paths)), "reference": names[0]}
            report.save_summary(directory, outcomes, missing, **about)
    print(report.render(outcomes, names, missing, len(images)))
    return AGREES if all(outcome.right for outcome in outcomes) else DIFFERS


def main(argv: list[str] | None = None, *, prog: str = "python -m export.compare") -> int:
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        epilog=_RUNNERS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--engine", required=True, help="an engine bundle")
    parser.add_argument("images", nargs="*", metavar="IMAGES", help="images to code (default: a shipped photograph)")
    parser.add_argument(
        "--runners",
        type=lambda text: text.split(","),
        metavar="A,B",
        help="runners to compare with the first of them (default: base, and all others that work here)",
    )
    parser.add_argument("--threads", type=int, help="threads of each runner on the CPU (default: all cores)")
    parser.add_argument(
        "--save", type=Path, metavar="DIR", help="write inputs and results to DIR, in the format of Polygraphy's tools"
    )
    args = parser.parse_args(argv)
    try:
        return _run(args)
    except (GlicError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return ERROR


if __name__ == "__main__":
    sys.exit(main())
