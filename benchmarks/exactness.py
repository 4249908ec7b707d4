"""Check each pair of encoder and decoder among the configurations of the exact entropy path: `make exactness`.

Each encoder computes the symbols of images in its own configuration, including its floating-point analysis transform.
Each decoder then reads the symbols pass by pass, and must compute the encoder's CDF indexes and means, bit for bit. The
output is a row for each encoder, then cost and speed beside the float entropy path, and at last a JSON object that
counts the pairs of all networks. Rows from another platform, with the same options, are comparable.

`make exactness FULL=C.pth` adds the pairs of a checkpoint of full size, on two images. `--rows PATTERN` runs the
configurations alone whose names contain a match of a regular expression: `--rows 'native|Chromium'`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import platform
import re
import tempfile
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export import assembly, integer
from export.bundle import BundleWriter
from export.checkpoint import Checkpoint, load_checkpoint
from export.graphs import entropy_graphs, transform_graphs
from export.integer.reference import oracle_backend, torch_backend
from export.native import for_kernels
from export.tracing import trace
from glic_deploy import machine
from glic_deploy.backends.base import Backend, Precision
from glic_deploy.backends.onnxruntime import OnnxRuntimeBackend, custom_ops_library
from glic_deploy.bundle import Bundle
from glic_deploy.entropy.passes import Pass, pack, quantize, walk
from glic_deploy.entropy.rans import CdfTables, Encoder
from glic_deploy.errors import EngineError
from glic_deploy.image import load_image, pad
from glic_deploy.metrics import psnr
from glic_deploy.values import Value

Array = NDArray[Any]
Latents = dict[int, tuple[Array, Array]]

_ROOT = Path(__file__).resolve().parent.parent
_THREADS = (1, 2)
_TIMED_ROUNDS = 5
_FULL_SIZE_IMAGES = 2


@dataclass(frozen=True)
class Configuration:
    """Describe one way to run the entropy path.

    Attributes:
        name: name of the row.
        backend: backend of the entropy path.
        transforms: backend of the analysis transform; several configurations may share it.
    """

    name: str
    backend: Backend
    transforms: Backend


@dataclass(frozen=True)
class Coded:
    """Hold an encoder's results: the symbols of z, the symbols, indexes and means of each pass, and y_hat."""

    z_symbols: Array
    passes: list[tuple[Array, Array, Array]]
    y_hat: Array

    def digest(self) -> bytes:
        arrays = [self.z_symbols, *(array for coded in self.passes for array in coded)]
        return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).digest()


def bundle(checkpoint: Checkpoint, directory: Path, network: integer.IntegerNetwork | None) -> Bundle:
    """Write and open a bundle with every lowering of the network, or with the float entropy path for None."""
    directory.mkdir(parents=True)
    writer = BundleWriter(directory)
    if network is not None:
        assembly.add_traced_graphs(writer, transform_graphs(checkpoint))
        assembly.add_exact_entropy(writer, network)
    else:  # also native forms, which exported float bundles lack, so that the comparison of times is fair
        for spec in entropy_graphs(checkpoint):
            model = trace(spec, spec.build().eval())
            writer.add_graph(spec.name, "base", model)
            writer.add_graph(spec.name, "native", for_kernels(model))
    assembly.finish(writer, assembly.model_of(checkpoint), assembly.entropy_tables(checkpoint), network)
    return Bundle.open(directory)


def on_gpu(exact: Bundle) -> list[Configuration]:
    """Return the configuration on a GPU, or none if there is no GPU."""
    from glic_deploy.backends.onnxruntime_cuda import OnnxRuntimeCudaBackend

    try:
        backend = OnnxRuntimeCudaBackend(exact)
        backend.run("hyper_synthesis", {"z_symbols": np.zeros((1, exact.hyper, 2, 2), np.int16)})
    except EngineError as error:
        print(f"without a GPU: {error}")
        return []
    return [Configuration("onnxruntime on a GPU", backend, backend)]


def on_openvino(exact: Bundle) -> list[Configuration]:
    """Return the configurations on OpenVINO, one for each precision of the transforms, or none if it is not installed.

    A CPU without bfloat16 emulates it, some fifteen times slower. There, one analysis serves all thread counts.
    """
    if importlib.util.find_spec("openvino") is None:
        return []
    from glic_deploy.backends.openvino import OpenVinoBackend

    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    found = []
    try:
        for precision in precisions:
            backends = {n: OpenVinoBackend(exact, n, precision=precision, emulate=True) for n in _THREADS}
            emulated = precision == "bf16" and not machine.has_bfloat16()
            for threads, backend in backends.items():
                transforms = backends[max(_THREADS)] if emulated else backend
                found.append(Configuration(f"OpenVINO {precision}, threads {threads}", backend, transforms))
    except EngineError as error:
        print(f"without OpenVINO: {error}")
    return found


def on_onnxruntime(exact: Bundle) -> list[Configuration]:
    """Return the configurations on onnxruntime: every lowering with several thread counts and optimisation levels.

    Lowerings with the same threads and optimisation share the backend of the transforms.
    """
    options = [(threads, optimize) for threads in _THREADS for optimize in (False, True)]
    transforms = [OnnxRuntimeBackend(exact, threads, optimize=optimize) for threads, optimize in options]
    return [
        Configuration(
            f"onnxruntime {lowering}, threads {threads}, optimisation {'all' if optimize else 'off'}",
            OnnxRuntimeBackend(exact, threads, forms=(lowering,), optimize=optimize),
            backend,
        )
        for lowering in integer.LOWERINGS
        if lowering != "native" or custom_ops_library()
        for (threads, optimize), backend in zip(options, transforms, strict=True)
    ]


def on_chromium(exact: Bundle) -> list[Configuration]:
    """Return the configurations in a browser, with their own analysis, or none if Chromium or web/dist is missing."""
    from .chromium import ChromiumBackend

    try:
        backends = {threads: ChromiumBackend(exact, threads) for threads in _THREADS}
    except EngineError as error:
        print(f"without Chromium: {error}")
        return []
    return [
        Configuration(f"onnxruntime-web in Chromium, threads {threads}", backend, backend)
        for threads, backend in backends.items()
    ]


def configurations(network: integer.IntegerNetwork, exact: Bundle, transforms: Backend) -> list[Configuration]:
    """Return all configurations: the rows and columns of the matrix.

    transforms: backend of the transforms for configurations that have no transforms of their own.
    """
    return [
        *on_onnxruntime(exact),
        *on_openvino(exact),
        *on_gpu(exact),
        *on_chromium(exact),
        Configuration("PyTorch, integers in float32", torch_backend(network), transforms),
        Configuration("NumPy oracle", oracle_backend(network), transforms),
    ]


def encode(groups: tuple[int, ...], backend: Backend, y: Array, z_symbols: Array) -> Coded:
    passes: list[tuple[Array, Array, Array]] = []

    def step(part: Pass, indexes: Array, means: Value) -> Array:
        symbols = quantize(pack(y[:, part.start : part.stop], part.parity), np.asarray(means))
        passes.append((symbols, indexes, np.asarray(means)))
        return symbols

    y_hat = walk(groups, lambda graph, **inputs: backend.start(graph, inputs), z_symbols, step)
    return Coded(z_symbols, passes, np.asarray(y_hat))


def decodes(groups: tuple[int, ...], backend: Backend, coded: Coded) -> bool:
    """Check whether a decoder computes the encoder's indexes, means and y_hat."""
    given = iter(coded.passes)
    same = True

    def step(part: Pass, indexes: Array, means: Value) -> Array:
        nonlocal same
        symbols, their_indexes, their_means = next(given)
        same &= np.array_equal(indexes, their_indexes) and np.array_equal(np.asarray(means), their_means)
        return symbols

    y_hat = walk(groups, lambda graph, **inputs: backend.start(graph, inputs), coded.z_symbols, step)
    return same and np.array_equal(y_hat, coded.y_hat)


def analyse(pool: Executor, matrix: list[Configuration], image: Array) -> Latents:
    """Compute y and the symbols of z with every analysis backend, by the backend's `id`."""
    backends = {id(row.transforms): row.transforms for row in matrix}
    return dict(zip(backends, pool.map(lambda backend: _latents(backend, image), backends.values()), strict=True))


def encode_all(pool: Executor, groups: tuple[int, ...], matrix: list[Configuration], latents: Latents) -> list[Coded]:
    """Encode the latents of each row with the row's own backend."""
    return list(pool.map(lambda row: encode(groups, row.backend, *latents[id(row.transforms)]), matrix))


def decode_distinct(
    pool: Executor, groups: tuple[int, ...], matrix: list[Configuration], coded: list[Coded]
) -> dict[bytes, int]:
    """Count the rows that decode each distinct encoding, by its digest; equal encodings are decoded only once."""
    return {
        digest: sum(pool.map(lambda row, coding=coding: decodes(groups, row.backend, coding), matrix))
        for digest, coding in {coding.digest(): coding for coding in coded}.items()
    }


def file_bits(tables: dict[str, Array], coded: Coded) -> int:
    """Return the bits of the range-coded passes of y. The bits of z are equal in both entropy paths."""
    rows = CdfTables(tables["y_cdfs"], tables["y_lengths"], tables["y_offsets"])
    encoder = Encoder()
    for symbols, indexes, _ in coded.passes:
        encoder.push(rows, symbols, indexes)
    return 8 * len(encoder.finish())


def quality(image: Array, backend: Backend, y_hat: Array) -> float:
    """Return the PSNR in dB of the image that a backend synthesises from y_hat."""
    height, width = image.shape[:2]
    decibels = psnr(image, backend.run("synthesis", {"y_hat": y_hat})[0][:height, :width])
    return float("inf") if decibels is None else decibels


def measure_speedup(groups: tuple[int, ...], exact: Backend, floating: Backend, y: Array, z_symbols: Array) -> float:
    """Return the time of the float entropy path over that of the exact one: the best rounds of both, in turns."""
    best = {id(exact): float("inf"), id(floating): float("inf")}
    for _ in range(_TIMED_ROUNDS):
        for backend in (exact, floating):
            start = time.perf_counter()
            encode(groups, backend, y, z_symbols)
            best[id(backend)] = min(best[id(backend)], time.perf_counter() - start)
    return best[id(floating)] / best[id(exact)]


@dataclass(frozen=True)
class Result:
    """Hold the numbers of one network in the last line; rate and PSNR are means over the images."""

    pairs: int
    identical: int
    rate_percent: float
    psnr_delta_db: float
    entropy_speedup: float


def run(checkpoint: Checkpoint, paths: list[Path], directory: Path, rows: str) -> Result:
    """Run the matrix of one network; print a line for each image, and then the rows."""
    network = integer.build(checkpoint)
    exact, floating = bundle(checkpoint, directory / "exact", network), bundle(checkpoint, directory / "float", None)
    groups, tables = exact.groups, exact.tables()
    float_backend, exact_backend = OnnxRuntimeBackend(floating, 1), OnnxRuntimeBackend(exact, 1)
    matrix = [row for row in configurations(network, exact, exact_backend) if re.search(rows, row.name)]
    identical = {encoder.name: 0 for encoder in matrix}
    rates, psnr_deltas = [], []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # most rows run on one thread
        for number, path in enumerate(paths, 1):
            start = time.perf_counter()
            image = load_image(path)
            latents = analyse(pool, matrix, image)
            coded = encode_all(pool, groups, matrix, latents)
            decoded = decode_distinct(pool, groups, matrix, coded)
            for encoder, coding in zip(matrix, coded, strict=True):
                identical[encoder.name] += decoded[coding.digest()]
            y, z_symbols = _latents(exact_backend, image)
            ours = encode(groups, exact_backend, y, z_symbols)
            theirs = encode(groups, float_backend, y, z_symbols)
            rates.append(100 * (file_bits(tables, ours) / file_bits(tables, theirs) - 1))
            psnr_deltas.append(quality(image, exact_backend, ours.y_hat) - quality(image, exact_backend, theirs.y_hat))
            print(
                f"{number:3}/{len(paths)} {path.name}: {len(decoded)} distinct encodings, "
                f"rate {rates[-1]:+.3f} %, PSNR {psnr_deltas[-1]:+.4f} dB, {time.perf_counter() - start:.0f} s",
                flush=True,
            )
    possible = len(matrix) * len(paths)
    print(f"\n{platform.machine()}, {platform.system()}: encoder, and decodings equal in every bit")
    for encoder in matrix:
        print(f"{encoder.name:55} {identical[encoder.name]:5} of {possible}")
    speedup = measure_speedup(groups, exact_backend, float_backend, y, z_symbols)
    for backend in (float_backend, *(backend for row in matrix for backend in (row.backend, row.transforms))):
        backend.close()
    return Result(
        pairs=possible * len(matrix),
        identical=sum(identical.values()),
        rate_percent=round(float(np.mean(rates)), 4),
        psnr_delta_db=round(float(np.mean(psnr_deltas)), 4),
        entropy_speedup=round(speedup, 2),
    )


def summary(network: Result, full_size: Result | None) -> dict[str, Any]:
    """Return the last line: the pairs of both networks, and the other numbers of the first, which is trained."""
    if full_size is None:
        return asdict(network)
    return asdict(network) | {
        "pairs": network.pairs + full_size.pairs,
        "identical": network.identical + full_size.identical,
        "full_size": asdict(full_size),
    }


def _latents(backend: Backend, image: Array) -> tuple[Array, Array]:
    y = backend.run("analysis", {"image": pad(image)})[0]
    return y, backend.run("hyper_analysis", {"y": y})[0]


def _images(directory: Path | None) -> list[Path]:
    """Return the images of a directory; for None, those of the Kodak set if it is installed, or the samples."""
    kodak = Path(os.environ.get("GLIC_TEST_DATA", _ROOT.parent / "shared")) / "data" / "kodak"
    chosen = directory or (kodak if kodak.is_dir() else _ROOT / "samples" / "photos")
    return sorted(path for path in chosen.iterdir() if path.suffix.lower() in (".png", ".jpg", ".webp"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=_ROOT / "samples" / "glic_tiny.pth")
    parser.add_argument("--full", type=Path, help=f"a second checkpoint, run on {_FULL_SIZE_IMAGES} of the images")
    parser.add_argument("--images", type=Path, help="directory of images (default: Kodak, or the samples)")
    parser.add_argument("--limit", type=int, help="number of images to run (default: all)")
    parser.add_argument("--rows", default="", help="regular expression of the configurations to run (default: all)")
    args = parser.parse_args()
    paths = _images(args.images)[: args.limit]
    with tempfile.TemporaryDirectory() as directory:
        small, full = Path(directory) / "network", Path(directory) / "full_size"
        result = run(load_checkpoint(args.checkpoint), paths, small, args.rows)
        full_size = run(load_checkpoint(args.full), paths[:_FULL_SIZE_IMAGES], full, args.rows) if args.full else None
    print(json.dumps(summary(result, full_size)))


if __name__ == "__main__":
    main()
