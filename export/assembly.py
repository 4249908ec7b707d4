"""Assembles engine bundles: traced graphs, the exact entropy path, its conformance vectors, the entropy tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from glic_deploy.bundle import BASE, CONFORMANCE, FUSED, NATIVE, TABLES, Arithmetic, Model, TableFit
from glic_deploy.errors import CheckpointError
from glic_deploy.notices import logger

from . import integer, previews
from .bundle import EXACT_TABLES, BundleWriter, fingerprint
from .checkpoint import Checkpoint
from .fused import fuse_blocks
from .graphs import GraphSpec, preview_graph
from .integer.calibration import Latents
from .integer.conformance import conformance_vectors
from .native import for_kernels, unmatched
from .network import Preview
from .progress import SILENT, Progress
from .schema import INDEX, UNREAD
from .strips import in_strips
from .tables import FactorizedTables, GaussianTables, factorized_tables, gaussian_tables
from .tracing import TESTED_TORCH, trace
from .verify import largest_difference

Tables = Mapping[str, NDArray[Any]]


def add_traced_graphs(writer: BundleWriter, specs: Iterable[GraphSpec], progress: Progress = SILENT) -> None:
    """Trace modules and add their graphs, with the forms for our kernels where `native_ops` names any.

    Each graph is checked by onnx and compared with PyTorch on a pseudo-random input.
    """
    for spec in specs:
        progress.begin(f"exporting {spec.name}")
        module = spec.build().eval()
        model = trace(spec, module)
        path = writer.add_graph(spec.name, BASE, model)
        if spec.native_ops:
            for form, derived in forms_for_kernels(model).items():
                _warn_of_unmatched(spec, form, derived)
                path = writer.add_graph(spec.name, form, derived)
        progress.done(f"{spec.name:18} {largest_difference(path, spec, module)}")


def forms_for_kernels(model: ModelProto) -> dict[str, ModelProto]:
    """Derive from a transform's graph the forms for our kernels on the CPU."""
    return {NATIVE: in_strips(for_kernels(model)), FUSED: fuse_blocks(for_kernels(model, upsample=False))}


def _warn_of_unmatched(spec: GraphSpec, form: str, model: ModelProto) -> None:
    """Warn of every op that the rewrites for our kernels made too rarely or left too often."""
    for op, found, expected in unmatched(model, spec.native_ops[form]):
        logger.warning(
            f"graph {spec.name} has {found} nodes {op} in its form {form}, expected {expected}: it runs, slower than "
            f"it could; export with the PyTorch that this version was made for: pip install torch=={TESTED_TORCH}"
        )


def add_exact_entropy(writer: BundleWriter, network: integer.IntegerNetwork, progress: Progress = SILENT) -> None:
    """Add the integer entropy path in every lowering, and the conformance vectors that a backend must reproduce."""
    for lowering in integer.LOWERINGS:
        progress.begin(f"writing the exact entropy path, form {lowering}")
        for graph in integer.lower(network, lowering):
            writer.add_graph(graph.name, lowering, graph.model)
        progress.done()
    progress.begin("making conformance vectors")
    vectors = conformance_vectors(network)
    writer.add_arrays(CONFORMANCE, vectors)
    count = sum(values.size for name, values in vectors.items() if name.endswith(("indexes", "means")))
    progress.done(f"exact entropy path: {', '.join(integer.LOWERINGS)}; {count:,} conformance values")


def add_previews(
    writer: BundleWriter, checkpoint: Checkpoint, latents: Iterable[Latents], progress: Progress = SILENT
) -> None:
    """Add the graph of previews, fitted to the latents of images, and report how well it does.

    Raises CheckpointError where the network computes infinite values or values that are not numbers.
    """
    progress.begin("fitting previews")
    examples = list(previews.examples(checkpoint, latents))
    quality = ", ".join(f"1/{scale} {decibels:.1f} dB" for scale, decibels in previews.decibels(examples).items())
    progress.done(f"previews against the reduced output of synthesis: {quality or 'not judged by a single image'}")
    add_traced_graphs(writer, [preview_graph(checkpoint, Preview(*previews.fit(examples)))], progress)


def finish(
    writer: BundleWriter,
    model: Model,
    tables: Tables,
    network: integer.IntegerNetwork | None = None,
    table_fit: TableFit = EXACT_TABLES,
) -> None:
    """Add the entropy tables and write the manifest; without an integer network, its profile is "float".

    May be called again, with other tables.
    """
    writer.add_arrays(TABLES, tables)
    arithmetic = dict(tables) | (network.parameters() if network else {})
    writer.finish(model, Arithmetic("exact" if network else "float", fingerprint(arithmetic)), table_fit)


def model_of(checkpoint: Checkpoint, lmbda: float | None = None) -> Model:
    """Describe a checkpoint's network as the manifest does. lmbda: the weight of distortion it was trained with."""
    return Model(model_fingerprint(checkpoint), checkpoint.config, lmbda)


def entropy_tables(checkpoint: Checkpoint) -> dict[str, NDArray[np.int32]]:
    """Compute the integer CDF tables of y (one row a scale) and of z (one row a channel).

    Raises CheckpointError where the parameters of z's prior give no distribution.
    """
    prefix = "latent_codec.hyper.entropy_bottleneck."
    prior = {k.removeprefix(prefix): v.numpy() for k, v in checkpoint.state.items() if k.startswith(prefix)}
    try:
        of_z = factorized_tables(prior)
    except ValueError as error:
        raise CheckpointError(
            f"the checkpoint's prior of z ({prefix}*) gives no CDF tables: {error}; "
            "download the checkpoint again, or train its entropy model further"
        ) from None
    return {**named("y", gaussian_tables()), **named("z", of_z)}


def named(latent: str, tables: GaussianTables | FactorizedTables) -> dict[str, NDArray[np.int32]]:
    """Name the arrays of the tables of y or z as bundles do."""
    return {f"{latent}_{part}": getattr(tables, part) for part in ("cdfs", "lengths", "offsets")}


def model_fingerprint(checkpoint: Checkpoint) -> str:
    """Hash the network's tensors; every layout of the same checkpoint has the same hash."""
    derived = (*UNREAD, INDEX)
    return fingerprint({name: value.numpy() for name, value in checkpoint.state.items() if not name.endswith(derived)})
