"""The `.glic` file: a self-describing frame with checksums around the coded image, and attachments behind the frame.

docs/format.md specifies the layout byte by byte. Every header has exactly one encoding, so equal contents are equal
bytes. The parser verifies the checksum before it acts on a number.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from . import fields as optional
from .checksum import crc32c
from .errors import BitstreamError
from .fields import Field
from .limits import DEFAULT_LIMITS, Limits
from .varint import ALTERED, UINT32_MAX, cut_short, read_varint, write_varint

MAGIC = b"\x8dGLIC\r\n"
VERSION = 2
FINGERPRINT_BYTES = 4
HEADER_BYTES = 2048
"""The header of every file lies in its first `HEADER_BYTES` bytes."""

_EXACT, _TILED, _GREY, _ALPHA, _PROFILED = (1 << bit for bit in range(5))
_FLAGS = _EXACT | _TILED | _GREY | _ALPHA | _PROFILED
_FLAGS_OFFSET = len(MAGIC) + 1

_CHECKSUM = struct.Struct("<I")
_FRAME_END = 2 * _CHECKSUM.size
_SHORTEST_FILE = _FLAGS_OFFSET + 1 + 1 + 1 + 2 * FINGERPRINT_BYTES + 1 + 1 + _FRAME_END

# How a transfer as text changes the magic: the first byte loses its eighth bit, becomes UTF-8 or a replacement for
# characters, or is lost; line ends change; a byte-order mark is put in front.
_TEXT_DAMAGE = re.compile(rb"(?:\xef\xbb\xbf)?(?:(?:\x8d|\r|\?|\xc2\x8d|\xef\xbf\xbd)GLIC|GLIC[\r\n])")

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True)
class Header:
    """The fields of a `.glic` file before its payload.

    Attributes:
        width, height: size of the decoded image in pixels, 1 to 2**32 - 1, without padding.
        exact: arithmetic profile. True: the entropy parameters are integer arithmetic, which decodes anywhere; False:
            they are floating point, which decodes only on the machine and in the configuration that encoded.
        tiled: the payload is a table of tiles and one coded image for each (see `glic_deploy.tiles`).
        model_fingerprint: first 4 bytes of the model's fingerprint (weights of all transforms).
        arithmetic_fingerprint: first 4 bytes of the fingerprint of the entropy parameters' arithmetic and tables.
        grey: the image has one channel of brightness instead of three of colour.
        alpha: the image has a channel of opacity (see `glic_deploy.channels`).
        profiled: the colours are those of the attached ICC profile, not sRGB.
        fields: the optional fields, with ascending keys.
    """

    width: int
    height: int
    exact: bool
    tiled: bool
    model_fingerprint: bytes
    arithmetic_fingerprint: bytes
    grey: bool = False
    alpha: bool = False
    profiled: bool = False
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True)
class File:
    """A parsed `.glic` file whose frame is intact. Its attachments may be damaged or missing.

    Attributes:
        header: the fields before the payload.
        payload: the coded image, or the tiles, a view into the data that was parsed.
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
        flags: the byte with the flags.
        start: the offset of the payload.
        length: the number of bytes of the payload.
    """

    header: Header
    flags: int
    start: int
    length: int

    @property
    def frame_end(self) -> int:
        """The offset of the first attachment."""
        return self.start + self.length + _FRAME_END

    @property
    def file_end(self) -> int:
        """The number of bytes of the whole file."""
        return self.frame_end + sum(part.size for part in optional.attachments(self.header.fields))


def pack(header: Header, payload: Buffer, symbol_checksum: int, attachments: Sequence[Buffer] = ()) -> bytes:
    """Return the bytes of a `.glic` file.

    Args:
        header: the fields, among them one made by `glic_deploy.fields.attached` for each attachment, in order.
        payload: the coded image or the tiles.
        symbol_checksum: as in `File`.
        attachments: the contents of the attached fields.

    Raises ValueError if a field is out of range, which is a caller's mistake.
    """
    if not 0 <= symbol_checksum <= UINT32_MAX:
        raise ValueError(f"symbol checksum is {symbol_checksum}, expected 0 to {UINT32_MAX}")
    payload = flat(payload)
    body = b"".join((pack_front(header, len(payload)), payload, _CHECKSUM.pack(symbol_checksum)))
    return b"".join((body, _CHECKSUM.pack(crc32c(body)), *attachments))


def pack_front(header: Header, length: int) -> bytes:
    """Return the bytes of a file before a payload of `length` bytes. Raises ValueError as `pack` does."""
    for name, value in (("width", header.width), ("height", header.height)):
        if not 1 <= value <= UINT32_MAX:
            raise ValueError(f"{name} is {value}, expected 1 to {UINT32_MAX}")
    for name, fingerprint in (("model", header.model_fingerprint), ("arithmetic", header.arithmetic_fingerprint)):
        if len(fingerprint) != FINGERPRINT_BYTES:
            raise ValueError(f"{name} fingerprint has {len(fingerprint)} bytes, expected its first {FINGERPRINT_BYTES}")
    if length > UINT32_MAX:
        raise ValueError(f"payload has {length} bytes, at most {UINT32_MAX} fit a file")
    fields = optional.write(header.fields)
    flags = (header.exact, header.tiled, header.grey, header.alpha, header.profiled)
    return b"".join(
        (
            MAGIC,
            bytes((VERSION, sum(flag << bit for bit, flag in enumerate(flags)))),
            write_varint(header.width),
            write_varint(header.height),
            header.model_fingerprint,
            header.arithmetic_fingerprint,
            write_varint(len(fields)),
            fields,
            write_varint(length),
        )
    )


def parse(data: Buffer, limits: Limits = DEFAULT_LIMITS) -> File:
    """Parse and verify the frame of a whole `.glic` file, without copying the payload.

    This function does not check whether the codec has the model that the file needs, nor does it look at the
    attachments, which `attachment` verifies.

    Raises BitstreamError, in this order, if the data is not a `.glic` file, has another version, is cut short before
    the end of the frame, has bytes after its end, fails its checksum, or breaks a rule of the format; then LimitError
    if the image or the payload exceeds `limits`.
    """
    view = flat(data)
    front = read_front(view)
    if len(view) < front.frame_end:
        raise cut_short(len(view), f"{front.file_end:,}")
    check_end(view, front)
    end = front.start + front.length
    symbol_checksum, stored = struct.unpack_from("<II", view, end)
    computed = crc32c(view[: end + _CHECKSUM.size])
    if computed != stored:
        raise BitstreamError(
            f"checksum mismatch: the file's bytes give {computed:08x}, it says {stored:08x}; "
            "the file was altered or damaged, get an unaltered copy"
        )
    check_front(front, limits)
    return File(front.header, view[front.start : end], symbol_checksum)


def parse_header(data: Buffer, limits: Limits = DEFAULT_LIMITS) -> Header:
    """Return the header from the first bytes of a file (`HEADER_BYTES` suffice), for example to learn the image's size.

    No checksum is verified, so call `parse` before relying on the result. Raises as `parse` does.
    """
    front = read_front(flat(data))
    check_front(front, limits)
    return front.header


def attachment(header: Header, behind: memoryview, number: int) -> memoryview | None:
    """Return the content of the attached field with this number, a view; None if the file has none.

    Args:
        header: the header of the file.
        behind: the bytes of the file behind its frame; at least up to the end of the attachment.
        number: the number of the field.

    Raises BitstreamError if the attachment is cut short or damaged.
    """
    for part in optional.attachments(header.fields):
        if part.number == number:
            content = behind[part.start : part.start + part.size]
            if len(content) < part.size:
                raise cut_short(len(content), f"{part.size:,} for this attachment")
            computed = crc32c(content)
            if computed != part.checksum:
                raise BitstreamError(
                    f"checksum mismatch: the attachment's bytes give {computed:08x}, the header says "
                    f"{part.checksum:08x}; get an unaltered copy"
                )
            return content
    return None


def is_tiled(data: Buffer) -> bool:
    """Return whether the data, if it is a `.glic` file, has the flag of images in tiles."""
    view = flat(data)
    return len(view) > _FLAGS_OFFSET and bool(view[_FLAGS_OFFSET] & _TILED)


def flat(data: Buffer) -> memoryview:
    """Return a one-dimensional view of the bytes of a buffer; a copy if its elements are not contiguous.

    Raises TypeError if `data` has no buffer protocol, ValueError for a memoryview that was released.
    """
    view = memoryview(data)
    return view.cast("B") if view.c_contiguous and view.nbytes else memoryview(view.tobytes())


def read_front(view: memoryview) -> Front:
    """Read the fields before the payload. Raises BitstreamError for the first three reasons of `parse`."""
    if bytes(view[: len(MAGIC)]) != MAGIC[: len(view)]:
        raise _not_glic(view)
    if len(view) <= _FLAGS_OFFSET:
        raise cut_short(len(view), f"at least {_SHORTEST_FILE}")
    version, flags = view[len(MAGIC)], view[_FLAGS_OFFSET]
    if version != VERSION:
        raise BitstreamError(
            f"the file needs a reader of format version {version}, this glic-deploy reads version {VERSION}; "
            + ("upgrade glic-deploy" if version > VERSION else "get an unaltered copy")
        )
    width, offset = read_varint(view, _FLAGS_OFFSET + 1, "width")
    height, offset = read_varint(view, offset, "height")
    fingerprints = bytes(view[offset : offset + 2 * FINGERPRINT_BYTES])
    total, start = read_varint(view, offset + 2 * FINGERPRINT_BYTES, "length of the optional fields")
    if total > optional.MAX_BYTES:
        raise BitstreamError(
            f"the optional fields have {total:,} bytes, at most {optional.MAX_BYTES:,} allowed; {ALTERED}"
        )
    end = start + total
    if len(view) < end:
        raise cut_short(len(view), f"at least {end + _FRAME_END + 1:,}")
    fields = optional.read(view[:end], start)
    length, start = read_varint(view, end, "payload length")
    header = Header(
        width=width,
        height=height,
        exact=bool(flags & _EXACT),
        tiled=bool(flags & _TILED),
        model_fingerprint=fingerprints[:FINGERPRINT_BYTES],
        arithmetic_fingerprint=fingerprints[FINGERPRINT_BYTES:],
        grey=bool(flags & _GREY),
        alpha=bool(flags & _ALPHA),
        profiled=bool(flags & _PROFILED),
        fields=fields,
    )
    return Front(header, flags, start, length)


def _not_glic(view: memoryview) -> BitstreamError:
    start = bytes(view[:16])
    if _TEXT_DAMAGE.match(start):
        return BitstreamError(
            f"the .glic file was changed by a transfer as text: it starts with {start[: len(MAGIC) + 1]!r}, expected "
            f"{MAGIC!r}; transfer the original again as binary data"
        )
    if start.startswith(b"GLIC\x01"):
        return BitstreamError(
            "the file is of format version 1, which only development versions of glic-deploy wrote; this glic-deploy "
            f"reads version {VERSION}: encode the image again"
        )
    if start.startswith(b"GLIC"):
        return BitstreamError(
            f"the file starts with {start[:8]!r}, like files of the glitch-art codec GLIC, which have the same suffix; "
            f"glic-deploy reads files that start with {MAGIC!r}"
        )
    return BitstreamError(
        f"not a .glic file: it starts with {start[: len(MAGIC)]!r}, expected {MAGIC!r}; "
        "encode images of other formats first"
    )


def check_end(view: memoryview, front: Front) -> None:
    """Raise BitstreamError if bytes follow the end of the file."""
    total = front.file_end
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
    for field in header.fields:
        if field.critical:
            raise BitstreamError(
                f"the file has the critical field {field.number}, which this glic-deploy does not know; "
                "the file needs a newer one: upgrade glic-deploy"
            )
    if header.width == 0 or header.height == 0:
        raise BitstreamError(
            f"the file says {header.width} x {header.height} pixels, expected at least 1 x 1; encode the image again"
        )
    limits.check_image(header.width, header.height)
    if not header.tiled:  # tiles are checked separately
        limits.check_payload(front.length, header.width, header.height)
    limits.check_metadata(front.file_end - front.frame_end)
