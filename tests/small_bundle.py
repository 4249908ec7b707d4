"""A bundle of graphs that compute nothing, made in milliseconds, to be damaged and changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper

from export.bundle import BundleWriter
from glic_deploy.bundle import (
    CONFORMANCE,
    MANIFEST,
    TABLES,
    Arithmetic,
    Config,
    Ends,
    GraphAggregation,
    Model,
    fingerprint,
    graph_ends,
)

CONFIG = Config(
    widths=(8, 8, 8),
    latent=6,
    hyper=2,
    groups=(2, 4),
    graphs=(GraphAggregation("g_a.g2", channels=8, depth=1, heads=2),),
    window=8,
    sample=16,
)
_Z = (2, 4)  # sides of z in the conformance vectors
_KINDS = {"uint8": 2, "int16": 5, "float32": 1}


def write_small_bundle(directory: Path, profile: str = "exact") -> Path:
    """Write a bundle whose graphs all have the form `base`; every file is as the manifest says."""
    directory.mkdir()
    writer = BundleWriter(directory)
    writer.add_arrays(TABLES, tables())
    if profile == "exact":
        writer.add_arrays(CONFORMANCE, vectors())
    for seed, (name, ends) in enumerate(graphs(profile).items()):
        writer.add_graph(name, "base", model(name, ends, seed))
    writer.finish(Model("ab" * 32, CONFIG, 0.013), Arithmetic(profile, fingerprint(tables())))  # type: ignore[arg-type]
    return directory


def graphs(profile: str = "exact") -> dict[str, Ends]:
    """The ends of the small network's graphs."""
    return graph_ends(CONFIG.latent, CONFIG.hyper, CONFIG.groups, profile == "exact")


def model(name: str, ends: Ends, seed: int) -> ModelProto:
    """A valid model with these ends and a constant that is large enough for the weights file."""
    constant = numpy_helper.from_array(np.random.default_rng(seed).random(1024, np.float32), "constant")
    nodes = [helper.make_node("Cast", ["constant"], [port.name], to=_KINDS[port.dtype]) for port in ends.outputs]
    inputs, outputs = (
        [helper.make_tensor_value_info(port.name, _KINDS[port.dtype], list(port.shape)) for port in ports]
        for ports in (ends.inputs, ends.outputs)
    )
    graph = helper.make_graph(nodes, name, inputs, outputs, [constant])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def tables() -> dict[str, NDArray[np.int32]]:
    """Tables of three scales and of the channels of z."""
    found = {}
    for latent, rows in (("y", 3), ("z", CONFIG.hyper)):
        found[f"{latent}_cdfs"] = np.tile(np.array([0, 20000, 60000, 1 << 16, 0], np.int32), (rows, 1))
        found[f"{latent}_lengths"] = np.full(rows, 4, np.int32)
        found[f"{latent}_offsets"] = np.full(rows, -1, np.int32)
    return found


def vectors() -> dict[str, NDArray[Any]]:
    """Conformance vectors of the right form."""
    found: dict[str, NDArray[Any]] = {"z_symbols": np.zeros((2, 1, CONFIG.hyper, *_Z), np.int16)}
    for k, group in enumerate(CONFIG.groups):
        for part in ("anchors", "nonanchors"):
            for what, dtype in (("indexes", np.uint8), ("means", np.float32), ("symbols", np.int16)):
                found[f"slice{k}_{part}_{what}"] = np.zeros((2, 1, group, 4 * _Z[0], 2 * _Z[1]), dtype)
    return found


def edit(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a bundle's manifest."""
    document = json.loads((directory / MANIFEST).read_text())
    change(document)
    (directory / MANIFEST).write_text(json.dumps(document))


def replace_file(directory: Path, name: str, data: bytes) -> None:
    """Write one of a bundle's files and what the manifest says of it, as someone would who means harm."""
    (directory / name).parent.mkdir(exist_ok=True)
    (directory / name).write_bytes(data)
    entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    edit(directory, lambda document: document["files"].update({name: entry}))


def replace_arrays(directory: Path, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """The same for a file of arrays."""
    np.savez_compressed(directory / "made.npz", **arrays)
    replace_file(directory, name, (directory / "made.npz").read_bytes())
    (directory / "made.npz").unlink()
