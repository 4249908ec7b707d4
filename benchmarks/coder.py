"""Measure time and cost of the range coder, beside compressai's and constriction's, on the symbols of photos.

    python -m benchmarks.coder [--rounds 15] [--isa best|scalar|avx2|avx512|neon] [--against FOLDER]

The coders run on one core, from arrays to bytes and from bytes to arrays, over all ten passes of y of one image.

- Our tables are made before the clock starts, as in a codec.
- compressai's coder accepts Python lists. Making the lists of symbols counts, as it does for users; its tables are
  lists already.
- constriction codes the same symbols under its own quantised Gaussians of the same scales.

The coders take turns, round by round, each for about 30 ms. The time of a round is the mean over its calls. The columns
are the median over the rounds and the best round, in ns per symbol.

The second table shows our coder by the size of the stream and the number of lanes, on symbols of a photo that are
repeated up to that size. The columns are the best round in ns of CPU time per symbol, and the median over the rounds of
the ratio to the coder that chooses the lanes by size. With --against, the ratio is to another build of librans.so,
which chooses its lanes by itself; the builds take turns in each round.

The last line is a JSON object of the medians over all symbols, and of the cost over streams from 1 kB to 1 MB.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from timeit import timeit
from types import ModuleType
from typing import Any, Generic, TypeVar

import numpy as np
import pytest

from export.tables import SCALE_TABLE, GaussianTables, gaussian_tables
from glic_deploy.entropy import rans
from glic_deploy.entropy.rans import CdfTables, InstructionSet
from tests.conftest import DATA, large_data
from tests.oracles import compressai

TURN_SECONDS = 0.03
LANE_IMAGE = "kodim23"
LANE_SIZES = (2_000, 20_000, 200_000, 2_000_000)

Passes = list[tuple[np.ndarray, np.ndarray]]
Coded = TypeVar("Coded")  # a coder's own form of a stream


@dataclass(frozen=True)
class Coder(Generic[Coded]):
    """Describe a coder under test.

    Attributes:
        name: name in the table.
        encode: function from passes to the coder's own form of a stream.
        decode: function from a stream and the indexes of the passes to the symbols.
    """

    name: str
    encode: Callable[[Passes], Coded]
    decode: Callable[[Coded, list[np.ndarray]], list[np.ndarray]]


def ours(tables: CdfTables, isa: InstructionSet, lanes: int | None = None, build: ModuleType = rans) -> Coder[bytes]:
    """Return our coder. build: module of a build of the library, which must also have made `tables`."""

    def encode(passes: Passes) -> bytes:
        encoder = build.Encoder(isa=isa)
        for symbols, indexes in passes:
            encoder.push(tables, symbols, indexes)
        return encoder.finish(lanes=lanes)

    def decode(stream: bytes, indexes: list[np.ndarray]) -> list[np.ndarray]:
        decoder = build.Decoder(stream, isa=isa)
        symbols = [decoder.decode(tables, one) for one in indexes]
        decoder.finish()
        return symbols

    return Coder("ours", encode, decode)


def compressai_coder(tables: GaussianTables) -> Coder[list[bytes]]:
    """Return compressai's compiled coder, which writes one stream for each pass, as compressai's models do."""
    ans = compressai.load("ans")
    rows = tables.cdfs.tolist(), tables.lengths.tolist(), tables.offsets.tolist()

    def encode(passes: Passes) -> list[bytes]:
        encoder = ans.RansEncoder()
        return [encoder.encode_with_indexes(s.ravel().tolist(), i.ravel().tolist(), *rows) for s, i in passes]

    def decode(streams: list[bytes], indexes: list[np.ndarray]) -> list[np.ndarray]:
        decoder = ans.RansDecoder()
        lists = [
            decoder.decode_with_indexes(stream, one.ravel().tolist(), *rows)
            for stream, one in zip(streams, indexes, strict=True)
        ]
        return [np.array(symbols, np.int16).reshape(i.shape) for symbols, i in zip(lists, indexes, strict=True)]

    return Coder("compressai", encode, decode)


def constriction_coder() -> Coder[np.ndarray]:
    """Return constriction's stack coder. It encodes the passes backwards, since it decodes them last in, first out."""
    from constriction import stream

    family = stream.model.QuantizedGaussian(-2048, 2047)
    scales = SCALE_TABLE.astype(np.float64)

    def encode(passes: Passes) -> np.ndarray:
        coder = stream.stack.AnsCoder()
        for symbols, indexes in reversed(passes):
            sigma = scales[indexes.ravel()]
            coder.encode_reverse(symbols.ravel().astype(np.int32), family, np.zeros_like(sigma), sigma)
        return coder.get_compressed()

    def decode(words: np.ndarray, indexes: list[np.ndarray]) -> list[np.ndarray]:
        coder, decoded = stream.stack.AnsCoder(words), []
        for one in indexes:
            sigma = scales[one.ravel()]
            decoded.append(coder.decode(family, np.zeros_like(sigma), sigma).astype(np.int16).reshape(one.shape))
        return decoded

    return Coder("constriction", encode, decode)


def images() -> Iterator[tuple[str, Passes]]:
    """Yield the passes of y of the photos in the tests' data and, if they are installed, of the golden files."""
    photos = np.load(DATA / "rans" / "photos.npz")
    for name in sorted({key.split("_")[0] for key in photos}):
        yield name, [(photos[f"{name}_symbols{k}"], photos[f"{name}_indexes{k}"]) for k in range(10)]
    try:
        golden_files = sorted(large_data("golden").glob("*_*x*.npz"))
    except pytest.skip.Exception as reason:
        print(f"left out: golden files, {reason}")
        return
    for path in golden_files:
        golden = np.load(path)
        keys = [f"slice{k}_{parity}" for k in range(5) for parity in ("anchor", "nonanchor")]
        passes = [(golden[f"{key}_symbols"], golden[f"{key}_indexes"]) for key in keys]
        yield path.stem, [(symbols.astype(np.int16), indexes.astype(np.uint8)) for symbols, indexes in passes]


@dataclass
class Times:
    """Hold the seconds of each round."""

    encode: list[float]
    decode: list[float]


def race(coders: list[Coder[Any]], passes: Passes, rounds: int) -> tuple[dict[str, Times], dict[str, int]]:
    """Time the coders in turns, and return the times and the bytes of each. Raises AssertionError for wrong symbols."""
    times, sizes, calls = {}, {}, {}
    indexes = [i for _, i in passes]
    for coder in coders:
        coded = coder.encode(passes)
        if not all(np.array_equal(s, d) for (s, _), d in zip(passes, coder.decode(coded, indexes), strict=True)):
            raise AssertionError(f"{coder.name} decodes other symbols than it encoded")
        parts = coded if isinstance(coded, list) else [coded]
        sizes[coder.name] = sum(part.nbytes if isinstance(part, np.ndarray) else len(part) for part in parts)
        times[coder.name] = Times([], [])
        calls[coder.name] = 1 + int(TURN_SECONDS / timeit(lambda: coder.encode(passes), number=1))  # noqa: B023
    for coder in coders * rounds:
        number, coded = calls[coder.name], coder.encode(passes)
        times[coder.name].encode.append(timeit(lambda: coder.encode(passes), number=number) / number)  # noqa: B023
        times[coder.name].decode.append(timeit(lambda: coder.decode(coded, indexes), number=number) / number)  # noqa: B023
    return times, sizes


def overhead_excess(coder: Coder[Any], tables: CdfTables, passes: Passes) -> float:
    """Return the largest excess of bytes over 1.001 times the ideal bytes, over streams of 1 kB to 1 MB."""
    total = sum(s.size for s, _ in passes)
    bits_per_symbol = sum(tables.ideal_bits(*one) for one in passes) / total
    worst = -np.inf
    for size in np.geomspace(1_000, 1_000_000, 61):
        message = window(passes, int(size) % total, int(np.ceil(size * 8 / bits_per_symbol)))
        ideal = sum(tables.ideal_bits(*one) for one in message) / 8
        worst = max(worst, len(coder.encode(message)) - 1.001 * ideal)
    return worst


def other_build(folder: Path) -> ModuleType:
    """Return a second copy of the coder's module, which uses the librans.so of a folder."""
    spec = importlib.util.find_spec(rans.__name__)
    if spec is None or spec.loader is None:
        raise ImportError(f"{rans.__name__} not found")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    os.environ["GLIC_NATIVE"] = str(folder)
    try:
        module._library()  # loads the library now; the module keeps it
    finally:
        del os.environ["GLIC_NATIVE"]
    return module


def window(passes: Passes, start: int, count: int) -> Passes:
    """Return `count` symbols from position `start` on, in ten passes; the symbols of `passes` are repeated."""
    arrays = [np.concatenate([one[k].ravel() for one in passes]) for k in range(2)]
    arrays = [np.take(a, np.arange(start, start + count), mode="wrap") for a in arrays]
    return list(zip(*(np.array_split(a, 10) for a in arrays), strict=True))


def by_lanes(gaussian: GaussianTables, isa: InstructionSet, passes: Passes, rounds: int, against: Path | None) -> None:
    """Print the table of sizes and lanes."""
    tables = CdfTables(*gaussian)
    coders = {str(lanes): ours(tables, isa, lanes) for lanes in (32, 64, 128, 256)} | {"by size": ours(tables, isa)}
    reference = "by size"
    if against:
        build, reference = other_build(against), "other build"
        coders = {reference: ours(build.CdfTables(*gaussian), isa, build=build)} | coders
    bits_per_symbol = sum(tables.ideal_bits(*one) for one in passes) / sum(s.size for s, _ in passes)
    print(f"\n{'bytes':>9}{'lanes':>13}{'overhead':>10}{'encode':>8}{'ratio':>7}{'decode':>8}{'ratio':>7}")
    for size in LANE_SIZES:
        count = int(size * 8 / bits_per_symbol)
        message = window(passes, 0, count)
        indexes, ideal = [i for _, i in message], sum(tables.ideal_bits(*one) for one in message) / 8
        streams = {name: coder.encode(message) for name, coder in coders.items()}
        calls = 1 + int(TURN_SECONDS / timeit(lambda: coders[reference].encode(message), number=1))  # noqa: B023
        times = {name: Times([], []) for name in coders}
        for _ in range(rounds):
            for name in random.sample(list(coders), len(coders)):
                coder, stream = coders[name], streams[name]
                for seconds, call in (
                    (times[name].encode, lambda: coder.encode(message)),  # noqa: B023
                    (times[name].decode, lambda: coder.decode(stream, indexes)),  # noqa: B023
                ):
                    seconds.append(timeit(call, number=calls, timer=time.thread_time) / calls)
        for name, one in times.items():
            cells = ""
            for own, others in ((one.encode, times[reference].encode), (one.decode, times[reference].decode)):
                ratio = median(a / b for a, b in zip(own, others, strict=True))
                cells += f"{1e9 * min(own) / count:>8.2f}{ratio:>7.3f}"
            print(f"{size:>9}{name:>13}{len(streams[name]) - ideal:>10.1f}{cells}")


def available(make: Callable[[], Coder[Any]]) -> Iterator[Coder[Any]]:
    try:
        yield make()
    except (compressai.OracleMissingError, ImportError) as error:
        print(f"left out: {error}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--isa", choices=[isa.name.lower() for isa in InstructionSet], default="best")
    parser.add_argument("--against", type=Path, help="folder with another build of librans.so")
    options = parser.parse_args()
    gaussian = gaussian_tables()
    tables = CdfTables(*gaussian)
    our_coder = ours(tables, InstructionSet[options.isa.upper()])
    others: list[Callable[[], Coder[Any]]] = [lambda: compressai_coder(gaussian), constriction_coder]
    coders = [our_coder, *itertools.chain.from_iterable(map(available, others))]

    print(f"{'image':<24}{'symbols':>9}{'coder':>14}{'bytes':>9}{'encode':>9}{'best':>8}{'decode':>9}{'best':>8}")
    totals = {coder.name: [0.0, 0.0] for coder in coders}
    total_symbols, excess = 0, -np.inf
    for image, passes in images():
        count = sum(s.size for s, _ in passes)
        ideal = sum(tables.ideal_bits(*one) for one in passes) / 8
        times, sizes = race(coders, passes, options.rounds)
        total_symbols += count
        for name, one in times.items():
            values = [f(t) for t in (one.encode, one.decode) for f in (median, min)]
            cells = "".join(f"{1e9 * v / count:>{w}.2f}" for v, w in zip(values, (9, 8, 9, 8), strict=True))
            print(f"{image:<24}{count:>9}{name:>14}{sizes[name]:>9}{cells}")
            totals[name][0] += values[0]
            totals[name][1] += values[2]
        print(f"{image:<24}{count:>9}{'ideal':>14}{ideal:>9.0f}")
        excess = max(excess, overhead_excess(our_coder, tables, passes))

    by_lanes(gaussian, InstructionSet[options.isa.upper()], dict(images())[LANE_IMAGE], options.rounds, options.against)

    report: dict[str, float | None] = {"encode_ns": None, "decode_ns": None, "overhead_excess_bytes": round(excess, 2)}
    for name, (encode, decode) in totals.items():
        prefix = "" if name == "ours" else f"{name}_"
        report[f"{prefix}encode_ns"] = round(1e9 * encode / total_symbols, 2)
        report[f"{prefix}decode_ns"] = round(1e9 * decode / total_symbols, 2)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
