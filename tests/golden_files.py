"""The golden `.glic` files: an integer network, files coded with it, and the latents that they hold, in data/exact.

They were made once, by `python -m tests.golden_files`, and decode to the same latents for ever after. A change that
needs them to be made again breaks the files that people have: it is a new version of the bitstream.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.assembly import add_exact_entropy, finish
from export.bundle import BundleWriter
from export.integer import IntegerNetwork, build
from glic_deploy import Codec, container, tiles
from glic_deploy.backends.onnxruntime import OnnxRuntimeBackend
from glic_deploy.bundle import Bundle, Config, GraphAggregation, Model

from .conftest import DATA, PHOTOS, SAMPLE_CHECKPOINT

DIRECTORY = DATA / "exact"
_NETWORK, _LATENTS = "network.npz", "latents.json"


class LatentsOnly(OnnxRuntimeBackend):
    """Stops before the synthesis transform, which is not part of what is pinned, and keeps what it would be given."""

    y_hat: NDArray[np.float32]

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        if graph != "synthesis":
            return super().run(graph, inputs)
        self.y_hat = inputs["y_hat"]
        height, width = (16 * side for side in self.y_hat.shape[2:])
        return [np.zeros((height, width, 3), np.uint8)]


def digest(y_hat: NDArray[np.float32]) -> str:
    """SHA-256 of latents as little-endian int32 with 12 fraction bits, in (channel, row, column) order."""
    return hashlib.sha256(np.rint(y_hat.astype(np.float64) * 4096).astype("<i4").tobytes()).hexdigest()


def write_bundle(directory: Path) -> Bundle:
    """The entropy path of the golden network as a bundle without transforms."""
    arrays = dict(np.load(DIRECTORY / _NETWORK))
    expected = json.loads((DIRECTORY / _LATENTS).read_text())
    tables = {name: value for name, value in arrays.items() if not name.startswith("network.")}
    network = IntegerNetwork.from_parameters({n: v for n, v in arrays.items() if n.startswith("network.")})
    directory.mkdir()
    writer = BundleWriter(directory)
    add_exact_entropy(writer, network)
    finish(writer, _model(expected["model"]), tables, network)
    return Bundle.open(directory)


def _model(document: dict[str, Any]) -> Model:
    config = {key: tuple(value) if isinstance(value, list) else value for key, value in document["config"].items()}
    config["graphs"] = tuple(GraphAggregation(**graph) for graph in config["graphs"])
    return Model(document["fingerprint"], Config(**config))


def latents() -> dict[str, str]:
    """Name of each golden file, or tile of one as `file:number`, and the digest of the latents that it holds."""
    files: dict[str, str] = json.loads((DIRECTORY / _LATENTS).read_text())["files"]
    return files


def read(name: str) -> bytes:
    """A golden file, or the file of a picture that is coded as a tile is."""
    file_name, _, tile = name.partition(":")
    data = (DIRECTORY / file_name).read_bytes()
    if not tile:
        return data
    file, index = tiles.parse(data), int(tile)
    box = file.grid.box(index)
    header = dataclasses.replace(file.header, width=box.width, height=box.height, tiled=False)
    return container.pack(header, file.payload(index), file.symbol_checksum(index))


def _smallest(values: NDArray[np.int64]) -> NDArray[Any]:
    for dtype in (np.int8, np.int16, np.int32):
        if np.iinfo(dtype).min <= values.min() and values.max() <= np.iinfo(dtype).max:
            return values.astype(dtype)
    return values


def _make() -> None:
    from export.assembly import entropy_tables
    from export.checkpoint import load_checkpoint
    from export.to_onnx import export_bundle
    from glic_deploy.image import load_image

    checkpoint = load_checkpoint(SAMPLE_CHECKPOINT)
    network = build(checkpoint)
    parameters = {name: _smallest(value) for name, value in network.parameters().items()}
    DIRECTORY.mkdir(exist_ok=True)
    np.savez_compressed(DIRECTORY / _NETWORK, allow_pickle=False, **entropy_tables(checkpoint), **parameters)
    photo, ramp = load_image(PHOTOS / "kodim23.png"), np.zeros((130, 70, 3), np.uint8)
    ramp[:, 10:50] = np.arange(40)[:, None] * 6
    pictures = {"photo.glic": photo[200:500, 100:300], "ramp.glic": ramp, "pixel.glic": photo[:1, :1]}
    with tempfile.TemporaryDirectory() as temporary:
        engine = Path(temporary) / "engine"
        export_bundle(checkpoint, engine, tables="gaussian", exchange=None)
        model = Bundle.open(engine).manifest.model.as_dict()
        with Codec(engine) as codec:
            for name, picture in pictures.items():
                (DIRECTORY / name).write_bytes(codec.encode(picture))
            (DIRECTORY / "tiled.glic").write_bytes(codec.encode(photo[200:380, 100:500], tile=256))
        document: dict[str, Any] = {"model": model, "files": {}}
        backend = LatentsOnly(Bundle.open(engine))
        with Codec(engine, backend=backend) as codec:
            for name in (*pictures, "tiled.glic:0", "tiled.glic:1"):
                codec.decode(read(name))
                document["files"][name] = digest(backend.y_hat)
    (DIRECTORY / _LATENTS).write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    _make()
