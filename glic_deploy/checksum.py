"""Compute CRC-32C (Castagnoli), the checksum of the bytes of a `.glic` file and of its decoded symbols."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import google_crc32c

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def crc32c(data: bytes | bytearray | memoryview, crc: int = 0) -> int:
    """Return the CRC-32C of `data`, continued from `crc`, as uint32; crc32c(b"123456789") is 0xe3069283."""
    return int(google_crc32c.extend(crc, bytes(data)))


def symbol_checksum(symbols: Iterable[NDArray[np.int16]]) -> int:
    """Return the CRC-32C of all symbols in coding order, each as a little-endian int16.

    The elements of an array count in C order. Other divisions of the symbols into arrays give the same checksum.
    """
    crc = 0
    for array in symbols:
        crc = crc32c(array.astype("<i2", copy=False).tobytes(), crc)
    return crc
