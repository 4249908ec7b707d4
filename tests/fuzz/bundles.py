"""Targets for engine bundles: what reads them alone, and engines opened and used.

An input is a case: a byte that selects one of the bundle's files, a byte that says what takes its place, and the
content. The manifest's size and SHA-256 of the file are those of the content, so that the damage reaches the readers.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import zlib
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from glic_deploy import Codec
from glic_deploy.bundle import CONFORMANCE, MANIFEST, TABLES, Bundle
from glic_deploy.limits import Limits

from .mutate import havoc, json_havoc, zip_havoc
from .target import Place, Target

CONTENT, ZERO_LINK, FIFO, FOLDER, NOTHING, SPARSE, LOOP = range(7)
_FORMS = ("native", "base")


class _Bundles(Target):
    graphs: ClassVar[int]  # how many graph files are in reach of the selecting byte
    memory = 768 << 20
    deadline = 10.0

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.manifest: dict[str, Any] = json.loads((place.engine / MANIFEST).read_bytes())
        graphs = sorted(name for name in self.manifest["files"] if name.endswith(".native.onnx"))
        self.names = [MANIFEST, TABLES, CONFORMANCE, *graphs[: self.graphs]]
        self.folder = place.scratch / "bundle"
        self.replaced: str | None = None
        for path in place.engine.rglob("*"):
            if path.is_file():
                linked = self.folder / path.relative_to(place.engine)
                linked.parent.mkdir(parents=True, exist_ok=True)
                os.link(path, linked)

    def seeds(self) -> list[bytes]:
        return [bytes((i, CONTENT)) + (self.place.engine / name).read_bytes() for i, name in enumerate(self.names)]

    def mutate(self, data: bytes, rng: random.Random, pool: Sequence[bytes]) -> bytes:
        if len(data) < 2 or rng.random() < 0.01:
            kind = rng.choice((ZERO_LINK, FIFO, FOLDER, NOTHING, SPARSE, LOOP))
            return bytes((rng.randrange(len(self.names)), kind))
        name, content = self.names[data[0] % len(self.names)], data[2:]
        same = [other[2:] for other in pool if other[:1] == data[:1]]
        if name == MANIFEST:
            content = json_havoc(content, rng) if rng.random() < 0.85 else havoc(content, rng, same)
        elif name.endswith(".npz"):
            content = zip_havoc(content, rng, same)
        else:
            content = havoc(content, rng, same, 3)
        return data[:1] + bytes((CONTENT,)) + content

    def build(self, data: bytes) -> Path:
        """The bundle of a case; all files but the one that is replaced are the engine's own."""
        if self.replaced is not None:
            self._link(self.replaced)
        name = self.replaced = self.names[data[0] % len(self.names)] if data else MANIFEST
        kind = data[1] if len(data) > 1 else NOTHING
        path = self.folder / name
        path.unlink()
        if kind == CONTENT:
            path.write_bytes(data[2:])
        elif kind == ZERO_LINK:
            path.symlink_to("/dev/zero")
        elif kind == FIFO:
            os.mkfifo(path)
        elif kind == FOLDER:
            path.mkdir()
        elif kind == LOOP:
            path.symlink_to(path)
        elif kind == SPARSE:
            path.touch()
            os.truncate(path, 1 << 40)
        if name != MANIFEST:
            digest, size = hashlib.sha256(data[2:]).hexdigest(), 1 << 40 if kind == SPARSE else len(data[2:])
            listed = self.manifest["files"]
            files = listed | {name: listed[name] | {"bytes": size, "sha256": digest}}
            (self.folder / MANIFEST).unlink()
            (self.folder / MANIFEST).write_text(json.dumps(self.manifest | {"files": files}))
        return self.folder

    def _link(self, name: str) -> None:
        """Put the engine's own file back, and its manifest."""
        for linked in {name, MANIFEST}:
            path = self.folder / linked
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
            os.link(self.place.engine / linked, path)


class Bundles(_Bundles):
    """The readers of manifests, tables and conformance vectors."""

    name = "bundles"
    graphs = 1
    share = 1.5

    def fuzz_one(self, data: bytes) -> Hashable:
        bundle = Bundle.open(self.build(data))
        bundle.describe()
        bundle.plans()
        for name in bundle.graphs():
            bundle.ports(name)
            bundle.outputs(name)
        if zlib.crc32(data) % 16 == 0:  # this reads all weights
            for name in bundle.graphs():
                bundle.graph(name, _FORMS)
        tables, vectors = bundle.tables(), bundle.conformance()
        return bundle.groups, bundle.hyper, bundle.exact, len(tables), len(vectors)


class Engines(_Bundles):
    """Engines opened, their arithmetic checked, and an image coded; graphs that no exporter wrote among them."""

    name = "engines"
    graphs = 99
    share = 2.0
    memory = 2 << 30
    deadline = 30.0

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.image = np.arange(16 * 20 * 3, dtype=np.uint8).reshape(16, 20, 3)

    def fuzz_one(self, data: bytes) -> Hashable:
        limits = Limits(max_pixels=1 << 18, max_memory=1 << 30)
        with Codec(self.build(data), backend="onnxruntime", threads=1, limits=limits) as codec:
            codec.describe()
            coded = codec.encode(self.image)
            return codec.decode(coded).shape
