"""Tiled `.glic` files: the table that says where each tile is and what its bytes and symbols must be.

The layout is specified byte by byte in docs/format.md. The table has a checksum of its own, over all bytes before it,
and so has every tile's payload: a reader can trust the table, and any one tile, when the rest is damaged or missing.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import container
from ..checksum import crc32c
from ..container import Buffer, Header
from ..errors import BitstreamError
from ..limits import CODED_MULTIPLE, DEFAULT_LIMITS, Limits
from ..varint import cut_short, read_varint, write_varint
from .geometry import Box, Grid

_ENTRY = np.dtype([("length", "<u4"), ("symbol_checksum", "<u4"), ("payload_checksum", "<u4")])
_CHECKSUM = struct.Struct("<I")


@dataclass(frozen=True)
class TiledFile:
    """A tiled file whose header and table are intact; its tiles may not be.

    Attributes:
        header: the image's size and fingerprints.
        grid: where the tiles lie in it.
    """

    header: Header
    grid: Grid
    _entries: NDArray[Any]
    _starts: NDArray[np.int64]
    _data: memoryview

    def payload(self, index: int) -> memoryview:
        """A tile's range-coded stream, a view. Raises BitstreamError when it is cut short or damaged."""
        start, length = int(self._starts[index]), int(self._entries["length"][index])
        payload = self._data[start : start + length]
        if len(payload) < length:
            raise cut_short(len(self._data), f"at least {start + length:,} for this tile")
        computed, stored = crc32c(payload), int(self._entries["payload_checksum"][index])
        if computed != stored:
            raise BitstreamError(
                f"checksum mismatch: its bytes give {computed:08x}, the table says {stored:08x}; get an unaltered "
                "copy, or decode the rest of the image (--on-error fill, on_error='fill')"
            )
        return payload

    def symbol_checksum(self, index: int) -> int:
        """What `glic_deploy.checksum.symbol_checksum` must give of a tile's symbols."""
        return int(self._entries["symbol_checksum"][index])

    def place(self, index: int) -> str:
        """A tile by its number and box, for messages."""
        box = self.grid.box(index)
        return f"tile {index} of {len(self.grid)} ({box.width} x {box.height} pixels at {box.x}, {box.y})"


def pack(header: Header, grid: Grid, tiles: Sequence[tuple[bytes, int]], attachments: Sequence[Buffer] = ()) -> bytes:
    """Return the bytes of a tiled file.

    Args:
        header: the fields, among them those of the attachments.
        grid: the tiles.
        tiles: the coded image and the symbol checksum of each tile, in order.
        attachments: as in `container.pack`.
    """
    entries = np.array([(len(payload), symbols, crc32c(payload)) for payload, symbols in tiles], _ENTRY)
    sides = (axis.extent // CODED_MULTIPLE for axis in (grid.columns, grid.rows))
    geometry = b"".join(write_varint(value) for value in (*sides, grid.overlap))
    table = geometry + entries.tobytes()
    length = len(table) + _CHECKSUM.size + sum(len(payload) for payload, _ in tiles)
    checksum = _CHECKSUM.pack(crc32c(container.pack_front(header, length) + table))
    body = b"".join([table, checksum, *(payload for payload, _ in tiles)])
    return container.pack(header, body, _combined(entries), attachments)


def parse(data: Buffer, limits: Limits = DEFAULT_LIMITS, *, partial: bool = False) -> TiledFile:
    """Check a tiled file and read its table.

    partial: look at nothing behind the table, which may be damaged or missing; only that nothing follows the file.

    Raises BitstreamError for a file that is cut short, altered or breaks a rule of the format, LimitError for an image
    or a tile above `limits`.
    """
    view = container.flat(data)
    file = None if partial else container.parse(view, limits)
    front = container.read_front(view)
    container.check_end(view, front)
    columns, offset = read_varint(view, front.start, "tile width")
    rows, offset = read_varint(view, offset, "tile height")
    overlap, first = read_varint(view, offset, "tile overlap")
    size = front.header.width, front.header.height
    try:
        grid = Grid.of(*size, columns * CODED_MULTIPLE, rows * CODED_MULTIPLE, overlap)
    except ValueError as error:
        raise BitstreamError(f"{error}; the file was altered or badly written, get an unaltered copy") from error
    end = first + len(grid) * _ENTRY.itemsize
    start = end + _CHECKSUM.size
    if len(view) < start:
        raise cut_short(len(view), f"at least {start:,}")
    (stored,) = _CHECKSUM.unpack_from(view, end)
    computed = crc32c(view[:end])
    if computed != stored:
        raise BitstreamError(
            f"checksum mismatch in the header or the table of tiles: the bytes give {computed:08x}, the file says "
            f"{stored:08x}; without them no tile can be decoded, get an unaltered copy"
        )
    container.check_front(front, limits)
    entries = np.frombuffer(view[first:end], _ENTRY)
    ends = start + np.cumsum(entries["length"], dtype=np.int64)
    if ends[-1] != front.start + front.length:
        raise BitstreamError(
            f"the tiles end at byte {ends[-1]:,}, the payload at {front.start + front.length:,}; "
            "the file was badly written, encode the image anew"
        )
    if file and file.symbol_checksum != _combined(entries):
        raise BitstreamError(
            f"the file's symbol checksum is {file.symbol_checksum:08x}, its tiles' give {_combined(entries):08x}; "
            "the file was badly written, encode the image anew"
        )
    _check_limits(grid, entries, limits)
    return TiledFile(front.header, grid, entries, ends - entries["length"], view)


def _combined(entries: NDArray[Any]) -> int:
    return crc32c(entries["symbol_checksum"].tobytes())


def _check_limits(grid: Grid, entries: NDArray[Any], limits: Limits) -> None:
    limits.check_memory(grid.columns.extent, grid.rows.extent)
    for index, length in enumerate(entries["length"].tolist()):
        box: Box = grid.box(index)
        limits.check_payload(length, box.width, box.height)
