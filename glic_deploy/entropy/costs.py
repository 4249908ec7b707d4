"""The number of bits that an ideal coder spends on each symbol under the CDF tables, escapes included."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_TOTAL_BITS = 16
_ESCAPE_HEAD = 5
_WIDEST_CLASS, _WIDEST_BITS = 15, 16


def symbol_bits(
    symbols: NDArray[Any],
    indexes: NDArray[np.uint8],
    cdfs: NDArray[np.int32],
    lengths: NDArray[np.int32],
    offsets: NDArray[np.int32],
) -> NDArray[np.float64]:
    """Return the bits of each symbol, in the shape of `symbols` and `indexes`.

    Args:
        symbols: integers.
        indexes: for each symbol, the row of the tables.
        cdfs, lengths, offsets: the tables, as `glic_deploy.entropy.rans.CdfTables` describes them.
    """
    rows = indexes.astype(np.intp)
    slots = symbols.astype(np.int64) - offsets[rows]
    escape = lengths[rows].astype(np.int64) - 2
    escaped = (slots < 0) | (slots >= escape)
    used = np.where(escaped, escape, slots)
    counts = cdfs[rows, used + 1] - cdfs[rows, used]
    bits: NDArray[np.float64] = _TOTAL_BITS - np.log2(counts)
    bits[escaped] += _escape_bits(np.where(slots < 0, -1 - slots, slots - escape)[escaped])
    return bits


def _escape_bits(distances: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bits after an escape: the class of the distance beyond the table, and the distance without its
    leading one (plugins_cpp/rans/README.md)."""
    classes = np.minimum(np.frexp(distances.astype(np.float64))[1], _WIDEST_CLASS)
    tails = np.where(classes == _WIDEST_CLASS, _WIDEST_BITS, np.maximum(classes - 1, 0))
    return np.asarray(_ESCAPE_HEAD + tails, dtype=np.int64)
