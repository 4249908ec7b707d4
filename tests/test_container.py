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
from glic_deploy.container import (
    HEADER_BYTES,
    MAGIC,
    VERSION,
    File,
    Header,
    pack,
    pack_front,
    parse,
    parse_header,
)
from glic_deploy.fields import Field
from glic_deploy.varint import write_varint

from .conftest import DATA

UNLIMITED = Limits(max_pixels=2**64, max_side=2**32, max_payload_bpp=2**64)


def headers_up_to(side: int) -> st.SearchStrategy[Header]:
    sides, fingerprints = st.integers(1, side), st.binary(min_size=4, max_size=4)
    return st.builds(Header, sides, sides, *[st.booleans()] * 2, fingerprints, fingerprints, *[st.booleans()] * 3)


headers, small_headers = headers_up_to(2**32 - 1), headers_up_to(4096)
payloads = st.binary(max_size=300)


def with_checksum(body: bytes) -> bytes:
    return body + struct.pack("<I", crc32c(body))


def hand_made(
    *,
    magic=b"\x8dGLIC\r\n",
    version=2,
    flags=1,
    width=b"\x05",
    height=b"\x07",
    fields=b"\x00",
    length=b"\x03",
    payload=b"abc",
) -> bytes:
    """Return a file with a valid checksum and any part wrong, made without the code under test."""
    return with_checksum(
        magic + bytes([version, flags]) + width + height + b"MMMMAAAA" + fields + length + payload + b"SSSS"
    )


@given(headers, payloads, st.integers(0, 2**32 - 1))
def test_round_trip(header, payload, checksum):
    data = pack(header, payload, checksum)
    assert parse(data, UNLIMITED) == File(header, memoryview(payload), checksum)
    assert parse_header(data[:64], UNLIMITED) == header


def test_frame_takes_at_most_8_bytes_more_than_that_of_version_1():
    """The frame of version 1 took 29 bytes for a photograph, 32 for the largest image that the limits allow."""
    header = Header(2**15, 2**15, True, False, bytes(4), bytes(4))
    assert len(pack(header, bytes(2**21), 0)) - 2**21 == 36 <= 32 + 8
    assert len(pack(Header(768, 512, True, False, bytes(4), bytes(4)), bytes(20_000), 0)) - 20_000 == 33 <= 29 + 8


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
@example(b"\xff" * 40)
def test_noise_never_escapes_the_error_tree(noise):
    start = MAGIC + bytes([VERSION])
    for data in (noise, start + b"\x00" + noise, with_checksum(start + b"\x01" + noise)):
        try:
            file = parse(data)
        except GlicError:
            continue
        assert pack(file.header, file.payload, file.symbol_checksum) == data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "not a .glic file"),
        (hand_made(version=3), "needs a reader of format version 3, this glic-deploy reads version 2; upgrade"),
        (hand_made(version=0), "format version 0, this glic-deploy reads version 2; get an unaltered copy"),
        ((DATA / "format" / "version1.glic").read_bytes(), "version 1, which only development versions"),
        (b"GLIC2.0 " + bytes(50), "the glitch-art codec GLIC"),
        (hand_made(flags=0x20), "flags byte is 0x20"),
        (hand_made(flags=0x81), "flags byte is 0x81"),
        (hand_made(fields=b"\x81\x08"), "the optional fields have 1,025 bytes, at most 1,024"),
        (hand_made(fields=b"\x80\x00"), "length of the optional fields at byte 19"),
        (hand_made(width=b"\x00"), "0 x 7 pixels"),
        (hand_made(height=b"\x00"), "5 x 0 pixels"),
        (hand_made(width=b"\x85\x00"), "width at byte 9 is 8500"),
        (hand_made(height=b"\xff\xff\xff\xff\x1f"), "height at byte 10"),
        (hand_made(width=b"\xff\xff\xff\xff\xff\x01"), "width at byte 9"),
        (hand_made(length=b"\x83\x80\x00"), "payload length at byte 20"),
        (hand_made(length=b"\x02"), "the file has 32 bytes, its header says 31"),
        (hand_made(length=b"\x04"), "got 32 bytes, expected 33"),
        (hand_made() + b"\n", "the file has 33 bytes, its header says 32"),
        (hand_made()[:-1] + b"?", "checksum mismatch"),
        (b"", "cut short: got 0 bytes"),
    ],
)
def test_error_says_what_is_wrong(data, words):
    with pytest.raises(BitstreamError, match=re.escape(words)):
        parse(data)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\r\n", b"\n"),
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.replace(b"\r\n", b"\r"),
        lambda data: data.replace(b"\r", b"\n"),
        lambda data: bytes(byte & 0x7F for byte in data),
        lambda data: data.decode("latin-1").encode(),
        lambda data: data.decode("utf-8", "replace").encode(),
        lambda data: data.decode("utf-8", "ignore").encode(),
        lambda data: data.decode("cp1252", "replace").encode(),
        lambda data: data.decode("latin-1").encode("ascii", "replace"),
        lambda data: data.decode("latin-1").encode("ascii", "ignore"),
        lambda data: data.decode("latin-1").encode("utf-8-sig"),
    ],
)
def test_a_transfer_as_text_is_named(change):
    data = change(hand_made())
    with pytest.raises(BitstreamError, match="changed by a transfer as text"):
        parse(data)
    with pytest.raises(BitstreamError, match="changed by a transfer as text"):
        parse_header(data)


def test_the_longest_header_fits_its_bytes():
    fields = (Field(4 * (2**30 - 1), bytes(1024 - 7)),)
    header = Header(2**32 - 1, 2**32 - 1, True, True, bytes(4), bytes(4), fields=fields)
    assert len(pack_front(header, 2**32 - 1)) < HEADER_BYTES
    assert parse_header(pack_front(header, 2**32 - 1), UNLIMITED) == header


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
    numbers = {"width": width, "height": height, "length": length}
    data = hand_made(payload=bytes(length), **{name: write_varint(value) for name, value in numbers.items()})
    tracemalloc.start()
    with pytest.raises(LimitError, match=re.escape(words)):
        parse(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * len(data) + 50_000


def test_payload_is_a_view_of_the_data():
    data = bytearray(pack(Header(5, 5, True, False, bytes(4), bytes(4)), b"abc", 0))
    payload = parse(data).payload
    data[data.index(b"abc")] = ord("x")
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
