"""An engine bundle on disk: its manifest and its files. Every file is checked before its first use."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..container import FINGERPRINT_BYTES
from ..entropy.quantizer import NEAREST
from ..errors import EngineError
from ..files import atomic_write
from ..forms import BF16, FP16, TENSORRT
from ..limits import NetworkMemory
from ..values import Value
from .files import digest_of, open_regular, read_exactly, size_of
from .graphs import PREVIEW, Port, Shape
from .manifest import (
    CONFORMANCE,
    ENCODER,
    EXPORT,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    TABLE_FIT,
    TABLES,
    WHOLE_COPY,
    EncoderData,
    FileEntry,
    Form,
    Graph,
    Manifest,
    PlanEntry,
    parse,
    to_json,
)
from .onnx_files import files_read_by
from .tables import MAX_ARRAYS_BYTES, read_conformance, read_tables

MAX_GRAPH_BYTES = (1 << 31) - 1
"""The limit of an ONNX file without its external data, which is that of a protobuf message."""

_CHECKPOINT_SUFFIXES = frozenset({".pth", ".pt", ".tar", ".ckpt", ".safetensors"})
_FORMS_FOR_GPUS = (TENSORRT, FP16, BF16)


class Bundle:
    """An engine bundle on disk. Safe to use from several threads at once.

    Every file is checked against the SHA-256 in the manifest before its first use. The manifest is consistent: all
    graphs are listed, with the inputs and outputs that the codec uses.

    Attributes:
        path: the directory.
        manifest: its manifest.
        groups: channels of each slice of y.
        latent, hyper: channels of y and of z.
        exact: whether the entropy path is in integer arithmetic, so that files decode on any machine.
        model_fingerprint, arithmetic_fingerprint: the bytes that identify them in `.glic` files.
        lmbda: the weight of the distortion in training; a larger lambda gives larger files. None: unknown.
        weighing: how encoders weigh bits against error at effort 1; `NEAREST` if nothing pays, or none was sought.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._checked: set[str] = set()
        self._lock = threading.RLock()
        config = manifest.model.config
        self.groups, self.latent, self.hyper = config.groups, config.latent, config.hyper
        self.exact = manifest.arithmetic.exact
        self.model_fingerprint = bytes.fromhex(manifest.model.fingerprint)[:FINGERPRINT_BYTES]
        self.arithmetic_fingerprint = bytes.fromhex(manifest.arithmetic.fingerprint)[:FINGERPRINT_BYTES]
        self.lmbda = manifest.model.lmbda
        self.weighing = manifest.encoder.weighing if manifest.encoder else NEAREST

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Open a bundle. Raises EngineError if there is none, if it is damaged, or if it has another format."""
        path = Path(path)
        try:
            with open_regular(path / MANIFEST) as stream:
                data = read_exactly(stream, min(size_of(stream), MAX_MANIFEST_BYTES + 1))
        except FileNotFoundError:
            problem = (
                f"is no engine bundle, it has no {MANIFEST}"
                if path.exists()
                else "does not exist, so it is no engine bundle"
            )
            raise EngineError(f"{path} {problem}; {_how_to_export(path)}") from None
        except NotADirectoryError:
            raise EngineError(
                f"{path} is a file, expected the directory of an engine bundle; {_how_to_export(path)}"
            ) from None
        except (OSError, ValueError) as error:
            raise EngineError(f"{path / MANIFEST} cannot be read: {_reason(error)}; {WHOLE_COPY}") from None
        return cls(path, parse(data, str(path / MANIFEST)))

    @property
    def fingerprints(self) -> str:
        """The fingerprints of model and arithmetic in `.glic` files, as hexadecimal digits."""
        return (self.model_fingerprint + self.arithmetic_fingerprint).hex()

    @property
    def memory(self) -> NetworkMemory:
        """What coding with this network needs on a CPU."""
        weights = max((entry.bytes for name, entry in self.manifest.files.items() if name.endswith(".bin")), default=0)
        return NetworkMemory.of(self.manifest.model.config.widths, weights)

    def file(self, name: str) -> Path:
        """Return the path of a file of the bundle. Raises EngineError if its bytes were altered."""
        with self._lock:
            if name not in self._checked:
                with self._opened(name) as (stream, entry):
                    self._require_digest(name, entry, digest_of(stream, entry.bytes))
                self._checked.add(name)
        return self.path / name

    def graph(self, name: str, forms: Sequence[str]) -> Path:
        """Return the path of a graph in the first of `forms` that the bundle has.

        The SHA-256 of the file and of the files with its constants is checked. Raises EngineError.
        """
        return self._onnx(self._first_form(name, forms))

    def precision(self, forms: Sequence[str]) -> str:
        """Return the precision of the transforms in the first of `forms` that the bundle has. Raises EngineError.

        A form without a recorded precision is in fp32.
        """
        return self._first_form(self.transforms()[0], forms).precision or "fp32"

    def _first_form(self, name: str, forms: Sequence[str]) -> Form:
        available = self._graph(name).forms
        chosen = next((form for form in forms if form in available), None)
        if chosen is None:
            raise EngineError(
                f"{self.path}: graph {name} has the forms {', '.join(available) or '(none)'}, this backend runs "
                f"{' or '.join(forms)}; {self._how_to_add(forms[0])}"
            )
        return available[chosen]

    def files_of(self, form: Form) -> set[str]:
        """Return the names of a form's files: its ONNX file and the files with its constants.

        Raises EngineError if the ONNX file is not as the manifest says, or reads a file that the manifest lacks.
        """
        path = self.path / form.file
        try:
            files = files_read_by(form.file, self._read(form.file, MAX_GRAPH_BYTES))
        except ValueError as error:
            raise EngineError(f"{path} is no ONNX graph: {error}; {WHOLE_COPY}") from None
        for file in files - set(self.manifest.files):
            raise EngineError(f"{path} reads {file!a}, which the manifest does not list; {WHOLE_COPY}")
        return files

    def graphs(self) -> list[str]:
        """Return the names of all graphs."""
        return list(self.manifest.graphs)

    def transforms(self) -> list[str]:
        """Return the names of the transforms. They decide the quality alone, so they may run in half precision."""
        return [name for name, graph in self.manifest.graphs.items() if graph.role == "transform"]

    def exact_graphs(self) -> list[str]:
        """Return the names of the graphs of the entropy path, whose results every machine must reproduce bit for bit.

        There are none in a bundle with floating-point entropy parameters.
        """
        return [name for name, graph in self.manifest.graphs.items() if graph.role != "transform"] if self.exact else []

    def image_graphs(self) -> list[str]:
        """Return the names of the transforms that read or write images; almost all time and memory is theirs."""
        return [name for name, graph in self.manifest.graphs.items() if graph.has_image]

    @property
    def has_previews(self) -> bool:
        """Whether the bundle decodes previews."""
        return PREVIEW in self.manifest.graphs

    def check_previews(self) -> None:
        """Raise EngineError unless the bundle decodes previews."""
        if not self.has_previews:
            raise EngineError(
                f"{self.path} was exported without previews, so its files decode at full size only; decode with "
                f"scale 1, or export the checkpoint again without --no-previews: {EXPORT}"
            )

    def ports(self, name: str) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Return a graph's inputs and outputs."""
        graph = self._graph(name)
        return graph.inputs, graph.outputs

    def output_shapes(self, name: str, inputs: Mapping[str, Shape]) -> dict[str, Shape]:
        """Return the shapes of a graph's outputs for inputs of these shapes. Raises EngineError for other inputs."""
        graph = self._graph(name)
        try:
            shapes = graph.output_shapes(inputs)
        except ValueError as error:
            raise EngineError(f"graph {name} {error}; pass the outputs of this bundle's graphs") from None
        return {port.name: shape for port, shape in zip(graph.outputs, shapes, strict=True)}

    def check_outputs(self, name: str, inputs: Mapping[str, Value], outputs: Sequence[Value]) -> None:
        """Raise EngineError unless a graph's outputs for `inputs` have the dtypes and shapes of the manifest."""
        ports = self._graph(name).outputs
        shapes = self.output_shapes(name, {key: value.shape for key, value in inputs.items()}).values()
        expected = [(np.dtype(port.dtype), shape) for port, shape in zip(ports, shapes, strict=True)]
        got = [(value.dtype, value.shape) for value in outputs]
        if got != expected:
            raise EngineError(
                f"graph {name} of {self.path} returned {_described(got)}, expected {_described(expected)} as in the "
                f"manifest; the graph belongs to another network: {WHOLE_COPY}"
            )

    def form(self, name: str, form: str) -> Form:
        """Return a form of a graph. Raises EngineError if the bundle lacks the form."""
        found = self._graph(name).forms.get(form)
        if found is None:
            raise EngineError(f"{self.path}: graph {name} has no form {form}; {self._how_to_add(form)}")
        return found

    def has_form(self, name: str, form: str) -> bool:
        """Return whether the bundle has this form of a graph."""
        return form in self._graph(name).forms

    def graph_digest(self, name: str, form: str) -> str:
        """Return a digest of a form of a graph and its constants. Raises EngineError."""
        files = self.files_of(self.form(name, form))
        digests = {file: self.manifest.files[file].sha256 for file in files}
        return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()

    def plans(self) -> tuple[PlanEntry, ...]:
        """Return TensorRT's plans, which `python -m export.to_trt` adds."""
        return self.manifest.plans

    def outputs(self, name: str) -> list[str]:
        """Return the names of a graph's outputs, in order."""
        return [port.name for port in self._graph(name).outputs]

    def tables(self) -> dict[str, NDArray[np.int32]]:
        """Return the entropy tables: `y_cdfs`, `y_lengths`, `y_offsets` with one row a scale, and the same for z.

        The tables of z have one row a channel. Raises EngineError if the tables belong to another network, or if the
        range coder cannot use them.
        """
        return self._arrays(TABLES, read_tables)

    def conformance(self) -> dict[str, NDArray[Any]]:
        """Return the conformance vectors of an exact entropy path: inputs and exact results of every pass.

        Raises EngineError if the vectors belong to another network.
        """
        return self._arrays(CONFORMANCE, read_conformance)

    def describe(self) -> dict[str, Any]:
        """Describe the contents of the bundle, for people and for JSON."""
        manifest = self.manifest.as_dict()
        return {
            "path": str(self.path),
            "generator": self.manifest.generator,
            "model": manifest["model"],
            "arithmetic": manifest["arithmetic"],
            "graphs": {name: sorted(graph.forms) for name, graph in self.manifest.graphs.items()},
            "plans": _described_plans(self.manifest.plans),
            "tables": manifest[TABLE_FIT],
            "encoder": manifest.get(ENCODER),
            "bytes": sum(entry.bytes for entry in self.manifest.files.values()),
        }

    def _graph(self, name: str) -> Graph:
        if name not in self.manifest.graphs:
            raise EngineError(f"{self.path} has no graph {name}; its graphs are {', '.join(self.manifest.graphs)}")
        return self.manifest.graphs[name]

    def _how_to_add(self, form: str) -> str:
        if form in _FORMS_FOR_GPUS:
            return f"add it: python -m export.to_trt --engine {self.path} --graphs-only"
        return f"export the checkpoint again: {EXPORT}"

    def _onnx(self, form: Form) -> Path:
        """Return the path of an ONNX file after checking the file and all files that it reads."""
        path = self.path / form.file
        with self._lock:
            if form.file not in self._checked:
                constants = self.files_of(form) - {form.file}
                if constants and path.is_symlink():  # some runtimes would read them from the target's folder
                    raise EngineError(f"{path} is a symbolic link, expected the file itself; copy the bundle: cp -rL")
                for file in constants:
                    self.file(file)
                self._checked.add(form.file)
        return path

    def _arrays(
        self, name: str, reader: Callable[[bytes, Manifest], dict[str, NDArray[Any]]]
    ) -> dict[str, NDArray[Any]]:
        data = self._read(name, MAX_ARRAYS_BYTES)
        try:
            return reader(data, self.manifest)
        except ValueError as error:
            raise EngineError(f"{self.path / name}: {error}; {WHOLE_COPY}") from None

    def _read(self, name: str, most: int) -> bytes:
        """Return all bytes of a file after checking them."""
        with self._opened(name) as (stream, entry):
            if entry.bytes > most:
                raise EngineError(
                    f"{self.path / name} has {entry.bytes:,} bytes, expected at most {most:,}; {WHOLE_COPY}"
                )
            data = read_exactly(stream, entry.bytes)
        self._require_digest(name, entry, hashlib.sha256(data).hexdigest())
        return data

    @contextmanager
    def _opened(self, name: str) -> Iterator[tuple[BinaryIO, FileEntry]]:
        """Open a file for reading after checking its size."""
        entry, path = self.manifest.files.get(name), self.path / name
        if entry is None:
            raise EngineError(f"{self.path}: the manifest lists no file {name!a}; {WHOLE_COPY}")
        try:
            with open_regular(path) as stream:
                size = size_of(stream)
                if size != entry.bytes:
                    raise EngineError(f"{path} has {size:,} bytes, its manifest says {entry.bytes:,}; {WHOLE_COPY}")
                yield stream, entry
        except OSError as error:
            raise EngineError(f"{path} cannot be read: {_reason(error)}; {WHOLE_COPY}") from None

    def _require_digest(self, name: str, entry: FileEntry, digest: str) -> None:
        if digest != entry.sha256:
            raise EngineError(
                f"{self.path / name} is not the file that was exported (its SHA-256 differs); {WHOLE_COPY}"
            )


def _how_to_export(path: Path) -> str:
    """Return the command that exports a bundle: from `path` if it is a checkpoint, else from a checkpoint glic.pth."""
    checkpoint = str(path) if path.suffix in _CHECKPOINT_SUFFIXES and path.is_file() else "glic.pth"
    return f"export one: python -m export.to_trt --checkpoint {shlex.quote(checkpoint)}"


@contextmanager
def alone_in(directory: Path) -> Iterator[None]:
    """Keep other processes from changing the bundle in a directory. Raises EngineError if one is changing it now."""
    import fcntl  # not on every system; all else here works without

    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EngineError(f"another process is changing {directory}; start again when it has ended") from None
        yield
    finally:
        os.close(descriptor)


def set_encoder_data(directory: str | Path, encoder: EncoderData | None) -> None:
    """Replace the encoder data of a bundle. Decoders, files and fingerprints are not affected.

    Raises EngineError if there is no bundle or another process is changing it, OSError if it is not writable.
    """
    path = Path(directory)
    Bundle.open(path)  # before anything in the directory is opened
    with alone_in(path):
        manifest = replace(Bundle.open(path).manifest, encoder=encoder)
        atomic_write(path / MANIFEST, to_json(manifest))


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _described(values: list[tuple[np.dtype[Any], Shape]]) -> str:
    return ", ".join(f"{dtype}{list(shape)}" for dtype, shape in values) or "nothing"


def _described_plans(plans: Sequence[PlanEntry]) -> list[dict[str, Any]]:
    """Describe the plans, grouped by flavour, version, GPUs and sizes, with the number of graphs."""
    kinds = Counter((plan.flavour, plan.version, plan.capabilities, plan.profile) for plan in plans)
    return [
        {
            "flavour": flavour,
            "version": version,
            "compute_capabilities": [f"{major}.{minor}" for major, minor in capabilities],
            "sizes": " to ".join(f"{width}x{height}" for height, width in (profile.smallest, profile.largest)),
            "graphs": count,
        }
        for (flavour, version, capabilities, profile), count in kinds.items()
    ]
