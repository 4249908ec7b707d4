"""Checkpoint to engine bundle: `python -m export.to_onnx --checkpoint glic.pth` writes `glic.engine`."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from glic_deploy.bundle import CONFORMANCE, TABLES, Arithmetic, Model
from glic_deploy.notices import logger

from . import command, integer
from .bundle import BundleWriter, bundle_directory, fingerprint, manifest_config
from .checkpoint import Checkpoint, load_checkpoint
from .graphs import GraphSpec, entropy_graphs, transform_graphs
from .integer.build import load_pictures
from .integer.conformance import conformance_vectors
from .native import for_kernels, unmatched
from .progress import SILENT, Progress
from .tables import factorized_tables, gaussian_tables
from .tracing import TESTED_TORCH, trace
from .verify import largest_difference

# Buffers that follow from other tensors, and tables that some checkpoints hold and some do not: no part of a model.
_DERIVED = ("_offset", "_quantized_cdf", "_cdf_length", "scale_table", "relative_position_index", "bound", "target")


def export_bundle(
    checkpoint: Checkpoint,
    output: str | Path,
    progress: Progress = SILENT,
    *,
    entropy: str = "exact",
    calibration: str | Path | None = None,
    lmbda: float | None = None,
) -> None:
    """Write the engine bundle of a checkpoint to the directory `output`, whole or not at all.

    Arguments as of `write_bundle`. Raises GlicError when `output` holds something else than a bundle, or exactness
    cannot be proven.
    """
    with bundle_directory(output) as directory:
        write_bundle(checkpoint, directory, progress, entropy=entropy, calibration=calibration, lmbda=lmbda)


def write_bundle(
    checkpoint: Checkpoint,
    directory: Path,
    progress: Progress = SILENT,
    *,
    entropy: str = "exact",
    calibration: str | Path | None = None,
    lmbda: float | None = None,
) -> None:
    """Write the engine bundle of a checkpoint into an empty directory.

    Each graph is checked by onnx and compared with PyTorch on a pseudo-random input.

    Args:
        checkpoint: the network.
        directory: where to write.
        progress: shows what is being done.
        entropy: "exact" makes the entropy path integer arithmetic; "float" leaves it as it is, for research.
        calibration: a directory of images to calibrate the integers with; None: some that the package has.
        lmbda: the weight of distortion that the checkpoint was trained with, recorded to put several bundles in order.

    Raises GlicError when exactness cannot be proven.
    """
    writer = BundleWriter(directory)
    transforms = list(transform_graphs(checkpoint))
    if entropy == "exact":
        progress.expect(len(transforms) + 2 + len(integer.LOWERINGS))
        _add_graphs(writer, transforms, progress)
        network = _exact_entropy(checkpoint, calibration, progress)
        _add_exact_entropy(writer, network, progress)
        write_parameters(writer, checkpoint, network, lmbda)
    else:
        graphs = [*transforms, *entropy_graphs(checkpoint)]
        progress.expect(len(graphs))
        progress.say("warning: files of floating-point entropy parameters decode only where they were written")
        _add_graphs(writer, graphs, progress)
        write_parameters(writer, checkpoint, None, lmbda)


def _exact_entropy(
    checkpoint: Checkpoint, calibration: str | Path | None, progress: Progress
) -> integer.IntegerNetwork:
    progress.begin("calibrating the integer entropy path")
    network = integer.build(checkpoint, None if calibration is None else load_pictures(calibration))
    progress.done()
    return network


def write_parameters(
    writer: BundleWriter,
    checkpoint: Checkpoint,
    network: integer.IntegerNetwork | None = None,
    lmbda: float | None = None,
) -> None:
    """Add the entropy tables and finish the bundle; without an integer network its profile is "float"."""
    tables = entropy_tables(checkpoint)
    writer.add_arrays(TABLES, tables)
    arithmetic = tables | (network.parameters() if network else {})
    writer.finish(
        Model(model_fingerprint(checkpoint), manifest_config(checkpoint.config), lmbda),
        Arithmetic("exact" if network else "float", fingerprint(arithmetic)),
    )


def entropy_tables(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """The integer CDF tables of y (one row a scale) and of z (one row a channel)."""
    prefix = "latent_codec.hyper.entropy_bottleneck."
    prior = {k.removeprefix(prefix): v.numpy() for k, v in checkpoint.state.items() if k.startswith(prefix)}
    y, z = gaussian_tables(), factorized_tables(prior)
    named = {"y": y, "z": z}
    return {
        f"{latent}_{part}": getattr(table, part)
        for latent, table in named.items()
        for part in ("cdfs", "lengths", "offsets")
    }


def model_fingerprint(checkpoint: Checkpoint) -> str:
    """Hash of the network's tensors, the same for every layout of the same checkpoint."""
    return fingerprint({name: value.numpy() for name, value in checkpoint.state.items() if not name.endswith(_DERIVED)})


def lambda_in(checkpoint: str | Path) -> float | None:
    """The lambda at the beginning of a released checkpoint's name, such as 0.0130checkpoint_best.pth.tar."""
    number = re.match(r"0?\.\d+", Path(checkpoint).name)
    return float(number[0]) if number else None


def _add_graphs(writer: BundleWriter, specs: Iterable[GraphSpec], progress: Progress) -> None:
    for spec in specs:
        progress.begin(f"exporting {spec.name}")
        module = spec.build().eval()
        model = trace(spec, module)
        path = writer.add_graph(spec.name, "base", model)
        if spec.native_ops:
            native = for_kernels(model)
            _warn_of_unmatched(spec, native)
            path = writer.add_graph(spec.name, "native", native)
        progress.done(f"{spec.name:18} {largest_difference(path, spec, module)}")


def _warn_of_unmatched(spec: GraphSpec, native: ModelProto) -> None:
    """Say which patterns the rewrites for the native kernels did not find: what they leave runs, but slowly."""
    for op, found, expected in unmatched(native, spec.native_ops):
        logger.warning(
            f"graph {spec.name} has {found} nodes {op} in its native form, expected {expected}: it runs, slower than "
            f"it could; export with the PyTorch that this version was made for: pip install torch=={TESTED_TORCH}"
        )


def _add_exact_entropy(writer: BundleWriter, network: integer.IntegerNetwork, progress: Progress) -> None:
    """All lowerings of the integer entropy path, and what proves them right on the machine that runs them."""
    for form in integer.LOWERINGS:
        progress.begin(f"writing the exact entropy path, form {form}")
        for graph in integer.lower(network, form):
            writer.add_graph(graph.name, form, graph.model)
        progress.done()
    progress.begin("making conformance vectors")
    vectors = conformance_vectors(network)
    writer.add_arrays(CONFORMANCE, vectors)
    count = sum(values.size for name, values in vectors.items() if name.endswith(("indexes", "means")))
    progress.done(f"exact entropy path: {', '.join(integer.LOWERINGS)}; {count:,} conformance values")


def main(argv: list[str] | None = None, *, prog: str = "python -m export.to_onnx") -> int:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("--checkpoint", required=True, help="a GLIC checkpoint, as its authors release them")
    add_export_options(parser)
    args = parser.parse_args(argv)

    def work(progress: Progress) -> Path:
        output = args.output or command.default_output(args.checkpoint)
        with bundle_directory(output) as directory:
            write_bundle(load_checkpoint(args.checkpoint), directory, progress, **export_options(args))
        return output

    return command.run(work)


def add_export_options(parser: argparse.ArgumentParser) -> None:
    """Add what every export of a checkpoint takes."""
    command.add_output(parser)
    parser.add_argument(
        "--entropy",
        choices=("exact", "float"),
        default="exact",
        help="exact (default): integers, files decode everywhere; float: for research, files bound to one machine",
    )
    parser.add_argument(
        "--lambda",
        dest="lmbda",
        type=float,
        help="what the checkpoint was trained with (default: the number its name begins with, as in released ones)",
    )
    parser.add_argument(
        "--calibration", metavar="DIR", help="a directory of a few photographs to calibrate the integers with"
    )


def export_options(args: argparse.Namespace) -> dict[str, Any]:
    """The keyword arguments of `write_bundle` that `add_export_options`' arguments ask for."""
    lmbda = lambda_in(args.checkpoint) if args.lmbda is None else args.lmbda
    return {"entropy": args.entropy, "calibration": args.calibration, "lmbda": lmbda}


if __name__ == "__main__":
    sys.exit(main())
