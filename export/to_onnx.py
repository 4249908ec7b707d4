"""Checkpoint to engine bundle: `python -m export.to_onnx --checkpoint glic.pth` writes `glic.engine`."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any, get_args

from glic_deploy.bundle import TableForm

from . import command, integer
from .assembly import add_exact_entropy, add_previews, add_traced_graphs, entropy_tables, finish, model_of, named
from .bundle import BundleWriter, bundle_directory
from .checkpoint import Checkpoint, load_checkpoint
from .encoder_data import DEFAULT_EXCHANGE, add_encoder_data, code_images
from .fitted_tables import described, fit_tables
from .graphs import entropy_graphs, transform_graphs
from .integer.build import Image, calibration_images, encode
from .integer.calibration import Latents
from .progress import SILENT, Progress


def export_bundle(
    checkpoint: Checkpoint,
    output: str | Path,
    progress: Progress = SILENT,
    *,
    entropy: str = "exact",
    calibration: str | Path | None = None,
    lmbda: float | None = None,
    previews: bool = True,
    tables: TableForm = "fitted",
    exchange: str | None = DEFAULT_EXCHANGE,
) -> None:
    """Write the engine bundle of a checkpoint to the directory `output`, whole or not at all.

    The arguments are those of `write_bundle`. Raises GlicError as `write_bundle` does, and when `output` holds
    something else than a bundle.
    """
    with bundle_directory(output) as directory:
        write_bundle(
            checkpoint,
            directory,
            progress,
            entropy=entropy,
            calibration=calibration,
            lmbda=lmbda,
            previews=previews,
            tables=tables,
            exchange=exchange,
        )


def write_bundle(
    checkpoint: Checkpoint,
    directory: Path,
    progress: Progress = SILENT,
    *,
    entropy: str = "exact",
    calibration: str | Path | None = None,
    lmbda: float | None = None,
    previews: bool = True,
    tables: TableForm = "fitted",
    exchange: str | None = DEFAULT_EXCHANGE,
) -> None:
    """Write the engine bundle of a checkpoint into an empty directory.

    Every traced graph is checked by onnx and compared with PyTorch on a pseudo-random input.

    Args:
        checkpoint: the network.
        directory: where to write.
        progress: shows the steps of the export.
        entropy: "exact" quantises the entropy path to integers; "float" keeps it in floating point, for research.
        calibration: a directory of calibration images; None selects the six that the package contains.
        lmbda: the weight of distortion in the training loss; it orders the bundles of a folder by quality.
        previews: whether the bundle can decode previews. They are fitted to the calibration images.
        tables: "fitted" fits the CDF tables of y to the calibration images, if that pays; "gaussian" keeps the authors'
            tables, as a floating-point entropy path does.
        exchange: the exchange rate at which the encoder's strength is found on the calibration images, as
            `glic_deploy.exchange.Exchange` reads it; None finds none. A floating-point entropy path has none.

    Raises CheckpointError when the checkpoint's weights give no bundle, GlicError when exactness cannot be proven.
    """
    writer = BundleWriter(directory)
    exact_tables = entropy_tables(checkpoint)  # first, since it is quick and may refuse the checkpoint
    images = calibration_images(calibration)
    transforms = list(transform_graphs(checkpoint))
    network = None
    if entropy == "exact":
        fitted, tuned = tables == "fitted", exchange is not None
        progress.expect(len(transforms) + 3 + len(integer.LOWERINGS) + 2 * previews + fitted + tuned)
        add_traced_graphs(writer, transforms, progress)
        latents = _latents(checkpoint, images, progress)
        progress.begin("calibrating the integer entropy path")
        network = integer.build(checkpoint, latents)
        progress.done()
        add_exact_entropy(writer, network, progress)
    else:
        fitted = tuned = False
        graphs = [*transforms, *entropy_graphs(checkpoint)]
        progress.expect(len(graphs) + 3 * previews)
        progress.say("warning: files of floating-point entropy parameters decode only where they were written")
        add_traced_graphs(writer, graphs, progress)
        latents = _latents(checkpoint, images, progress) if previews else []
    if previews:
        add_previews(writer, checkpoint, latents, progress)
    model = model_of(checkpoint, lmbda)
    finish(writer, model, exact_tables, network)
    if not (fitted or tuned):
        return
    coded = code_images(directory, images)
    if fitted:
        progress.begin("fitting the entropy tables")
        of_y, fit = fit_tables([one.symbols for one in coded])
        finish(writer, model, exact_tables | named("y", of_y), network, fit)
        progress.done(described(fit))
    if exchange is not None:
        add_encoder_data(directory, coded, exchange, progress)


def _latents(checkpoint: Checkpoint, images: list[Image], progress: Progress) -> list[Latents]:
    progress.begin("analysing the calibration images")
    latents = list(encode(checkpoint, images))
    progress.done()
    return latents


def lambda_in(checkpoint: str | Path) -> float | None:
    """Return the lambda at the beginning of a released checkpoint's name, such as 0.0130checkpoint_best.pth.tar."""
    number = re.match(r"0?\.\d+", Path(checkpoint).name)
    return float(number[0]) if number else None


def main(argv: list[str] | None = None, *, prog: str = "python -m export.to_onnx") -> int:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("--checkpoint", required=True, help="a GLIC checkpoint as its authors release it")
    add_export_options(parser)
    args = parser.parse_args(argv)

    def work(progress: Progress) -> Path:
        output = args.output or command.default_output(args.checkpoint)
        with bundle_directory(output) as directory:
            write_bundle(load_checkpoint(args.checkpoint), directory, progress, **export_options(args))
        return output

    return command.run(work)


def add_export_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every export of a checkpoint has."""
    command.add_output(parser)
    parser.add_argument(
        "--entropy",
        choices=("exact", "float"),
        default="exact",
        help="arithmetic of the entropy path: exact (default), in integers, whose files decode on every machine; or "
        "float, for research, whose files decode only where they were written",
    )
    parser.add_argument(
        "--lambda",
        dest="lmbda",
        type=float,
        help="the lambda of the checkpoint's training (default: the number that begins the file's name, if any)",
    )
    parser.add_argument(
        "--exchange",
        metavar="RATE",
        default=DEFAULT_EXCHANGE,
        help="what quality is worth to the encoder at effort 1: percent of the bits per dB, or the lambda of a loss; "
        "none: glic tune finds a strength later (default: 20%%/dB, the slope of the published checkpoints)",
    )
    parser.add_argument(
        "--tables",
        choices=get_args(TableForm)[::-1],
        default="fitted",
        help="CDF tables of y: fitted to the calibration images, if that pays (default); or gaussian, as in the "
        "authors' code",
    )
    parser.add_argument(
        "--calibration", metavar="DIR", help="a directory of a few photographs for calibration (default: six of ours)"
    )
    parser.add_argument(
        "--no-previews",
        dest="previews",
        action="store_false",
        help="a bundle that cannot decode previews, which saves some seconds of the export",
    )


def export_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the keyword arguments of `write_bundle` from the options of `add_export_options`."""
    lmbda = lambda_in(args.checkpoint) if args.lmbda is None else args.lmbda
    exchange = None if args.exchange == "none" else args.exchange
    return {
        "entropy": args.entropy,
        "calibration": args.calibration,
        "lmbda": lmbda,
        "previews": args.previews,
        "tables": args.tables,
        "exchange": exchange,
    }


if __name__ == "__main__":
    sys.exit(main())
