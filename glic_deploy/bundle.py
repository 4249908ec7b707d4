"""Reads an engine bundle: a directory of graphs, weights and entropy tables under a manifest. See docs/bundle.md."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .container import FINGERPRINT_BYTES
from .errors import EngineError

FORMAT = 1
MANIFEST = "manifest.json"
TABLES = "tables.npz"
CONFORMANCE = "conformance.npz"
PLANS = "plans"  # folder and manifest entry
TENSORRT = "tensorrt"  # the graph variant that plans are built from

Shape = tuple[int, ...]

_REMEDY = "export the checkpoint again: python -m export.to_onnx --checkpoint C.pth --output DIR"


def sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hex digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def shape_at(shape: Sequence[int | str], height: int, width: int) -> Shape:
    """A manifest's shape, in which "H/16" is a sixteenth of the height, for a padded picture of this size."""
    sides = {"H": height, "W": width}

    def dimension(d: int | str) -> int:
        if isinstance(d, int):
            return d
        side, _, divisor = d.partition("/")
        return sides[side] // int(divisor or 1)

    return tuple(map(dimension, shape))


class Bundle:
    """An engine bundle on disk. Every file is checked against the manifest's SHA-256 before it is first used.

    Attributes:
        path: the directory.
        manifest: its manifest, as parsed.
        groups: channels of each slice of y.
        latent, hyper: channels of y and of z.
        exact: whether the entropy path is integer arithmetic, so that files decode on any machine.
        lmbda: the weight of distortion that the network was trained with, the larger the larger files; None: unknown.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self._checked: set[str] = set()
        self._lock = threading.Lock()
        try:
            config = manifest["model"]["config"]
            self.groups: tuple[int, ...] = tuple(int(group) for group in config["groups"])
            self.latent, self.hyper = int(config["latent"]), int(config["hyper"])
            self.exact = manifest["arithmetic"]["profile"] == "exact"
            self.model_fingerprint = bytes.fromhex(manifest["model"]["fingerprint"])[:FINGERPRINT_BYTES]
            self.arithmetic_fingerprint = bytes.fromhex(manifest["arithmetic"]["fingerprint"])[:FINGERPRINT_BYTES]
            self.lmbda = None if manifest["model"].get("lambda") is None else float(manifest["model"]["lambda"])
            self._files: dict[str, dict[str, Any]] = manifest["files"]
            self._graphs: dict[str, dict[str, Any]] = manifest["graphs"]
        except (KeyError, TypeError, ValueError) as error:
            raise EngineError(
                f"{path / MANIFEST} lacks or mis-states {error}; it was edited or damaged: {_REMEDY}"
            ) from None

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Read a bundle's manifest. Raises EngineError when `path` is no bundle or one of another format."""
        path = Path(path)
        try:
            manifest = json.loads((path / MANIFEST).read_bytes())
            version = manifest["format"]
        except FileNotFoundError:
            raise EngineError(f"{path} is no engine bundle, it has no {MANIFEST}; {_REMEDY}") from None
        except NotADirectoryError:
            raise EngineError(f"{path} is a file, expected the directory of an engine bundle; {_REMEDY}") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EngineError(f"{path / MANIFEST} cannot be read: {error!r}; {_REMEDY}") from None
        if version != FORMAT:
            raise EngineError(
                f"{path} is of bundle format {version}, this glic-deploy reads format {FORMAT}; {_REMEDY}"
            )
        return cls(path, manifest)

    @property
    def fingerprints(self) -> str:
        """What files say of their model and arithmetic, as hexadecimal digits."""
        return (self.model_fingerprint + self.arithmetic_fingerprint).hex()

    def file(self, name: str) -> Path:
        """Path of one of the bundle's files, its bytes checked. Raises EngineError when they are not as built."""
        entry = self._files.get(name)
        if entry is None or ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
            raise EngineError(f"{self.path}: the manifest lists no file {name!r}; {_REMEDY}")
        path = self.path / name
        with self._lock:
            if name not in self._checked:
                self._check(path, entry)
                self._checked.add(name)
        return path

    def _check(self, path: Path, entry: dict[str, Any]) -> None:
        try:
            size = path.stat().st_size
            if size != entry["bytes"]:
                raise EngineError(f"{path} has {size:,} bytes, its manifest says {entry['bytes']:,}; {_REMEDY}")
            digest = sha256(path)
        except OSError as error:
            raise EngineError(f"{path} cannot be read: {error.strerror}; {_REMEDY}") from None
        if digest != entry["sha256"]:
            raise EngineError(f"{path} is not the file that was exported (its SHA-256 differs); {_REMEDY}")

    def graph(self, name: str, variants: Sequence[str]) -> Path:
        """Path of a graph in the first of `variants` that the bundle has, all its files checked. Raises EngineError."""
        available = self._graph(name)["variants"]
        chosen = next((variant for variant in variants if variant in available), None)
        if chosen is None:
            raise EngineError(
                f"{self.path}: graph {name} exists as {', '.join(available)}, "
                f"this backend takes {' or '.join(variants)}; {_REMEDY}"
            )
        for weights in (file for file in self._files if file.endswith(".bin")):
            self.file(weights)
        return self.file(available[chosen]["file"])

    def graphs(self) -> list[str]:
        """Names of all graphs."""
        return list(self._graphs)

    def ports(self, name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """A graph's inputs and outputs: name, dtype, and shape with sides as "H/16"."""
        return self._graph(name)["inputs"], self._graph(name)["outputs"]

    def output_shapes(self, name: str, inputs: Mapping[str, Shape]) -> dict[str, Shape]:
        """Shapes of a graph's outputs, for inputs of these shapes. Raises EngineError where it takes others."""
        taken, given = self.ports(name)
        sides: dict[str, int] = {}
        for port in taken:
            shape = inputs.get(port["name"], ())
            if len(shape) != len(port["shape"]) or len(inputs) != len(taken):
                expected = ", ".join(f"{port['name']} {port['shape']}" for port in taken)
                got = ", ".join(f"{key} {list(value)}" for key, value in inputs.items())
                raise EngineError(f"graph {name} takes {expected}, got {got}; run it on what this bundle's graphs give")
            for side, size in zip(port["shape"], shape, strict=True):
                if isinstance(side, str):
                    letter, _, divisor = side.partition("/")
                    sides[letter] = size * int(divisor or 1)
        return {port["name"]: shape_at(port["shape"], sides["H"], sides["W"]) for port in given}

    def variant(self, name: str, variant: str) -> dict[str, Any]:
        """The manifest's entry of one variant of a graph. Raises EngineError when the bundle lacks it."""
        found: dict[str, Any] | None = self._graph(name)["variants"].get(variant)
        if found is None:
            raise EngineError(
                f"{self.path}: graph {name} has no variant {variant}; add it: "
                f"python -m export.to_trt --engine {self.path} --graphs-only"
            )
        return found

    def has_variant(self, name: str, variant: str) -> bool:
        """Whether the bundle has this form of a graph."""
        return variant in self._graph(name)["variants"]

    def graph_digest(self, name: str, variant: str) -> str:
        """A digest that changes with a form of a graph and with the weights that it may refer to."""
        files = [self.variant(name, variant)["file"], *(file for file in sorted(self._files) if file.endswith(".bin"))]
        return hashlib.sha256("".join(self._files[file]["sha256"] for file in files).encode()).hexdigest()

    def plans(self) -> list[dict[str, Any]]:
        """The manifest's entries of TensorRT plans; none before `python -m export.to_trt`."""
        return list(self.manifest.get(PLANS, []))

    def outputs(self, name: str) -> list[str]:
        """Names of a graph's outputs, in order."""
        return [port["name"] for port in self._graph(name)["outputs"]]

    def _graph(self, name: str) -> dict[str, Any]:
        if name not in self._graphs:
            raise EngineError(f"{self.path}: the manifest lists no graph {name}; {_REMEDY}")
        return self._graphs[name]

    def tables(self) -> dict[str, NDArray[np.int32]]:
        """Entropy tables: `y_cdfs`, `y_lengths`, `y_offsets` (a row a scale) and the same for z (a row a channel)."""
        return self._arrays(TABLES)

    def conformance(self) -> dict[str, NDArray[Any]]:
        """Inputs and exact results of every pass of an exact entropy path; see `glic_deploy.conformance`."""
        return self._arrays(CONFORMANCE)

    def _arrays(self, name: str) -> dict[str, NDArray[Any]]:
        try:
            with np.load(self.file(name), allow_pickle=False) as arrays:
                return {key: arrays[key] for key in arrays.files}
        except (ValueError, OSError) as error:
            raise EngineError(f"{self.path / name} cannot be read: {error}; {_REMEDY}") from None

    def describe(self) -> dict[str, Any]:
        """What the bundle holds, for people and for JSON."""
        return {
            "path": str(self.path),
            "generator": self.manifest.get("generator"),
            "model": self.manifest["model"],
            "arithmetic": self.manifest["arithmetic"],
            "graphs": {name: sorted(entry["variants"]) for name, entry in self._graphs.items()},
            "bytes": sum(entry["bytes"] for entry in self._files.values()),
        }
