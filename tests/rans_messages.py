"""Messages for the tests of the range coder: tables, and passes of symbols to code under them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import strategies as st

from glic_deploy.entropy.rans import CdfTables, Decoder, Encoder, InstructionSet

PATHS = [
    pytest.param(isa, marks=pytest.mark.skipif(not isa.available(), reason=f"this CPU or build has no {isa.name}"))
    for isa in InstructionSet
    if isa is not InstructionSet.BEST
]
AVAILABLE = [isa for isa in InstructionSet if isa is not InstructionSet.BEST and isa.available()]


@dataclass
class Message:
    """Tables and passes of (symbols, indexes) to code under them."""

    cdfs: list[list[int]]
    offsets: list[int]
    passes: list[tuple[np.ndarray, np.ndarray]]

    @property
    def tables(self) -> CdfTables:
        return make_tables(self.cdfs, self.offsets)

    def encode(self, isa: InstructionSet = InstructionSet.BEST, lanes: int | None = None) -> bytes:
        encoder, tables = Encoder(isa=isa), self.tables
        for symbols, indexes in self.passes:
            encoder.push(tables, symbols, indexes)
        return encoder.finish(lanes=lanes)

    def decode(self, stream: bytes, isa: InstructionSet = InstructionSet.BEST) -> list[np.ndarray]:
        decoder, tables = Decoder(stream, isa=isa), self.tables
        symbols = [decoder.decode(tables, indexes) for _, indexes in self.passes]
        decoder.finish()
        return symbols

    def holds(self, decoded: list[np.ndarray]) -> bool:
        return all(np.array_equal(a, b) for (a, _), b in zip(self.passes, decoded, strict=True))

    def ideal_bytes(self) -> float:
        return sum(self.tables.ideal_bits(*one) for one in self.passes) / 8


def table_arrays(cdfs: list[list[int]], offsets: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the arguments of CdfTables: padded rows, lengths and offsets."""
    lengths = np.array([len(cdf) for cdf in cdfs], np.int32)
    padded = np.zeros((len(cdfs), lengths.max()), np.int32)
    for row, cdf in zip(padded, cdfs, strict=True):
        row[: len(cdf)] = cdf
    return padded, lengths, np.array(offsets, np.int32)


def make_tables(cdfs: list[list[int]], offsets: list[int]) -> CdfTables:
    return CdfTables(*table_arrays(cdfs, offsets))


def random_cdf(rng: np.random.Generator, symbols: int, evenness: float) -> list[int]:
    """Return a complete table of `symbols` symbols and the escape, some of which have the lowest frequency."""
    spare = 65536 - (symbols + 1)
    shares = rng.multinomial(spare, rng.dirichlet(np.full(symbols + 1, evenness)))
    return [0, *np.cumsum(shares + 1).tolist()]


def random_message(seed: int, *, rows: int, sizes: list[int], escapes: float = 0.01, quiet: float = 0.3) -> Message:
    """Draw symbols from random tables. A fraction `quiet` are runs of 64 under one table with one likely symbol."""
    rng = np.random.default_rng(seed)
    widths = rng.choice([1, 2, 3, 10, 60, 700], rows)
    cdfs = [random_cdf(rng, int(width), float(rng.choice([0.05, 0.5, 50]))) for width in widths]
    cdfs[0] = [0, 1, 65534, 65535, 65536]
    offsets = rng.integers(-1000, 1000, rows).tolist()
    passes = []
    for size in sizes:
        indexes = rng.integers(0, rows, size).astype(np.uint8)
        for start in range(0, size, 64):
            if rng.random() < quiet:
                indexes[start : start + 64] = 0
        slots = [np.searchsorted(cdfs[i], u, "right") - 1 for i, u in zip(indexes, rng.integers(0, 65536, size))]  # noqa: B905
        symbols = np.array([offsets[i] + slot for i, slot in zip(indexes, slots, strict=True)], dtype=np.int64)
        wild = rng.random(size) < escapes
        symbols[wild] = rng.integers(-32768, 32768, int(wild.sum()))
        passes.append((symbols.astype(np.int16), indexes))
    return Message(cdfs, offsets, passes)


@st.composite
def messages(draw: Callable) -> Message:
    """Draw any tables, any symbols within or beyond them, and any split into passes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = draw(st.integers(1, 256))
    widths = draw(st.lists(st.integers(1, 300), min_size=rows, max_size=rows))
    evenness = draw(st.sampled_from([0.02, 0.3, 30.0]))
    cdfs = [random_cdf(rng, width, evenness) for width in widths]
    offsets = [draw(st.integers(-32768, 32768 - width)) for width in widths]
    passes = []
    for size in draw(st.lists(st.integers(0, 900), max_size=4)):
        indexes = rng.integers(0, rows, size).astype(np.uint8)
        symbols = rng.integers(-32768, 32768, size)
        inside = rng.random(size) < draw(st.sampled_from([0.0, 0.9, 1.0]))
        near = np.array([offsets[i] + rng.integers(0, widths[i]) for i in indexes], dtype=np.int64)
        passes.append((np.where(inside, near, symbols).astype(np.int16), indexes))
    return Message(cdfs, offsets, passes)
