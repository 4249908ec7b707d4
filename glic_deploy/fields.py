"""The optional fields of a `.glic` header: small ones inside of it, and large ones attached behind the frame."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from .checksum import crc32c
from .errors import BitstreamError
from .varint import ALTERED, read_varint, write_varint

MAX_BYTES = 1024
"""The most bytes that the optional fields may take in the header."""

_CRITICAL, _ATTACHED = 1, 2
_CHECKSUM = struct.Struct("<I")


class Field(NamedTuple):
    """An optional field of the header.

    Attributes:
        key: 4 * number + 2 * attached + critical. A reader refuses a file with a critical field that it does not know
            and skips the other unknown fields. The content of an attached field is stored behind the frame.
        value: the content; of an attached field, its size and checksum.
    """

    key: int
    value: bytes

    @property
    def number(self) -> int:
        return self.key >> 2

    @property
    def critical(self) -> bool:
        return bool(self.key & _CRITICAL)

    @property
    def attached(self) -> bool:
        return bool(self.key & _ATTACHED)


class Attachment(NamedTuple):
    """Where an attachment lies.

    Attributes:
        number: the number of its field.
        start: the offset of its first byte behind the frame.
        size: the number of its bytes.
        checksum: the CRC-32C of its bytes.
    """

    number: int
    start: int
    size: int
    checksum: int


def attached(number: int, content: bytes) -> Field:
    """Return the field of an attachment, which may be ignored, with the size and the checksum of its `content`."""
    return Field(4 * number + _ATTACHED, write_varint(len(content)) + _CHECKSUM.pack(crc32c(content)))


def write(fields: Sequence[Field]) -> bytes:
    """Return the bytes of the fields. Raises ValueError unless their keys ascend and they fit a header."""
    keys = [field.key for field in fields]
    if any(second <= first for first, second in pairwise(keys)):
        raise ValueError(f"the keys of the fields are {keys}, expected ascending numbers")
    written = b"".join(write_varint(key) + write_varint(len(value)) + value for key, value in fields)
    if len(written) > MAX_BYTES:
        raise ValueError(f"the optional fields have {len(written)} bytes, at most {MAX_BYTES} fit a header")
    return written


def read(area: memoryview, start: int) -> tuple[Field, ...]:
    """Return the fields that the bytes of `area` from `start` hold. Raises BitstreamError for wrong bytes."""
    fields: list[Field] = []
    offset = start
    try:
        while offset < len(area):
            key, offset = read_varint(area, offset, "key of a field")
            size, offset = read_varint(area, offset, "length of a field")
            value = area[offset : offset + size]
            offset += size
            fields.append(Field(key, bytes(value)))
        in_order = all(first.key < second.key for first, second in pairwise(fields))
        right = offset == len(area) and in_order and len(attachments(fields)) <= len(fields)
    except BitstreamError:
        right = False
    if not right:
        raise BitstreamError(
            f"the optional fields at bytes {start} to {len(area)} break a rule of the format; {ALTERED}"
        )
    return tuple(fields)


def attachments(fields: Sequence[Field]) -> list[Attachment]:
    """Return the attachments in the order in which they follow the frame. Raises BitstreamError for wrong values."""
    found: list[Attachment] = []
    start = 0
    for field in fields:
        if field.attached:
            value = memoryview(field.value)
            size, offset = read_varint(value, 0, "size of an attachment")
            if len(value) != offset + _CHECKSUM.size:
                raise BitstreamError(
                    f"field {field.number} has {len(value)} bytes, expected {offset + _CHECKSUM.size}; {ALTERED}"
                )
            found.append(Attachment(field.number, start, size, *_CHECKSUM.unpack_from(value, offset)))
            start += size
    return found
