"""The `.glic` file, version 1: a self-describing frame with checksums around the stream of the range coder.

docs/format.md specifies the layout byte by byte. Every field has exactly one encoding, so equal contents are equal
bytes. The parser verifies the checksum before it acts on a number.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

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
    """The fields of a `.glic` file before its payload.

    Attributes:
        width, height: size of the decoded image in pixels, 1 to 2**32 - 1, without padding.
        exact: arithmetic profile. True: the entropy parameters are integer arithmetic, which decodes anywhere; False:
            they are floating point, which decodes only on the machine and in the configuration that encoded.
        tiled: the payload is a table of tiles and one range-coded stream for each (see `glic_deploy.tiles`).
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
        payload: the range-coded bytes, or the tiles, a view into the data that was parsed.
        symbol_checksum: `glic_deploy.checksum.symbol_checksum` of the symbols that the encoder coded; of images in
            tiles, CRC-32C of the tiles' symbol checksums.
    """

    header: Header
    payload: memoryview
    symbol_checksum: int


class Front(NamedTuple):
    """The fields at the start of a file, which no checksum has verified yet.

    Attributes:
        header: the fields.
        flags: the byte with the flags `exact` and `tiled`.
        start: the offset of the payload.
        length: the number of bytes of the payload.
    """

    header: Header
    flags: int
    start: int
    length: int


def pack(header: Header, payload: Buffer, symbol_checksum: int) -> bytes:
    """Return the bytes of a `.glic` file. Raises ValueError if a field is out of range, which is a caller's mistake."""
    if not 0 <= symbol_checksum <= _UINT32_MAX:
        raise ValueError(f"symbol checksum is {symbol_checksum}, expected 0 to {_UINT32_MAX}")
    payload = flat(payload)
    body = b"".join((pack_front(header, len(payload)), payload, struct.pack("<I", symbol_checksum)))
    return body + struct.pack("<I", crc32c(body))


def pack_front(header: Header, length: int) -> bytes:
    """Return the bytes of a file before a payload of `length` bytes. Raises ValueError as `pack` does."""
    for name, value in (("width", header.width), ("height", header.height)):
        if not 1 <= value <= _UINT32_MAX:
            raise ValueError(f"{name} is {value}, expected 1 to {_UINT32_MAX}")
    for name, fingerprint in (("model", header.model_fingerprint), ("arithmetic", header.arithmetic_fingerprint)):
        if len(fingerprint) != FINGERPRINT_BYTES:
            raise ValueError(f"{name} fingerprint has {len(fingerprint)} bytes, expected its first {FINGERPRINT_BYTES}")
    if length > _UINT32_MAX:
        raise ValueError(f"payload has {length} bytes, at most {_UINT32_MAX} fit a file")
    flags = (_EXACT if header.exact else 0) | (_TILED if header.tiled else 0)
    return b"".join(
        (
            MAGIC,
            bytes((VERSION, flags)),
            write_varint(header.width),
            write_varint(header.height),
            header.model_fingerprint,
            header.arithmetic_fingerprint,
            write_varint(length),
        )
    )


def parse(data: Buffer, limits: Limits = DEFAULT_LIMITS) -> File:
    """Parse and verify a whole `.glic` file, without copying the payload.

    This function does not check whether the codec has the model that the file needs.

    Raises BitstreamError, in this order, if the data is not a `.glic` file, has another version, is cut short, has
    bytes after its end, fails its checksum, or breaks a rule of the format; then LimitError if the image or the payload
    exceeds `limits`.
    """
    view = flat(data)
    front = read_front(view)
    end = front.start + front.length
    total = end + _CHECKSUMS.size
    if len(view) < total:
        raise cut_short(len(view), f"{total:,}")
    check_end(view, front)
    symbol_checksum, stored = _CHECKSUMS.unpack_from(view, end)
    computed = crc32c(view[: total - 4])
    if computed != stored:
        raise BitstreamError(
            f"checksum mismatch: the file's bytes give {computed:08x}, it says {stored:08x}; "
            "the file was altered or damaged, get an unaltered copy"
        )
    check_front(front, limits)
    return File(front.header, view[front.start : end], symbol_checksum)


def parse_header(data: Buffer, limits: Limits = DEFAULT_LIMITS) -> Header:
    """Return the header from the first bytes of a file (64 suffice), for example to learn the size of the image.

    No checksum is verified, so call `parse` before relying on the result. Raises as `parse` does.
    """
    front = read_front(flat(data))
    check_front(front, limits)
    return front.header


def is_tiled(data: Buffer) -> bool:
    """Return whether the data, if it is a `.glic` file, has the flag of images in tiles."""
    view = flat(data)
    return len(view) > 5 and bool(view[5] & _TILED)


def flat(data: Buffer) -> memoryview:
    """Return a one-dimensional view of the bytes of a buffer; a copy if its elements are not contiguous.

    Raises TypeError if `data` has no buffer protocol, ValueError for a memoryview that was released.
    """
    view = memoryview(data)
    return view.cast("B") if view.c_contiguous and view.nbytes else memoryview(view.tobytes())


def read_front(view: memoryview) -> Front:
    """Read the fields before the payload. Raises BitstreamError for the first three reasons of `parse`."""
    if bytes(view[:4]) != MAGIC[: len(view)]:
        raise BitstreamError(
            f"not a .glic file: it starts with {bytes(view[:4])!r}, expected {MAGIC!r}; "
            "encode images of other formats first"
        )
    if len(view) < 6:
        raise cut_short(len(view), f"at least {_SHORTEST_FILE}")
    version, flags = view[4], view[5]
    if version != VERSION:
        raise BitstreamError(
            f"the file is of format version {version}, this glic-deploy reads version {VERSION}; "
            + ("upgrade glic-deploy" if version > VERSION else "get an unaltered copy")
        )
    width, offset = read_varint(view, 6, "width")
    height, offset = read_varint(view, offset, "height")
    fingerprints = bytes(view[offset : offset + 2 * FINGERPRINT_BYTES])
    length, start = read_varint(view, offset + 2 * FINGERPRINT_BYTES, "payload length")
    header = Header(
        width=width,
        height=height,
        exact=bool(flags & _EXACT),
        tiled=bool(flags & _TILED),
        model_fingerprint=fingerprints[:FINGERPRINT_BYTES],
        arithmetic_fingerprint=fingerprints[FINGERPRINT_BYTES:],
    )
    return Front(header, flags, start, length)


def check_end(view: memoryview, front: Front) -> None:
    """Raise BitstreamError if bytes follow the end of the file."""
    total = front.start + front.length + _CHECKSUMS.size
    if len(view) > total:
        raise BitstreamError(
            f"the file has {len(view):,} bytes, its header says {total:,}; it was altered, or something was appended: "
            "get an unaltered copy"
        )


def check_front(front: Front, limits: Limits) -> None:
    """Raise BitstreamError for a header that breaks a rule of the format, LimitError for one above `limits`."""
    header = front.header
    if front.flags & ~_FLAGS:
        raise BitstreamError(
            f"flags byte is {front.flags:#04x}, this glic-deploy knows {_FLAGS:#04x}; "
            "the file needs a newer one: upgrade glic-deploy"
        )
    if header.width == 0 or header.height == 0:
        raise BitstreamError(
            f"the file says {header.width} x {header.height} pixels, expected at least 1 x 1; encode the image again"
        )
    limits.check_image(header.width, header.height)
    if not header.tiled:  # tiles are checked separately
        limits.check_payload(front.length, header.width, header.height)


def cut_short(got: int, expected: str) -> BitstreamError:
    """Return the error for a file that ends too early."""
    return BitstreamError(f"the file is cut short: got {got:,} bytes, expected {expected}; get a whole copy")


def write_varint(value: int) -> bytes:
    """Encode unsigned LEB128: 7 bits a byte, least significant first, the top bit set in all bytes but the last."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(view: memoryview, offset: int, name: str) -> tuple[int, int]:
    """Return a value and the offset after it. Raises BitstreamError unless it is the shortest encoding of 32 bits."""
    value = 0
    for position in range(_VARINT_BYTES):
        if offset + position >= len(view):
            raise cut_short(len(view), f"at least {max(_SHORTEST_FILE, len(view) + 1)}")
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
