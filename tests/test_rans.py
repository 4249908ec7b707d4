"""The range coder: any symbols under any tables come back, on every code path, and no bytes can do harm."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glic_deploy.entropy.rans import CdfTables, CoderError, Decoder, Encoder, InstructionSet
from glic_deploy.errors import BitstreamError

from .conftest import DATA
from .oracles import compressai
from .rans_reference import ReferenceDecoder

LANES = [1, 2, 4, 8, 16, 32]
PATHS = [
    pytest.param(isa, marks=pytest.mark.skipif(not isa.available(), reason=f"this CPU or build has no {isa.name}"))
    for isa in (InstructionSet.SCALAR, InstructionSet.AVX2, InstructionSet.AVX512)
]


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


def make_tables(cdfs: list[list[int]], offsets: list[int]) -> CdfTables:
    lengths = np.array([len(cdf) for cdf in cdfs], np.int32)
    padded = np.zeros((len(cdfs), lengths.max()), np.int32)
    for row, cdf in zip(padded, cdfs, strict=True):
        row[: len(cdf)] = cdf
    return CdfTables(padded, lengths, np.array(offsets, np.int32))


def random_cdf(rng: np.random.Generator, symbols: int, evenness: float) -> list[int]:
    """A complete table of so many symbols and the escape, some of them with the least frequency there is."""
    spare = 65536 - (symbols + 1)
    shares = rng.multinomial(spare, rng.dirichlet(np.full(symbols + 1, evenness)))
    return [0, *np.cumsum(shares + 1).tolist()]


def random_message(seed: int, *, rows: int, sizes: list[int], escapes: float = 0.01, quiet: float = 0.3) -> Message:
    """Symbols drawn from random tables; `quiet` of the time there are runs of one table with one likely symbol."""
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
    """Any tables, any symbols of them or beyond, any split into passes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = draw(st.integers(1, 256))
    widths = draw(st.lists(st.integers(1, 300), min_size=rows, max_size=rows))
    evenness = draw(st.sampled_from([0.02, 0.3, 30.0]))
    cdfs = [random_cdf(rng, width, evenness) for width in widths]
    offsets = [draw(st.integers(-32768, 32768 - width)) for width in widths]
    passes = []
    for size in draw(st.lists(st.integers(0, 300), max_size=4)):
        indexes = rng.integers(0, rows, size).astype(np.uint8)
        symbols = rng.integers(-32768, 32768, size)
        inside = rng.random(size) < draw(st.sampled_from([0.0, 0.9, 1.0]))
        near = np.array([offsets[i] + rng.integers(0, widths[i]) for i in indexes], dtype=np.int64)
        passes.append((np.where(inside, near, symbols).astype(np.int16), indexes))
    return Message(cdfs, offsets, passes)


# --- what is coded comes back ---------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(messages(), st.sampled_from([None, *LANES]))
def test_any_message_comes_back(message, lanes):
    assert message.holds(message.decode(message.encode(lanes=lanes)))


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("isa", PATHS)
def test_every_path_writes_and_reads_the_same_bytes(isa, lanes):
    for seed in range(12):
        sizes = np.random.default_rng(seed).integers(0, 700, 5).tolist()
        message = random_message(seed, rows=1 + seed * 20, sizes=sizes, escapes=[0, 0.01, 0.5][seed % 3])
        stream = message.encode(isa, lanes)
        assert stream == message.encode(InstructionSet.SCALAR, lanes)
        assert message.holds(message.decode(stream, isa))


@pytest.mark.parametrize("lanes", LANES)
def test_the_reference_decoder_reads_native_streams(lanes):
    for seed in range(4):
        message = random_message(seed, rows=9, sizes=[40, 0, 333, 512], escapes=0.05)
        decoder = ReferenceDecoder(message.encode(lanes=lanes))
        for symbols, indexes in message.passes:
            assert decoder.decode(message.cdfs, message.offsets, indexes.tolist()) == symbols.tolist()
        decoder.finish()


def test_every_int16_can_be_coded():
    everything = np.arange(-32768, 32768).astype(np.int16)
    for width, offset in [(1, -32768), (1, 32767), (3, -1), (65535, -32768)]:
        cdf = [0, *np.cumsum(np.full(width, 65536 // (width + 1))).tolist(), 65536]
        message = Message([cdf], [offset], [(everything, np.zeros(65536, np.uint8))])
        assert message.holds(message.decode(message.encode()))


def test_shapes_strides_and_several_tables():
    first, second = random_message(1, rows=3, sizes=[]), random_message(2, rows=256, sizes=[])
    rng = np.random.default_rng(0)
    one = rng.integers(-50, 50, (4, 6, 10), dtype=np.int16), rng.integers(0, 3, (4, 6, 10), dtype=np.uint8)
    two = rng.integers(-50, 50, (8, 70), dtype=np.int16).T, rng.integers(0, 256, (8, 70), dtype=np.uint8).T
    encoder = Encoder()
    encoder.push(first.tables, *one)
    encoder.push(second.tables, *two)
    decoder = Decoder(memoryview(bytearray(encoder.finish())))
    assert np.array_equal(decoder.decode(first.tables, one[1]), one[0])
    assert np.array_equal(decoder.decode(second.tables, two[1]), two[0])
    decoder.finish()


def test_threads_share_tables():
    message = random_message(5, rows=64, sizes=[20000])
    tables, (symbols, indexes) = message.tables, message.passes[0]

    def code(_: int) -> bool:
        encoder = Encoder()
        encoder.push(tables, symbols, indexes)
        return np.array_equal(Decoder(encoder.finish()).decode(tables, indexes), symbols)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(code, range(16)))


# --- the format -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden():
    return np.load(DATA / "rans" / "golden.npz")


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("isa", PATHS)
def test_golden_streams(golden, isa, lanes):
    tables = [
        CdfTables(*(golden[f"{kind}{name}"] for name in ("cdfs", "lengths", "offsets"))) for kind in ("prior_", "")
    ]
    encoder, decoder = Encoder(isa=isa), Decoder(golden[f"stream{lanes}"], isa=isa)
    for k in range(5):
        symbols, indexes = golden[f"symbols{k}"], golden[f"indexes{k}"]
        encoder.push(tables[k > 0], symbols, indexes)
        assert np.array_equal(decoder.decode(tables[k > 0], indexes), symbols)
    decoder.finish()
    assert encoder.finish(lanes=lanes) == golden[f"stream{lanes}"].tobytes()
    assert golden[f"stream{lanes}"][0] & 7 == LANES.index(lanes)


def test_an_empty_stream_is_three_bytes():
    assert Encoder().finish() == b"\x00\xff\xff"
    Decoder(b"\x00\xff\xff").finish()


# --- the cost -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits_per_symbol", [0.01, 0.2, 2, 8])
def test_overhead_is_within_12_bytes_and_a_thousandth(bits_per_symbol):
    """At sizes around each number of lanes' least, where the overhead is greatest, and far from them."""
    rng = np.random.default_rng(int(bits_per_symbol * 100))
    likely = {0.01: 65510, 0.2: 63700, 2: 40000, 8: 300}[bits_per_symbol]
    others = 255
    step = (65536 - likely) // (others + 1)
    cdf = [0, likely, *(likely + step * np.arange(1, others + 1)).tolist(), 65536] if step else [0, likely, 65536]
    for target in [0, 10, 100, 110, 300, 900, 1000, 1020, 2000, 5000, 7000, 7050, 15000, 18000, 18100, 50000]:
        for _ in range(5):
            size = min(int(target * 8 / bits_per_symbol), 200_000)
            symbols = np.searchsorted(cdf[:-1], rng.integers(0, cdf[-2], size), "right") - 1
            message = Message([cdf], [0], [(symbols.astype(np.int16), np.zeros(size, np.uint8))])
            stream, ideal = message.encode(), message.ideal_bytes()
            assert len(stream) <= 1.001 * ideal + 12
            assert message.holds(message.decode(stream))


def test_ideal_bits_is_the_sum_of_the_information():
    message = random_message(3, rows=20, sizes=[3000], escapes=0)
    symbols, indexes = message.passes[0]
    expected = 0.0
    for symbol, index in zip(symbols.tolist(), indexes.tolist(), strict=True):
        cdf, slot = message.cdfs[index], symbol - message.offsets[index]
        expected -= np.log2((cdf[slot + 1] - cdf[slot]) / 65536)
        expected += 5 * (slot == len(cdf) - 2)
    assert message.tables.ideal_bits(symbols, indexes) == pytest.approx(expected)


def test_escapes_cost_5_to_21_bits():
    tables = make_tables([[0, 32768, 65536]], [0])
    for distance, bits in [(0, 5), (1, 5), (2, 6), (8191, 17), (16384, 21), (32766, 21)]:
        for symbol in (1 + distance, -1 - distance):
            assert tables.ideal_bits(np.array([symbol], np.int16), np.zeros(1, np.uint8)) == 1 + bits


@pytest.mark.parametrize("photo", ["kodim04", "kodim23"])
def test_beside_compressai(photo):
    """The same passes of y under the same Gaussian tables: the same symbols, in fewer bytes."""
    pytest.importorskip("torch", reason="the Gaussian tables are built with torch: pip install '.[export]'")
    from export.tables import gaussian_tables

    try:
        ans = compressai.load("ans")
    except compressai.OracleMissingError as error:
        pytest.skip(str(error))
    gaussian, data = gaussian_tables(), np.load(DATA / "rans" / "photos.npz")
    tables, encoder = CdfTables(*gaussian), Encoder()
    rows = gaussian.cdfs.tolist(), gaussian.lengths.tolist(), gaussian.offsets.tolist()
    passes = [(data[f"{photo}_symbols{k}"], data[f"{photo}_indexes{k}"]) for k in range(10)]
    their_bytes = 0
    for symbols, indexes in passes:
        encoder.push(tables, symbols, indexes)
        theirs = ans.RansEncoder().encode_with_indexes(symbols.ravel().tolist(), indexes.ravel().tolist(), *rows)
        their_bytes += len(theirs)
        decoded = ans.RansDecoder().decode_with_indexes(theirs, indexes.ravel().tolist(), *rows)
        assert decoded == symbols.ravel().tolist()
    stream = encoder.finish()
    decoder = Decoder(stream)
    for symbols, indexes in passes:
        assert np.array_equal(decoder.decode(tables, indexes), symbols)
    decoder.finish()
    ideal_bytes = sum(tables.ideal_bits(*one) for one in passes) / 8
    assert ideal_bytes < len(stream) < ideal_bytes * 1.001 + 12
    assert len(stream) < their_bytes


# --- damage and misuse ----------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 3))
def test_any_bytes_decode_or_raise(stream, seed):
    message = random_message(seed, rows=5, sizes=[100, 57, 1000])
    outcomes = set()
    for isa in (InstructionSet.SCALAR, InstructionSet.BEST):
        try:
            outcomes.add(tuple(tuple(s.tolist()) for s in message.decode(stream, isa)))
        except BitstreamError:
            outcomes.add(None)
    assert len(outcomes) == 1


@pytest.mark.parametrize("lanes", LANES)
def test_damage_is_found_out(lanes):
    """All but the few changes that swap a symbol for one as frequent: the lane's state then goes on as before."""
    message = random_message(8, rows=30, sizes=[900, 900], quiet=0)
    stream = message.encode(lanes=lanes)
    rng = np.random.default_rng(0)
    for data in [stream[:cut] for cut in range(0, len(stream), 20)] + [stream + b"\0", b"\0" + stream]:
        with pytest.raises(BitstreamError):
            message.decode(data)
    unnoticed = 0
    for position, change in zip(rng.integers(0, len(stream), 400), rng.integers(1, 256, 400), strict=True):
        altered = bytearray(stream)
        altered[position] ^= change
        try:
            decoded = message.decode(bytes(altered))
        except BitstreamError:
            continue
        unnoticed += 1
        changed = [np.count_nonzero(a != b) for (a, _), b in zip(message.passes, decoded, strict=True)]
        assert 0 < sum(changed) <= 4
    assert unnoticed < 30


@pytest.mark.parametrize("lanes", LANES)
def test_other_passes_are_found_out(lanes):
    message = random_message(9, rows=30, sizes=[700, 600])
    stream, (_, indexes) = message.encode(lanes=lanes), message.passes[0]
    with pytest.raises(BitstreamError):
        Message(message.cdfs, message.offsets, message.passes[:1]).decode(stream)
    with pytest.raises(BitstreamError):
        Message(message.cdfs, message.offsets, [*message.passes, message.passes[0]]).decode(stream)
    with pytest.raises(BitstreamError):
        Message(message.cdfs, message.offsets, [(indexes, indexes[::-1]), message.passes[1]]).decode(stream)


def test_a_decoder_that_failed_stays_failed():
    message = random_message(1, rows=4, sizes=[500])
    decoder = Decoder(message.encode()[:20])
    with pytest.raises(BitstreamError):
        [decoder.decode(message.tables, message.passes[0][1]) for _ in range(2)]
    with pytest.raises(CoderError, match="new one"):
        decoder.finish()


def test_a_finished_encoder_takes_no_more():
    encoder, message = Encoder(), random_message(1, rows=4, sizes=[5])
    encoder.finish()
    with pytest.raises(CoderError, match="new one"):
        encoder.push(message.tables, *message.passes[0])
    with pytest.raises(CoderError, match="new one"):
        encoder.finish()


def test_an_index_without_a_table():
    tables = make_tables([[0, 1, 65536]], [0])
    symbols, indexes = np.zeros(3, np.int16), np.array([0, 1, 0], np.uint8)
    with pytest.raises(CoderError, match="there are 1 tables"):
        Encoder().push(tables, symbols, indexes)
    with pytest.raises(BitstreamError, match="there are 1 tables"):
        Decoder(Encoder().finish()).decode(tables, indexes)


@pytest.mark.parametrize(
    ("cdfs", "offsets"),
    [
        ([[0, 65536]], [0]),  # no symbol but the escape
        ([[0, 5, 5, 65536]], [0]),  # a frequency of 0
        ([[0, 9, 5, 65536]], [0]),
        ([[1, 5, 65536]], [0]),
        ([[0, 5, 65535]], [0]),
        ([[-5, 5, 65536]], [0]),
        ([[0, 70000, 65536]], [0]),
        ([[0, 1, 65536]], [-32769]),
        ([[0, 1, 2, 65536]], [32767]),
        ([[0, 1, 65536]], [2**31 - 1]),
        ([[0, 1, 65536], [0, 0, 65536]], [0, 0]),
        ([[0, 1, 65536]] * 257, [0] * 257),
    ],
)
def test_tables_that_are_not_valid(cdfs, offsets):
    with pytest.raises(CoderError, match=r"CDF row|1 to 256"):
        make_tables(cdfs, offsets)


def test_lengths_beyond_the_row():
    for length in (-1, 0, 4, 2**31 - 1):
        with pytest.raises(CoderError, match="row 0"):
            CdfTables(np.array([[0, 1, 65536]], np.int32), np.array([length], np.int32), np.zeros(1, np.int32))


def test_arrays_of_another_form():
    tables = make_tables([[0, 1, 65536]], [0])
    with pytest.raises(CoderError, match="int16"):
        Encoder().push(tables, np.zeros(3, np.int32), np.zeros(3, np.uint8))
    with pytest.raises(CoderError, match="shape"):
        Encoder().push(tables, np.zeros(3, np.int16), np.zeros(4, np.uint8))
    with pytest.raises(CoderError, match="uint8"):
        Decoder(b"\x00\xff\xff").decode(tables, np.zeros(3, np.int64))
    with pytest.raises(CoderError, match="lanes"):
        Encoder().finish(lanes=3)
    with pytest.raises(CoderError, match="int32"):
        CdfTables(np.zeros((1, 3)), np.zeros(1, np.int32), np.zeros(1, np.int32))
