"""Writes an engine bundle: graphs, their shared weights, entropy tables and the manifest that ties them together.

The directory appears whole or not at all. `docs/bundle.md` describes its files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, numpy_helper

import glic_deploy
from glic_deploy.bundle import FORMAT, MANIFEST, sha256
from glic_deploy.errors import GlicError
from glic_deploy.files import atomic_directory, atomic_writer

from .graphs import Port

WEIGHTS = "graphs/weights.bin"
_PAGE = 4096  # runtimes map weights from the file where they start on a page
_EMBEDDED = 1024  # smaller tensors stay in the graph


def fingerprint(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, dtypes, shapes and little-endian values, in order of name; as 64 hex digits."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = np.ascontiguousarray(tensors[name])
        value = value.astype(value.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name}\0{value.dtype.str}\0{value.shape}\0".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


@dataclass
class BundleWriter:
    """Collects a bundle's files in a directory; `finish` writes the manifest."""

    directory: Path
    graphs: dict[str, dict[str, Any]] = field(default_factory=dict)
    weights: str = WEIGHTS
    _offsets: dict[bytes, tuple[int, int]] = field(default_factory=dict)

    def add_graph(
        self, name: str, variant: str, model: ModelProto, inputs: Iterable[Port], outputs: Iterable[Port]
    ) -> Path:
        """Write one graph; large constants go to the weights file that all graphs share. Gives the graph's path."""
        path = f"graphs/{name}.{variant}.onnx"
        (self.directory / "graphs").mkdir(exist_ok=True)
        model = ModelProto.FromString(model.SerializeToString())
        with open(self.directory / self.weights, "ab") as stream:
            for tensor in _initializers(model.graph):
                self._externalize(tensor, stream)
        (self.directory / path).write_bytes(model.SerializeToString(deterministic=True))
        custom = sum(node.domain == "glic" for graph in graphs_in(model.graph) for node in graph.node)
        ends = {"inputs": [asdict(port) for port in inputs], "outputs": [asdict(port) for port in outputs]}
        entry = self.graphs.setdefault(name, {"variants": {}, **ends})
        entry["variants"][variant] = {"file": path, "plugins": custom}
        return self.directory / path

    def _externalize(self, tensor: TensorProto, stream: Any) -> None:
        data = numpy_helper.to_array(tensor).tobytes()
        if len(data) < _EMBEDDED:
            return
        key = hashlib.sha256(data).digest()
        if key not in self._offsets:
            stream.write(bytes(-stream.tell() % _PAGE))
            self._offsets[key] = stream.tell(), len(data)
            stream.write(data)
        offset, length = self._offsets[key]
        for name in ("raw_data", "float_data", "int32_data", "int64_data"):
            tensor.ClearField(name)
        tensor.data_location = TensorProto.EXTERNAL
        for key_name, value in (("location", Path(self.weights).name), ("offset", offset), ("length", length)):
            entry = tensor.external_data.add()
            entry.key, entry.value = key_name, str(value)

    def add_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write named arrays as an .npz without pickles."""
        np.savez_compressed(self.directory / name, allow_pickle=False, **arrays)

    def finish(self, **entries: Any) -> None:
        """Write the manifest: `entries`, the graphs, and size and SHA-256 of every file."""
        files = sorted(path for path in self.directory.rglob("*") if path.is_file() and path.name != MANIFEST)
        manifest = {
            "format": FORMAT,
            "generator": f"glic-deploy {glic_deploy.__version__}",
            **entries,
            "graphs": self.graphs,
            "files": {path.relative_to(self.directory).as_posix(): _digest(path) for path in files},
        }
        with atomic_writer(self.directory / MANIFEST) as stream:
            stream.write((json.dumps(manifest, indent=1) + "\n").encode())


@contextmanager
def bundle_directory(output: str | Path) -> Iterator[Path]:
    """A temporary directory that takes the place of `output` when the block succeeds and vanishes when it does not.

    Raises GlicError when `output` exists and is no bundle: nothing else is ever replaced.
    """
    output = Path(output).resolve()
    if output.exists() and not (output / MANIFEST).is_file() and (not output.is_dir() or any(output.iterdir())):
        raise GlicError(
            f"{output} exists and is no engine bundle, so it is not replaced; name another directory: "
            f"--output {output.with_name(f'{output.stem}-2.engine').name}"
        )
    with atomic_directory(output) as temporary:
        yield temporary


def _digest(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def graphs_in(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph and the bodies inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs_in(attribute.g)


def _initializers(graph: GraphProto) -> Iterator[TensorProto]:
    for inner in graphs_in(graph):
        yield from inner.initializer
