"""The range coder: any symbols under any tables come back on every code path, and no bytes can do harm."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glic_deploy.entropy.rans import LANES, CdfTables, CoderError, Decoder, Encoder, InstructionSet
from glic_deploy.errors import BitstreamError

from .conftest import DATA, ROOT
from .oracles import compressai
from .rans_messages import AVAILABLE, PATHS, Message, make_tables, messages, random_message
from .rans_reference import ReferenceDecoder

# --- what is coded comes back ---------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(messages(), st.sampled_from([None, *LANES]), st.sampled_from(AVAILABLE), st.sampled_from(AVAILABLE))
def test_any_message_comes_back(message, lanes, writer, reader):
    assert message.holds(message.decode(message.encode(writer, lanes), reader))


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("isa", PATHS)
def test_every_path_writes_and_reads_the_same_bytes(isa, lanes):
    counts = []
    for seed in range(12):
        sizes = np.random.default_rng(seed).integers(0, 1400, 5).tolist()
        message = random_message(seed, rows=1 + seed * 20, sizes=sizes, escapes=[0, 0.01, 0.5][seed % 3])
        stream = message.encode(isa, lanes)
        assert stream == message.encode(InstructionSet.SCALAR, lanes)
        assert message.holds(message.decode(stream, isa))
        counts.append(ReferenceDecoder(stream).lane_count)
    assert counts.count(lanes) >= 6  # the others are too short for so many


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


# --- the cost -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits_per_symbol", [0.01, 0.2, 2, 8])
def test_overhead_is_within_12_bytes_and_a_thousandth(bits_per_symbol):
    """Test sizes near the least size of each number of lanes, where the overhead is largest, and others."""
    rng = np.random.default_rng(int(bits_per_symbol * 100))
    likely = {0.01: 65510, 0.2: 63700, 2: 40000, 8: 300}[bits_per_symbol]
    others = 255
    step = (65536 - likely) // (others + 1)
    cdf = [0, likely, *(likely + step * np.arange(1, others + 1)).tolist(), 65536] if step else [0, likely, 65536]
    small = [0, 10, 100, 110, 300, 900, 1000, 1020, 2000, 5000, 7000, 7050, 15000, 18000, 18100] * 5
    for target in [*small, 33000, 33100, 50000, 58000, 58200, 107000, 107400, 150000]:
        size = min(int(target * 8 / bits_per_symbol), 500_000)
        symbols = np.searchsorted(cdf[:-1], rng.integers(0, cdf[-2], size), "right") - 1
        message = Message([cdf], [0], [(symbols.astype(np.int16), np.zeros(size, np.uint8))])
        stream, ideal = message.encode(), message.ideal_bytes()
        assert len(stream) <= 1.001 * ideal + 12
        assert message.holds(message.decode(stream))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.floats(3, 5.3), st.sampled_from([0.1, 1, 3, 7]), st.sampled_from([0, 0.001]))
def test_overhead_at_any_size(seed, size_log, bits_per_symbol, escapes):
    """Between 1 kB and 200 kB, the lanes together cost less than a thousandth of the stream from 18 kB on."""
    rng = np.random.default_rng(seed)
    count = int(min(8 * 10**size_log / bits_per_symbol, 300_000))
    scale = 2**bits_per_symbol / 4
    edges = np.round(65536 / (1 + np.exp(-np.arange(-150, 151) / scale))).astype(int)
    cdf = [0, *np.unique(np.clip(edges, 1, 65535)).tolist(), 65536]
    symbols = np.searchsorted(cdf, rng.integers(0, cdf[-2], count), "right") - 1
    symbols[rng.random(count) < escapes] = 20000
    message = Message(
        [cdf], [0], [(part, part.astype(np.uint8) * 0) for part in np.array_split(symbols.astype(np.int16), 7)]
    )
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


def outcome(message: Message, stream: bytes, isa: InstructionSet) -> list[list[int]] | None:
    """Return the symbols that the stream decodes to; None if it is refused."""
    try:
        return [symbols.tolist() for symbols in message.decode(stream, isa)]
    except BitstreamError:
        return None


@cache
def short_message(seed: int) -> Message:
    return random_message(seed, rows=5, sizes=[100, 57, 1000])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=1500), st.integers(0, 3))
def test_any_bytes_decode_or_raise(stream, seed):
    message = short_message(seed)
    first, *others = (outcome(message, stream, isa) for isa in AVAILABLE)
    assert all(other == first for other in others)


@cache
def escaping_message(seed: int) -> Message:
    return random_message(seed, rows=9, sizes=[700, 1333, 1000], escapes=0.03, quiet=0.1)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(LANES), st.integers(0, 5), st.floats(0, 0.999), st.integers(0, 255), st.booleans())
def test_every_path_finds_the_same_damage(lanes, seed, place, change, cut):
    message = escaping_message(seed)
    stream = bytearray(message.encode(lanes=lanes))
    position = int(place * len(stream))
    if cut:
        del stream[position:]
    else:
        stream[position] ^= change
    first, *others = (outcome(message, bytes(stream), isa) for isa in AVAILABLE)
    assert all(other == first for other in others)
    assert not cut or first is None


@pytest.mark.parametrize("lanes", LANES)
def test_damage_is_found_out(lanes):
    """A change goes unnoticed only if it swaps a symbol for one of the same frequency, so that the state stays."""
    message = random_message(8, rows=30, sizes=[900, 1900], quiet=0)
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
    with pytest.raises(CoderError, match="256; got 512"):
        Encoder().finish(lanes=512)
    with pytest.raises(CoderError, match="int32"):
        CdfTables(np.zeros((1, 3)), np.zeros(1, np.int32), np.zeros(1, np.int32))


# --- the CPU --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the flags are those of x86-64")
@pytest.mark.parametrize("source", ["kernels_avx2", "kernels_avx512"])
def test_a_path_is_chosen_only_if_the_cpu_has_all_that_its_flags_allow(source):
    """Each instruction set that the flags of a source file enable is in cpu_features.h, and the CPU is asked for it."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs g++ or clang++")
    coder = ROOT / "plugins_cpp" / "rans"
    lines = [line for line in (coder / "CMakeLists.txt").read_text().splitlines() if "-mavx" in line]
    flags = re.findall(r"-m[a-z0-9]+", next(line for line in lines if source.removeprefix("kernels_") in line))

    def macros(*options: str) -> set[str]:
        command = [compiler, *options, "-dM", "-E", "-x", "c++", "/dev/null"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return set(re.findall(r"#define __([A-Z0-9_]+)__ 1$", text, re.MULTILINE))

    # All CPUs with AVX2 have these.
    implied = {"SSE3", "SSSE3", "SSE4_1", "SSE4_2", "CRC32", "AVX", "XSAVE", "F16C", "EVEX512", "EVEX256"}
    enabled = macros(*flags) - macros() - implied
    assert {"AVX2", "BMI2"} <= enabled
    header, check = (coder / "cpu_features.h").read_text(), (coder / "isa.cpp").read_text()
    for name in enabled:
        assert f"defined(__{name}__)" in header
        assert f'__builtin_cpu_supports("{name.lower()}")' in check
