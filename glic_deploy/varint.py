"""Read and write unsigned integers of at most 32 bits as LEB128, in the shortest form only (docs/format.md)."""

from __future__ import annotations

from .errors import BitstreamError

UINT32_MAX = 0xFFFFFFFF
ALTERED = "the file was altered or badly written, get an unaltered copy"

_MAX_BYTES = 5


def cut_short(got: int, expected: str) -> BitstreamError:
    """Return the error for a file that ends too early."""
    return BitstreamError(f"the file is cut short: got {got:,} bytes, expected {expected}; get a whole copy")


def write_varint(value: int) -> bytes:
    """Encode a value as LEB128: 7 bits per byte, least significant first; all bytes but the last have the top bit."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(view: memoryview, offset: int, name: str) -> tuple[int, int]:
    """Return a value and the offset after it. Raises BitstreamError unless it is the shortest encoding of 32 bits."""
    value = 0
    for position in range(_MAX_BYTES):
        if offset + position >= len(view):
            raise cut_short(len(view), f"at least {len(view) + 1:,}")
        byte = view[offset + position]
        value |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            if (position and not byte) or value > UINT32_MAX:
                break
            return value, offset + position + 1
    raise BitstreamError(
        f"{name} at byte {offset} is {bytes(view[offset : offset + _MAX_BYTES]).hex()}, expected a 32-bit number as "
        f"the shortest varint; {ALTERED}"
    )
