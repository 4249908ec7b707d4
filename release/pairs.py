"""Code images with every form of a bundle's entropy path on this machine, for the matrix of `make arm64-check`.

`encode` writes a file for each form and image, and `decode` decodes all files of a folder with every form. Both write a
digest of every CDF index and every mean that the entropy path computes, in order. The program needs glic_deploy and
onnxruntime alone, so that it also runs where the export cannot.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glic_deploy import Codec
from glic_deploy.backends import Backend
from glic_deploy.backends.onnxruntime import OnnxRuntimeBackend
from glic_deploy.bundle import Bundle
from glic_deploy.image import load_image

_FORMS = ("base", "integer", "native")
_TRANSFORMS = ("analysis", "hyper_analysis", "synthesis")


class Recording(Backend):
    """Run a bundle with one form of the entropy path, and keep a digest of the indexes and means that it computes."""

    name = OnnxRuntimeBackend.name

    def __init__(self, entropy: Backend, transforms: Backend) -> None:
        self._entropy, self._transforms = entropy, transforms
        self._sha256 = hashlib.sha256()

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        if graph == "synthesis":  # pixels are not compared, and would take most of the time
            height, width = (16 * side for side in inputs["y_hat"].shape[2:])
            return [np.zeros((height, width, 3), np.uint8)]
        if graph in _TRANSFORMS:
            return self._transforms.run(graph, inputs)
        outputs = self._entropy.run(graph, inputs)
        if graph.startswith("slice"):
            indexes, means = outputs[:2]
            self._sha256.update(indexes.astype(np.uint8).tobytes())
            self._sha256.update(means.astype("<f4").tobytes())
        return outputs

    def digest(self) -> str:
        """Return the digest since the last call."""
        digest, self._sha256 = self._sha256.hexdigest(), hashlib.sha256()
        return digest

    def describe(self) -> dict[str, Any]:
        return self._entropy.describe()

    def close(self) -> None:
        self._entropy.close()


def codecs(path: Path) -> Iterator[tuple[str, Recording, Codec]]:
    """Yield a codec, its backend and its name for each form of the bundle's entropy path."""
    bundle = Bundle.open(path)
    transforms = OnnxRuntimeBackend(bundle)
    for form in _FORMS:
        if bundle.has_form("hyper_synthesis", form):
            backend = Recording(OnnxRuntimeBackend(bundle, forms=(form,)), transforms)
            with Codec(path, backend=backend) as codec:
                backend.digest()  # of the conformance check
                yield f"{platform.machine()} {form}", backend, codec


def encode(bundle: Path, images: list[Path], crop: int, output: Path) -> None:
    """Write a file for each form and image, and `encoders.json`: the digest of each file's encoder."""
    output.mkdir(parents=True, exist_ok=True)
    digests: dict[str, str] = {}
    for name, backend, codec in codecs(bundle):
        for image in images:
            start = time.perf_counter()
            file = f"{name.replace(' ', '-')}-{image.stem}.glic"
            (output / file).write_bytes(codec.encode(load_image(image)[:crop, :crop]))
            digests[file] = backend.digest()
            print(f"{name:16} encodes {image.name} in {time.perf_counter() - start:.1f} s", flush=True)
    (output / f"encoders-{platform.machine()}.json").write_text(json.dumps(digests))


def decode(bundle: Path, folder: Path) -> None:
    """Decode all files of a folder with every form, and write the digest of each pair."""
    digests: dict[str, dict[str, str]] = {}
    for name, backend, codec in codecs(bundle):
        digests[name] = {}
        start = time.perf_counter()
        for file in sorted(folder.glob("*.glic")):
            codec.decode(file.read_bytes())
            digests[name][file.name] = backend.digest()
        print(f"{name:16} decodes {len(digests[name])} files in {time.perf_counter() - start:.1f} s", flush=True)
    (folder / f"decoders-{platform.machine()}.json").write_text(json.dumps(digests))


def matrix(folder: Path) -> dict[tuple[str, str], tuple[int, int]]:
    """Return, for each encoder and decoder, the number of files and of those whose decoder computed the same."""
    encoders: dict[str, str] = {}
    decoders: dict[str, dict[str, str]] = {}
    for path in sorted(folder.glob("encoders-*.json")):
        encoders |= json.loads(path.read_text())
    for path in sorted(folder.glob("decoders-*.json")):
        decoders |= json.loads(path.read_text())
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for file, expected in encoders.items():
        machine, form, _ = file.split("-", 2)
        for decoder, digests in decoders.items():
            files, equal = counts.get((f"{machine} {form}", decoder), (0, 0))
            counts[f"{machine} {form}", decoder] = (files + 1, equal + (digests.get(file) == expected))
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("encode", "decode"))
    parser.add_argument("images", type=Path, nargs="*")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--crop", type=int, default=256, help="side of the upper left part that is coded")
    parser.add_argument("--folder", type=Path, required=True, help="of the files")
    args = parser.parse_args()
    if args.command == "encode":
        encode(args.bundle, args.images, args.crop, args.folder)
    else:
        decode(args.bundle, args.folder)


if __name__ == "__main__":
    main()
