"""Reads the entropy tables and the conformance vectors of a bundle, and checks them against the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .graphs import Port
from .manifest import MAX_HYPER, Manifest
from .npz import ArrayForm, read_npz

CASES = 2
"""The number of cases in the conformance vectors: images of the same size. The second case reaches every clamp."""
MAX_ARRAYS_BYTES = 64 << 20
"""The limit of all arrays of one file."""

_TOTAL = 1 << 16  # where every CDF ends
_ENTRIES = (3, _TOTAL + 1)  # of a CDF
_SYMBOLS = np.iinfo(np.int16)
_Z_SIDES = (2, 16)  # of the conformance vectors
_PIXELS = 64  # of the image's side, for a position of z
_CODED = {"indexes": "uint8", "means": "float32", "symbols": "int16"}

Arrays = dict[str, NDArray[Any]]


def fingerprint(tensors: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 over names, dtypes, shapes and little-endian values, in order of name; as 64 hex digits."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = np.ascontiguousarray(tensors[name])
        value = value.astype(value.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name}\0{value.dtype.str}\0{value.shape}\0".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def read_tables(data: bytes, manifest: Manifest) -> dict[str, NDArray[np.int32]]:
    """Return the arrays of tables.npz. Raises ValueError if they are not tables of this network.

    In the float profile, the fingerprint of the arithmetic covers only the tables and is checked here. In the exact
    profile it also covers the integer network, which only the graphs contain.
    """
    config = manifest.model.config
    forms: dict[str, ArrayForm] = {}
    for latent, rows in (("y", (1, MAX_HYPER)), ("z", config.hyper)):
        forms[f"{latent}_cdfs"] = ArrayForm("int32", (rows, _ENTRIES))
        forms[f"{latent}_lengths"] = forms[f"{latent}_offsets"] = ArrayForm("int32", (rows,))
    tables = read_npz(data, forms, MAX_ARRAYS_BYTES)
    for latent in "yz":
        _check_cdfs(latent, *(tables[f"{latent}_{part}"] for part in ("cdfs", "lengths", "offsets")))
    if not manifest.arithmetic.exact and fingerprint(tables) != manifest.arithmetic.fingerprint:
        raise ValueError("the tables are not those of the manifest's arithmetic fingerprint")
    return tables


def read_conformance(data: bytes, manifest: Manifest) -> Arrays:
    """Return the arrays of conformance.npz. Raises ValueError if they are not vectors of this network."""
    ports = _coded_ports(manifest)
    z = (CASES, 1, manifest.model.config.hyper, _Z_SIDES, _Z_SIDES)
    forms = {"z_symbols": ArrayForm("int16", z)}
    height, width = (_PIXELS * side for side in _Z_SIDES)
    for name, port in ports.items():
        sizes = zip(port.at(height, height), port.at(width, width), strict=True)
        forms[name] = ArrayForm(port.dtype, (CASES, *sizes))
    vectors = read_npz(data, forms, MAX_ARRAYS_BYTES)
    height, width = (_PIXELS * side for side in vectors["z_symbols"].shape[-2:])
    for name, port in ports.items():
        expected = (CASES, *port.at(height, width))
        if height % 128 or width % 128 or vectors[name].shape != expected:
            raise ValueError(f"{name} has shape {vectors[name].shape}, expected {expected}, as z_symbols has it")
    return vectors


def _coded_ports(manifest: Manifest) -> dict[str, Port]:
    """Return the arrays that the vectors have for every pass, with their dtypes and shapes."""
    shapes = {
        name: port.shape for name, graph in manifest.graphs.items() for port in graph.outputs if port.name == "indexes"
    }
    return {
        f"{graph}_{what}": Port(what, dtype, shape) for graph, shape in shapes.items() for what, dtype in _CODED.items()
    }


def _check_cdfs(latent: str, cdfs: NDArray[Any], lengths: NDArray[Any], offsets: NDArray[Any]) -> None:
    """Raise ValueError for a row that the range coder cannot use; see `glic_deploy.entropy.rans.CdfTables`."""
    if not len(cdfs) == len(lengths) == len(offsets):
        raise ValueError(f"{latent}_cdfs has {len(cdfs)} rows, {len(lengths)} lengths and {len(offsets)} offsets")
    first, wide = offsets.astype(np.int64), lengths.astype(np.int64)
    good = (wide >= _ENTRIES[0]) & (wide <= cdfs.shape[1])
    good &= (first >= _SYMBOLS.min) & (first + wide - _ENTRIES[0] <= _SYMBOLS.max)
    last = np.clip(wide, 1, cdfs.shape[1]) - 1
    good &= (cdfs[:, 0] == 0) & (cdfs[np.arange(len(cdfs)), last] == _TOTAL)
    rises = cdfs[:, 1:] > cdfs[:, :-1]
    good &= (rises | (np.arange(1, cdfs.shape[1]) > last[:, None])).all(axis=1)
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(
            f"row {row} of the {latent} tables (length {lengths[row]}, offset {offsets[row]}) does not rise strictly "
            f"from 0 to {_TOTAL}, or its symbols do not fit int16"
        )
