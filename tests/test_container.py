"""The `.glic` frame: one encoding per content, and a specific, cheap error for everything else."""

from __future__ import annotations

import re
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from glic_deploy import BitstreamError, GlicError, LimitError, Limits
from glic_deploy.checksum import crc32c, symbol_checksum
from glic_deploy.container import File, Header, pack, parse, parse_header

from .conftest import DATA, ROOT

GOLDEN = {
    "version2.glic": File(
        Header(768, 512, True, False, bytes.fromhex("8f3a01c4"), bytes.fromhex("52d07be9")),
        memoryview(b"range-coded payload"),
        0x1D4E2C7A,
    ),
    "version2_float.glic": File(
        Header(1, 300_000, False, False, bytes(4), b"\xff" * 4), memoryview(bytes(range(200))), 0
    ),
}
UNLIMITED = Limits(max_pixels=2**64, max_side=2**32, max_payload_bpp=2**64)

uint32 = st.integers(1, 2**32 - 1)
fingerprints = st.binary(min_size=4, max_size=4)
headers = st.builds(Header, uint32, uint32, st.booleans(), st.booleans(), fingerprints, fingerprints)
small_headers = st.builds(
    Header, st.integers(1, 4096), st.integers(1, 4096), st.booleans(), st.booleans(), fingerprints, fingerprints
)
payloads = st.binary(max_size=300)


def with_checksum(body: bytes) -> bytes:
    return body + struct.pack("<I", crc32c(body))


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def hand_made(*, version=1, flags=1, width=b"\x05", height=b"\x07", length=b"\x03", payload=b"abc") -> bytes:
    """A file with a right checksum and any field wrong, made without the code under test."""
    return with_checksum(b"GLIC" + bytes([version, flags]) + width + height + b"MMMMAAAA" + length + payload + b"SSSS")


@given(headers, payloads, st.integers(0, 2**32 - 1))
def test_round_trip(header, payload, checksum):
    data = pack(header, payload, checksum)
    assert parse(data, UNLIMITED) == File(header, memoryview(payload), checksum)
    assert parse_header(data[:64], UNLIMITED) == header


def test_frame_takes_at_most_32_bytes():
    header = Header(2**15, 2**15, True, False, bytes(4), bytes(4))
    assert len(pack(header, bytes(2**21), 0)) - 2**21 == 32
    assert len(pack(Header(768, 512, True, False, bytes(4), bytes(4)), bytes(20_000), 0)) - 20_000 == 29


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_files_never_change(name):
    data = (DATA / "format" / name).read_bytes()
    file = GOLDEN[name]
    limits = Limits(max_side=300_000)
    assert parse(data, limits) == file
    assert pack(file.header, file.payload, file.symbol_checksum) == data


def test_documented_example_is_the_golden_file():
    text = (ROOT / "docs" / "format.md").read_text().split("## Example in tiles")[0]
    rows = re.findall(r"^[0-9a-f]{8}: ((?:[0-9a-f]{2} )+)", text, re.MULTILINE)
    assert bytes.fromhex("".join(rows)) == (DATA / "format" / "version2.glic").read_bytes()


@settings(max_examples=30)
@given(small_headers, payloads)
def test_every_cut_is_called_one(header, payload):
    data = pack(header, payload, 7)
    for length in range(len(data)):
        with pytest.raises(BitstreamError, match=f"cut short: got {length} bytes, expected"):
            parse(data[:length])


def test_expected_length_is_told_once_it_is_known():
    data = pack(Header(768, 512, True, False, bytes(4), bytes(4)), bytes(1000), 0)
    with pytest.raises(BitstreamError, match=f"got 500 bytes, expected {len(data):,};"):
        parse(data[:500])


@settings(max_examples=30, deadline=None)
@given(small_headers, payloads)
def test_every_bit_flip_is_found(header, payload):
    data = bytearray(pack(header, payload, 7))
    for bit in range(8 * len(data)):
        data[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises(BitstreamError):
            parse(data)
        data[bit >> 3] ^= 1 << (bit & 7)


@settings(max_examples=2000)
@given(st.binary(max_size=80))
@example(b"GLIC\x01\x00" + b"\xff" * 40)
def test_noise_never_escapes_the_error_tree(noise):
    for data in (noise, b"GLIC\x01\x00" + noise, with_checksum(b"GLIC\x01\x01" + noise)):
        try:
            file = parse(data)
        except GlicError:
            continue
        assert pack(file.header, file.payload, file.symbol_checksum) == data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "not a .glic file"),
        (hand_made(version=2), "version 2, this glic-deploy reads version 1; upgrade glic-deploy"),
        (hand_made(version=0), "version 0"),
        (hand_made(flags=0x05), "flags byte is 0x05"),
        (hand_made(flags=0x80), "flags byte is 0x80"),
        (hand_made(width=b"\x00"), "0 x 7 pixels"),
        (hand_made(height=b"\x00"), "5 x 0 pixels"),
        (hand_made(width=b"\x85\x00"), "width at byte 6 is 8500"),
        (hand_made(height=b"\xff\xff\xff\xff\x1f"), "height at byte 7"),
        (hand_made(width=b"\xff\xff\xff\xff\xff\x01"), "width at byte 6"),
        (hand_made(length=b"\x83\x80\x00"), "payload length at byte 16"),
        (hand_made(length=b"\x02"), "the file has 28 bytes, its header says 27"),
        (hand_made(length=b"\x04"), "got 28 bytes, expected 29"),
        (hand_made() + b"\n", "the file has 29 bytes, its header says 28"),
        (hand_made()[:-1] + b"?", "checksum mismatch"),
        (b"", "cut short: got 0 bytes"),
    ],
)
def test_error_says_what_is_wrong(data, words):
    with pytest.raises(BitstreamError, match=re.escape(words)):
        parse(data)


def test_hand_made_file_is_right_when_nothing_is_made_wrong():
    assert parse(hand_made()).payload == b"abc"


@pytest.mark.parametrize(
    ("width", "height", "length", "words"),
    [
        (2**31, 2**31, 3, "width is 2,147,483,648 pixels, at most 32,768 allowed"),
        (1, 2**31, 3, "height is 2,147,483,648 pixels"),
        (2**15, 2**15, 3, "1,073,741,824 pixels, at most 268,435,456 allowed"),
        (1, 1, 128 * 128 * 8 + 1, "payload has 131,073 bytes, at most 131,072 allowed"),
    ],
)
def test_absurd_sizes_cost_nothing(width, height, length, words):
    data = hand_made(width=varint(width), height=varint(height), length=varint(length), payload=bytes(length))
    tracemalloc.start()
    with pytest.raises(LimitError, match=re.escape(words)):
        parse(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * len(data) + 50_000


def test_payload_is_a_view_of_the_data():
    data = bytearray(pack(Header(5, 5, True, False, bytes(4), bytes(4)), b"abc", 0))
    payload = parse(data).payload
    data[17] = ord("x")
    assert payload == b"xbc"


def test_readonly_and_strided_inputs():
    data = hand_made()
    assert parse(memoryview(data)).payload == b"abc"
    assert parse(np.frombuffer(data, np.uint8)).payload == b"abc"


@pytest.mark.parametrize(
    "header",
    [
        Header(0, 1, True, False, bytes(4), bytes(4)),
        Header(1, 2**32, True, False, bytes(4), bytes(4)),
        Header(1, 1, True, False, bytes(3), bytes(4)),
        Header(1, 1, True, False, bytes(4), bytes(32)),
    ],
)
def test_pack_refuses_what_the_format_cannot_say(header):
    with pytest.raises(ValueError, match="expected"):
        pack(header, b"", 0)


def test_checksum_is_castagnoli():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"6789", crc32c(b"12345")) == 0xE3069283


@given(st.lists(st.integers(-(2**15), 2**15 - 1), max_size=50), st.integers(0, 50))
def test_symbol_checksum_ignores_how_symbols_are_split(symbols, cut):
    array = np.array(symbols, np.int16)
    expected = crc32c(struct.pack(f"<{len(symbols)}h", *symbols))
    assert symbol_checksum([array]) == symbol_checksum([array[:cut], array[cut:]]) == expected
