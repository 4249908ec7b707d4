"""The `.glic` file, version 1: a self-describing, checksummed frame around one range-coded payload.

The layout is specified byte by byte in docs/format.md. Every field has exactly one encoding, so that equal contents are
equal bytes, and a parser never trusts a number before the checksum over it has been verified.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .checksum import crc32c
from .errors import BitstreamError
from .limits import DEFAULT_LIMITS, Limits

MAGIC = b"GLIC"
VERSION = 1
FINGERPRINT_BYTES = 4

_EXACT = 0x01
_TILED = 0x02
_FLAGS = _EXACT | _TILED

_UINT32_MAX = 0xFFFFFFFF
_VARINT_BYTES = 5
_CHECKSUMS = struct.Struct("<II")
_SHORTEST_FILE = 4 + 1 + 1 + 1 + 1 + 4 + 4 + 1 + _CHECKSUMS.size

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True)
class Header:
    """What a `.glic` file says about itself before its payload.

    Attributes:
        width, height: size of the decoded picture in pixels, 1 to 2**32 - 1, without padding.
        exact: arithmetic profile. True: the entropy parameters are integer arithmetic, which decodes anywhere; False:
            they are floating point, bound to the machine and configuration that encoded.
        tiled: the payload starts with a table of tiles.
        model_fingerprint: first 4 bytes of the model's fingerprint (weights of all transforms).
        arithmetic_fingerprint: first 4 bytes of the fingerprint of the entropy parameters' arithmetic and tables.
    """

    width: int
    height: int
    exact: bool
    tiled: bool
    model_fingerprint: bytes
    arithmetic_fingerprint: bytes


@dataclass(frozen=True)
class File:
    """A parsed `.glic` file whose frame is intact.

    Attributes:
        header: the fields before the payload.
        payload: the range-coded bytes, a view into the data that was parsed.
        symbol_checksum: `glic_deploy.checksum.symbol_checksum` of the symbols that the encoder coded.
    """

    header: Header
    payload: memoryview
    symbol_checksum: int


def pack(header: Header, payload: Buffer, symbol_checksum: int) -> bytes:
    """The bytes of a `.glic` file. Raises ValueError for a field out of its range, which is a caller's mistake."""
    for name, value in (("width", header.width), ("height", header.height)):
        if not 1 <= value <= _UINT32_MAX:
            raise ValueError(f"{name} is {value}, expected 1 to {_UINT32_MAX}")
    for name, fingerprint in (("model", header.model_fingerprint), ("arithmetic", header.arithmetic_fingerprint)):
        if len(fingerprint) != FINGERPRINT_BYTES:
            raise ValueError(f"{name} fingerprint has {len(fingerprint)} bytes, expected its first {FINGERPRINT_BYTES}")
    if not 0 <= symbol_checksum <= _UINT32_MAX:
        raise ValueError(f"symbol checksum is {symbol_checksum}, expected 0 to {_UINT32_MAX}")
    payload = memoryview(payload).cast("B")
    if len(payload) > _UINT32_MAX:
        raise ValueError(f"payload has {len(payload)} bytes, at most {_UINT32_MAX} fit a file")
    flags = (_EXACT if header.exact else 0) | (_TILED if header.tiled else 0)
    body = b"".join(
        (
            MAGIC,
            bytes((VERSION, flags)),
            _write_varint(header.width),
            _write_varint(header.height),
            header.model_fingerprint,
            header.arithmetic_fingerprint,
            _write_varint(len(payload)),
            payload,
            struct.pack("<I", symbol_checksum),
        )
    )
    return body + struct.pack("<I", crc32c(body))


def parse(data: Buffer, limits: Limits = DEFAULT_LIMITS) -> File:
    """Check a whole `.glic` file and take it apart, without copying the payload.

    Raises BitstreamError, in this order, for data that is not a `.glic` file, is of another version, is cut short, has
    bytes after its end, fails its checksum, or breaks a rule of the format; then LimitError for a picture or payload
    above `limits`. Whether the codec has the model that the file needs is not looked at here.
    """
    view = memoryview(data).cast("B")
    header, flags, start, length = _read_frame(view)
    end = start + length
    total = end + _CHECKSUMS.size
    if len(view) < total:
        raise _cut_short(len(view), f"{total:,}")
    if len(view) > total:
        raise BitstreamError(
            f"the file has {len(view):,} bytes, its header says {total:,}; it was altered, or something was appended: "
            "get an unaltered copy"
        )
    symbol_checksum, stored = _CHECKSUMS.unpack_from(view, end)
    computed = crc32c(view[: total - 4])
    if computed != stored:
        raise BitstreamError(
            f"checksum mismatch: the file's bytes give {computed:08x}, it says {stored:08x}; "
            "the file was altered or damaged on its way, get an unaltered copy"
        )
    _check_rules(header, flags)
    _check_limits(header, length, limits)
    return File(header, view[start:end], symbol_checksum)


def parse_header(data: Buffer, limits: Limits = DEFAULT_LIMITS) -> Header:
    """The header from the beginning of a file, for readers that want the size before the rest (64 bytes are enough).

    Nothing is verified by checksum, so the result is a claim: call `parse` before acting on it. Raises as `parse` does.
    """
    header, flags, _, length = _read_frame(memoryview(data).cast("B"))
    _check_rules(header, flags)
    _check_limits(header, length, limits)
    return header


def _read_frame(view: memoryview) -> tuple[Header, int, int, int]:
    """Header, its flags byte, and the payload's offset and length as the (unverified) header gives them."""
    if bytes(view[:4]) != MAGIC[: len(view)]:
        raise BitstreamError(
            f"not a .glic file: it starts with {bytes(view[:4])!r}, expected {MAGIC!r}; "
            "pictures of other formats go through encode first"
        )
    if len(view) < 6:
        raise _cut_short(len(view), f"at least {_SHORTEST_FILE}")
    version, flags = view[4], view[5]
    if version != VERSION:
        raise BitstreamError(
            f"the file is of format version {version}, this glic-deploy reads version {VERSION}; "
            + ("install a newer one: pip install -U glic-deploy" if version > VERSION else "get an unaltered copy")
        )
    width, offset = _read_varint(view, 6, "width")
    height, offset = _read_varint(view, offset, "height")
    fingerprints = bytes(view[offset : offset + 2 * FINGERPRINT_BYTES])
    length, start = _read_varint(view, offset + 2 * FINGERPRINT_BYTES, "payload length")
    header = Header(
        width=width,
        height=height,
        exact=bool(flags & _EXACT),
        tiled=bool(flags & _TILED),
        model_fingerprint=fingerprints[:FINGERPRINT_BYTES],
        arithmetic_fingerprint=fingerprints[FINGERPRINT_BYTES:],
    )
    return header, flags, start, length


def _check_rules(header: Header, flags: int) -> None:
    if flags & ~_FLAGS:
        raise BitstreamError(
            f"flags byte is {flags:#04x}, this glic-deploy knows {_FLAGS:#04x}; "
            "the file needs a newer one: pip install -U glic-deploy"
        )
    if header.width == 0 or header.height == 0:
        raise BitstreamError(
            f"the file says {header.width} x {header.height} pixels, expected at least 1 x 1; encode the picture anew"
        )


def _check_limits(header: Header, payload_length: int, limits: Limits) -> None:
    limits.check_image(header.width, header.height)
    limits.check_payload(payload_length, header.width, header.height)


def _cut_short(got: int, expected: str) -> BitstreamError:
    return BitstreamError(f"the file is cut short: got {got:,} bytes, expected {expected}; get a whole copy")


def _write_varint(value: int) -> bytes:
    """Unsigned LEB128: 7 bits a byte, least significant first, the top bit set in all bytes but the last."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(view: memoryview, offset: int, name: str) -> tuple[int, int]:
    """Value and the offset after it; only the shortest encoding of a 32-bit value is taken."""
    value = 0
    for position in range(_VARINT_BYTES):
        if offset + position >= len(view):
            raise _cut_short(len(view), f"at least {max(_SHORTEST_FILE, len(view) + 1)}")
        byte = view[offset + position]
        value |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            if (position and not byte) or value > _UINT32_MAX:
                break
            return value, offset + position + 1
    raise BitstreamError(
        f"{name} at byte {offset} is {bytes(view[offset : offset + _VARINT_BYTES]).hex()}, expected a 32-bit number as "
        "the shortest varint; the file was altered or badly written, get an unaltered copy"
    )
