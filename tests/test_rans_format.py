"""The stream of the range coder: golden streams, a second decoder, and one valid form of each stream."""

from __future__ import annotations

import numpy as np
import pytest

from glic_deploy.entropy.rans import LANES, Decoder, Encoder
from glic_deploy.errors import BitstreamError

from . import rans_golden
from .rans_messages import PATHS, Message, random_message
from .rans_reference import ReferenceDecoder


@pytest.fixture(scope="module")
def golden():
    return np.load(rans_golden.PATH)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("isa", PATHS)
def test_golden_streams(golden, isa, lanes):
    stream = golden[f"stream{lanes}"].tobytes()
    encoder, decoder = Encoder(isa=isa), Decoder(stream, isa=isa)
    for k, tables in enumerate(rans_golden.tables_of(golden)):
        symbols, indexes = golden[f"symbols{k}"], golden[f"indexes{k}"]
        encoder.push(tables, symbols, indexes)
        assert np.array_equal(decoder.decode(tables, indexes), symbols)
    decoder.finish()
    assert encoder.finish(lanes=lanes) == stream
    assert ReferenceDecoder(stream).lane_count == lanes


@pytest.mark.parametrize("lanes", LANES)
def test_the_reference_decoder_reads_native_streams(lanes):
    for seed in range(4):
        message = random_message(seed, rows=9, sizes=[1040, 0, 333, 1512], escapes=0.05)
        decoder = ReferenceDecoder(message.encode(lanes=lanes))
        assert decoder.lane_count == lanes
        for symbols, indexes in message.passes:
            assert decoder.decode(message.cdfs, message.offsets, indexes.tolist()) == symbols.tolist()
        decoder.finish()


def test_an_empty_stream_is_three_bytes():
    assert Encoder().finish() == b"\x00\xff\xff"
    Decoder(b"\x00\xff\xff").finish()


@pytest.mark.parametrize("lanes", LANES)
def test_lanes_open_when_there_are_three_bytes_for_each(lanes):
    """A stream too short for that has fewer lanes than asked for: 32, or one."""
    flat, counts = [0, *range(255, 255 * 257, 255), 65536], set()
    for size in [0, 1, 2, 40, 93, 125, 200, 300, 500, 700, 858, 2000]:
        symbols = np.random.default_rng(size).integers(0, 256, size).astype(np.int16)
        message = Message([flat], [0], [(symbols, np.zeros(size, np.uint8))])
        stream = message.encode(lanes=lanes)
        assert message.holds(message.decode(stream))
        count = ReferenceDecoder(stream).lane_count
        assert size >= 3 * (count - 1)
        counts.add(count)
    assert counts == {1, min(lanes, 32), lanes}


# --- one valid form -------------------------------------------------------------------------------------------------


def varint(value: int, needless: int = 0) -> bytes:
    """Write a little-endian base-128 number, followed by `needless` bytes that change nothing."""
    size = max(1, -(-value.bit_length() // 7)) + needless
    return bytes(value >> 7 * k & 0x7F | (0x80 if k + 1 < size else 0) for k in range(size))


def test_other_headers_are_refused():
    message = random_message(0, rows=9, sizes=[4000], quiet=0)
    for lanes in (1, 8, 32):
        stream, log = message.encode(lanes=lanes), lanes.bit_length() - 1
        rows = ReferenceDecoder(stream).rows
        header = varint(8 * rows + log)
        assert stream.startswith(header)
        other_rows = 0 if rows else 1
        others = [varint(8 * rows + log, needless=1), varint(8 * other_rows + log), varint(8 * rows + 7), b"\xff" * 10]
        assert_refused(message, others, stream[len(header) :])
    for log in (6, 7, 8):
        stream = message.encode(lanes=1 << log)
        (rows, _), (group_rows, _) = ReferenceDecoder(stream).phases
        first, second = 8 * rows + 6, 4 * group_rows + log - 6
        header = varint(first) + varint(second)
        assert stream.startswith(header)
        others = [varint(first, needless=1) + varint(second), varint(first) + varint(second, needless=1)]
        others += [varint(6) + varint(second), varint(first) + varint(log - 6), varint(first) + varint(second | 3)]
        assert_refused(message, others, stream[len(header) :])


def assert_refused(message: Message, headers: list[bytes], rest: bytes) -> None:
    for header in headers:
        with pytest.raises(BitstreamError):
            message.decode(header + rest)


@pytest.mark.parametrize("lanes", LANES[1:])
def test_states_that_are_cut_or_padded_with_ones_are_refused(lanes):
    padded = 0
    for seed in range(4):
        stream = random_message(seed, rows=9, sizes=[4000]).encode(lanes=lanes)
        start = stream[: len(stream) - len(ReferenceDecoder(stream).data)]
        Decoder(start)
        for cut in range(len(start)):
            with pytest.raises(BitstreamError):
                Decoder(start[:cut])
        for bit in range(8 - ReferenceDecoder(stream).padding, 8):
            padded += 1
            with pytest.raises(BitstreamError):
                Decoder(start[:-1] + bytes([start[-1] | 1 << bit]))
    assert padded
