"""Writes web bundles: what a browser needs of an engine bundle, in forms that JavaScript reads (docs/web.md).

Graphs are rewritten for onnxruntime-web (web_graphs.py). Their constants are gathered in one file for the decoder and
one for the encoder. The float32 constants of the transforms stand first in a file. They are
stored as float16 if this costs next to nothing, and the browser makes them float32 again.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import __version__
from .backends.noise import NOISE_LIMIT, noise_db, trial_image
from .bundle import BASE, PREVIEW, Bundle, external_files
from .errors import EngineError
from .files import atomic_directory
from .web_graphs import optimized, with_exact_gelu

FORMAT = 1
MANIFEST = "web.json"
TABLES, CONFORMANCE = "tables.bin", "conformance.bin"
DECODER, ENCODER = "decoder.bin", "encoder.bin"
ENCODER_GRAPHS = ("analysis", "hyper_analysis")

LATENT_LOSS_LIMIT = 0.02
"""In dB of the latents' error at encoding, which rounding to integers makes: what float16 in the encoder may cost."""

_ALIGNMENT = 16
_LEAST_MOVED = 1024  # bytes of a constant; smaller ones stay in the graph
_ROUNDING_ERROR = 1 / 12  # the variance of rounding to integers


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        files: the bytes of each file.
        decoder: the bytes of all files that a decoder fetches.
        noise: the noise of decoding with float16 constants and approximated GELU, in dB (see
            `glic_deploy.backends.noise`); None if no transform was there to try.
        latent_loss: the loss of encoding with them, in dB; None without the encoder.
        half: for each file of constants, whether those of the transforms are float16, and their GELU approximated.
    """

    files: Mapping[str, int]
    decoder: int
    noise: float | None
    latent_loss: float | None
    half: Mapping[str, bool]


@dataclass
class _Constants:
    """The constants of several graphs, each stored once: first those that float16 may hold, then all others."""

    floats: list[bytes] = field(default_factory=list)
    others: list[bytes] = field(default_factory=list)
    places: dict[tuple[bool, bytes], int] = field(default_factory=dict)
    sizes: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})

    def add(self, content: bytes, is_float: bool) -> int:
        """Return the offset of a constant among those of its kind."""
        key = is_float, hashlib.sha256(content).digest()
        if key not in self.places:
            self.places[key] = self.sizes[is_float]
            padded = content + bytes(-len(content) % _ALIGNMENT)
            (self.floats if is_float else self.others).append(padded)
            self.sizes[is_float] += len(padded)
        return self.places[key]

    def rounded(self) -> bytes:
        """Return the file as the graphs read it, after a detour over float16."""
        floats = np.frombuffer(b"".join(self.floats), "<f4").astype("<f2").astype("<f4")
        return floats.tobytes() + b"".join(self.others)

    def stored(self, half: bool) -> bytes:
        """Return the file as it is stored."""
        floats = b"".join(self.floats)
        if half:
            floats = np.frombuffer(floats, "<f4").astype("<f2").tobytes()
        return floats + b"".join(self.others)

    @property
    def fit_half(self) -> bool:
        """Whether float16 holds every float32 constant without overflow."""
        values = np.frombuffer(b"".join(self.floats), "<f4")
        return bool(np.abs(values).max(initial=0) <= np.finfo(np.float16).max)


def write(engine: str | Path, output: str | Path, *, encoder: bool = False) -> Written:
    """Write the web bundle of an engine bundle to the directory `output`, completely or not at all.

    A web bundle that this function wrote before is replaced.

    Args:
        engine: path of the bundle.
        output: path of the web bundle.
        encoder: whether to include the graphs of the encoder.

    Raises EngineError if `output` exists and is no web bundle, if the bundle cannot be opened, or if a package is
    missing.
    """
    bundle, output = Bundle.open(engine), Path(output)
    if problem := _why_not_replaced(output):
        raise EngineError(f"{output} {problem}, so it is not replaced; name another directory: --output DIR")
    present = [name for name in bundle.graphs() if bundle.has_form(name, BASE)]
    groups = {DECODER: [name for name in present if name not in ENCODER_GRAPHS]}
    if encoder:
        groups[ENCODER] = list(ENCODER_GRAPHS)
    with atomic_directory(output) as directory:
        (directory / "graphs").mkdir()
        constants = {file: _write_graphs(bundle, names, file, directory) for file, names in groups.items()}
        trial = _Trial(bundle, directory, constants)
        noise, loss = trial.noise(), trial.latent_loss()
        half = {
            DECODER: noise is not None and noise >= NOISE_LIMIT,
            ENCODER: loss is not None and loss <= LATENT_LOSS_LIMIT,
        }
        for file, content in constants.items():
            (directory / file).write_bytes(content.stored(half[file]))
            for name in groups[file] if not half[file] else ():
                graph = directory / _graph_file(name)
                graph.write_bytes(with_exact_gelu(graph.read_bytes()))
        arrays = {TABLES: _write_arrays(directory / TABLES, _ragged(bundle.tables()))}
        if bundle.exact:
            arrays[CONFORMANCE] = _write_arrays(directory / CONFORMANCE, bundle.conformance())
        weights = {file: {"half": half[file] * content.sizes[True] // 2} for file, content in constants.items()}
        document = _manifest(bundle, groups, arrays, weights, directory)
        (directory / MANIFEST).write_text(json.dumps(document, indent=1) + "\n")
        sizes = {path.relative_to(directory).as_posix(): path.stat().st_size for path in _files(directory)}
    of_encoder = {ENCODER, *(_graph_file(name) for name in ENCODER_GRAPHS)}
    decoder = sum(size for name, size in sizes.items() if name not in of_encoder)
    return Written(sizes, decoder, noise, loss, {file: half[file] for file in constants})


def _why_not_replaced(output: Path) -> str | None:
    if not output.exists() or (output.is_dir() and ((output / MANIFEST).is_file() or not any(output.iterdir()))):
        return None
    return "exists and is no web bundle"


def entry_of(path: Path) -> dict[str, Any]:
    """Return the entry of a file in the manifest."""
    return {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _graph_file(name: str) -> str:
    return f"graphs/{name}.onnx"


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _write_graphs(bundle: Bundle, names: Iterable[str], file: str, directory: Path) -> _Constants:
    """Write optimized graphs whose constants lie in `file`, and return the constants."""
    try:
        from onnx import TensorProto
        from onnx.external_data_helper import set_external_data
    except ImportError as error:
        raise EngineError(f"web bundles need the package {error.name}: pip install 'glic-deploy[export]'") from error
    constants = _Constants()
    graphs: dict[str, Any] = {}
    for name in names:
        transform = name in bundle.transforms()
        model = optimized(bundle.graph(name, (BASE,)), transform=transform)
        moved = []
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) >= _LEAST_MOVED:
                is_float = transform and tensor.data_type == TensorProto.FLOAT
                moved.append((tensor, is_float, constants.add(tensor.raw_data, is_float), len(tensor.raw_data)))
        graphs[name] = model, moved
    for name, (model, moved) in graphs.items():
        for tensor, is_float, offset, length in moved:
            place = offset if is_float else constants.sizes[True] + offset
            set_external_data(tensor, file, place, length)
            tensor.ClearField("raw_data")
        content = model.SerializeToString()
        if external_files(content) - {file}:
            raise EngineError(
                f"graph {name} of {bundle.path} has constants in places that web bundles do not support; export the "
                "checkpoint again with this glic-deploy"
            )
        (directory / _graph_file(name)).write_bytes(content)
    return constants


class _Trial:
    """Compares the transforms of a bundle with those that were written, with float16 constants, on one image."""

    def __init__(self, bundle: Bundle, directory: Path, constants: Mapping[str, _Constants]) -> None:
        self._bundle, self._directory, self._constants = bundle, directory, constants

    def noise(self) -> float | None:
        """Return the noise of the least of synthesis and preview in dB; None if float16 is out of the question."""
        graphs = [name for name in ("synthesis", PREVIEW) if (self._directory / _graph_file(name)).is_file()]
        if not graphs or not self._constants[DECODER].fit_half or not self._bundle.has_form("analysis", BASE):
            return None
        [latents] = self._exact(["analysis"], {"image": trial_image()})
        y_hat = {"y_hat": np.round(latents)}
        exact, rounded = self._exact(graphs, y_hat), self._rounded(graphs, DECODER, y_hat)
        return min(noise_db(one, other) for one, other in zip(exact, rounded, strict=True))

    def latent_loss(self) -> float | None:
        """Return what the latents lose against rounding them in dB; None if float16 is out of the question."""
        if ENCODER not in self._constants or not self._constants[ENCODER].fit_half:
            return None
        image = {"image": trial_image()}
        [exact], [rounded] = self._exact(["analysis"], image), self._rounded(["analysis"], ENCODER, image)
        added = float(np.square(exact - rounded, dtype=np.float64).mean())
        return 10 * math.log10(1 + added / _ROUNDING_ERROR)

    def _exact(self, graphs: Sequence[str], inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run graphs of the bundle, and return the first output of each."""
        from .backends.onnxruntime import OnnxRuntimeBackend

        backend = OnnxRuntimeBackend(self._bundle)
        try:
            return [backend.run(name, inputs)[0] for name in graphs]
        finally:
            backend.close()

    def _rounded(self, graphs: Sequence[str], file: str, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run graphs as they were written, with float16 constants, and return the first output of each."""
        from onnxruntime import InferenceSession

        from .backends.onnxruntime import session_options

        with tempfile.TemporaryDirectory(prefix="glic-web-") as folder:
            Path(folder, file).write_bytes(self._constants[file].rounded())
            options = session_options(0)
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
            found = []
            for name in graphs:
                model = (self._directory / _graph_file(name)).read_bytes()
                session = InferenceSession(model, options, providers=["CPUExecutionProvider"])
                found.append(session.run(None, dict(inputs))[0])
            return found


def _ragged(tables: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return tables whose rows follow each other without padding."""
    ragged = dict(tables)
    for latent in "yz":
        rows = zip(tables[f"{latent}_cdfs"], tables[f"{latent}_lengths"], strict=True)
        ragged[f"{latent}_cdfs"] = np.concatenate([row[:length] for row, length in rows])
    return ragged


def _write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> dict[str, dict[str, Any]]:
    """Write little-endian arrays one after the other, and return their places."""
    places: dict[str, dict[str, Any]] = {}
    content = bytearray()
    for name, array in arrays.items():
        content += bytes(-len(content) % _ALIGNMENT)
        places[name] = {"dtype": array.dtype.name, "shape": list(array.shape), "offset": len(content)}
        content += array.astype(array.dtype.newbyteorder("<")).tobytes()
    path.write_bytes(content)
    return places


def _widened(port: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest's entry of an input or an output after `_widen`."""
    return {**port, "dtype": "int32" if port["dtype"] == "int16" else port["dtype"]}


def _manifest(
    bundle: Bundle,
    groups: Mapping[str, Sequence[str]],
    arrays: Mapping[str, Any],
    weights: Mapping[str, Any],
    directory: Path,
) -> dict[str, Any]:
    described = bundle.manifest.as_dict()
    graphs = {
        name: {"role": described["graphs"][name]["role"], "file": _graph_file(name), "weights": file}
        | {way: [_widened(port) for port in described["graphs"][name][way]] for way in ("inputs", "outputs")}
        for file, names in groups.items()
        for name in names
    }
    files = {path.relative_to(directory).as_posix(): entry_of(path) for path in _files(directory)}
    return {
        "format": FORMAT,
        "generator": f"glic-deploy {__version__}",
        "model": described["model"],
        "arithmetic": described["arithmetic"],
        "graphs": graphs,
        "arrays": arrays,
        "weights": weights,
        "files": files,
    }
