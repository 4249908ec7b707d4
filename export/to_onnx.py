"""Checkpoint to engine bundle: `python -m export.to_onnx --checkpoint C.pth --output DIR`."""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from glic_deploy.bundle import CONFORMANCE, TABLES, Arithmetic, Model
from glic_deploy.errors import GlicError

from . import integer
from .bundle import BundleWriter, bundle_directory, fingerprint, manifest_config
from .checkpoint import Checkpoint, load_checkpoint
from .graphs import GraphSpec, entropy_graphs, transform_graphs
from .integer.build import load_pictures
from .integer.conformance import conformance_vectors
from .native import for_kernels
from .tables import factorized_tables, gaussian_tables
from .tracing import trace
from .verify import largest_difference

Progress = Callable[[str], None]

# Buffers that follow from other tensors, and tables that some checkpoints hold and some do not: no part of a model.
_DERIVED = ("_offset", "_quantized_cdf", "_cdf_length", "scale_table", "relative_position_index", "bound", "target")


def export_bundle(
    checkpoint: Checkpoint,
    output: str | Path,
    progress: Progress = print,
    *,
    entropy: str = "exact",
    calibration: str | Path | None = None,
    lmbda: float | None = None,
) -> None:
    """Write the engine bundle of a checkpoint to the directory `output`, whole or not at all.

    Each graph is checked by onnx and compared with PyTorch on a pseudo-random input; `progress` gets a line for each.
    entropy: "exact" makes the entropy path integer arithmetic, calibrated on the pictures in the directory
    `calibration` or on some that the package has; "float" leaves it as it is, for research.
    lmbda: the weight of distortion that the checkpoint was trained with, recorded to put several bundles in order.
    Raises GlicError when `output` holds something else than a bundle, or exactness cannot be proven.
    """
    with bundle_directory(output) as directory:
        writer = BundleWriter(directory)
        _add_graphs(writer, transform_graphs(checkpoint), progress)
        network = None
        if entropy == "exact":
            pictures = None if calibration is None else load_pictures(calibration)
            network = integer.build(checkpoint, pictures)
            _add_exact_entropy(writer, network, progress)
        else:
            progress("warning: files of floating-point entropy parameters decode only where they were written")
            _add_graphs(writer, entropy_graphs(checkpoint), progress)
        write_parameters(writer, checkpoint, network, lmbda)


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
    specs = list(specs)
    for number, spec in enumerate(specs, 1):
        module = spec.build().eval()
        model = trace(spec, module)
        path = writer.add_graph(spec.name, "base", model)
        if native := for_kernels(model):
            path = writer.add_graph(spec.name, "native", native)
        difference = largest_difference(path, spec, module)
        progress(f"[{number:2}/{len(specs)}] {spec.name:18} {difference}")


def _add_exact_entropy(writer: BundleWriter, network: integer.IntegerNetwork, progress: Progress) -> None:
    """All lowerings of the integer entropy path, and what proves them right on the machine that runs them."""
    for variant in integer.LOWERINGS:
        for graph in integer.lower(network, variant):
            writer.add_graph(graph.name, variant, graph.model)
    vectors = conformance_vectors(network)
    writer.add_arrays(CONFORMANCE, vectors)
    count = sum(values.size for name, values in vectors.items() if name.endswith(("indexes", "means")))
    progress(f"exact entropy path: {', '.join(integer.LOWERINGS)}; {count:,} conformance values")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m export.to_onnx", description=__doc__)
    parser.add_argument("--checkpoint", required=True, help="a GLIC checkpoint, as its authors release them")
    parser.add_argument("--output", required=True, help="directory to write; an older bundle there is replaced")
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
    parser.add_argument("--calibration", help="directory of a few photographs to calibrate the integers with")
    args = parser.parse_args(argv)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        export_bundle(
            load_checkpoint(args.checkpoint),
            args.output,
            lambda line: print(line, file=sys.stderr),
            entropy=args.entropy,
            calibration=args.calibration,
            lmbda=args.lmbda or lambda_in(args.checkpoint),
        )
    except GlicError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
