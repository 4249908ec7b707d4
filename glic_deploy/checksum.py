"""CRC-32C (Castagnoli), the checksum of `.glic` files: of the file's bytes, and of the symbols that it decodes to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import google_crc32c

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def crc32c(data: bytes | bytearray | memoryview, crc: int = 0) -> int:
    """CRC-32C of `data`, continuing from `crc`, as an unsigned 32-bit integer; crc32c(b"123456789") is 0xe3069283."""
    return int(google_crc32c.extend(crc, bytes(data)))


def symbol_checksum(symbols: Iterable[NDArray[np.int16]]) -> int:
    """CRC-32C of all symbols in the order in which they are coded, each as a little-endian int16.

    The split into arrays does not matter, only the order of the elements (C order within each array).
    """
    crc = 0
    for array in symbols:
        crc = crc32c(array.astype("<i2", copy=False).tobytes(), crc)
    return crc
