"""Run the native range coder: passes of int16 symbols with uint8 table indexes to bytes, and back.

This module wraps `librans` (plugins_cpp/rans/README.md describes the stream). Arrays are not copied, and every native
call releases the GIL. Threads may share a CdfTables, but each thread needs its own encoders and decoders.
"""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BitstreamError, GlicError
from ..native import load


class CoderError(GlicError, ValueError):
    """Raised for tables, symbols, indexes or settings in a form that the range coder does not accept."""


class InstructionSet(enum.IntEnum):
    """Select a code path of the coder. All code paths write and read the same bytes."""

    BEST = 0
    SCALAR = 1
    AVX2 = 2
    AVX512 = 3
    NEON = 4

    def available(self) -> bool:
        """Return whether this CPU and this build of the library support the code path."""
        return int(_library().rans_isa_check(self)) == _OK


# The numbers of lanes that a stream may have.
LANES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

# rans_status of rans.h.
_OK, _OUT_OF_MEMORY, _BAD_TABLES, _BAD_INDEX, _BAD_ARGUMENT, _BAD_CALL, _UNSUPPORTED, _CORRUPT = range(8)


class CdfTables:
    """Hold integer CDF tables of 16-bit precision, prepared for coding; immutable.

    Args:
        cdfs: int32 (T, L), T from 1 to 256. Row r has lengths[r] entries, strictly increasing from 0 to 65536; the rest
            of the row is ignored. Slot v, below lengths[r] - 2, is the symbol offsets[r] + v. The last slot is the
            escape, which codes all other int16 values.
        lengths: int32 (T,).
        offsets: int32 (T,).

    Raises CoderError, which names the first invalid row.
    """

    def __init__(
        self, cdfs: npt.NDArray[np.int32], lengths: npt.NDArray[np.int32], offsets: npt.NDArray[np.int32]
    ) -> None:
        for name, array, axes in (("cdfs", cdfs, 2), ("lengths", lengths, 1), ("offsets", offsets, 1)):
            if array.dtype != np.int32 or array.ndim != axes:
                raise CoderError(f"{name} must be int32 with {axes} axes, got {array.dtype} of shape {array.shape}")
        if not len(cdfs) == len(lengths) == len(offsets):
            raise CoderError(
                f"each row needs one length and one offset: got {cdfs.shape}, {lengths.shape}, {offsets.shape}"
            )
        cdfs, lengths, offsets = (np.ascontiguousarray(array) for array in (cdfs, lengths, offsets))
        self.rows = len(cdfs)
        bad_row = ctypes.c_size_t()

        def create(handle: Any) -> int:
            status = _library().rans_tables_create(
                cdfs.ctypes.data, cdfs.shape[1], lengths.ctypes.data, offsets.ctypes.data, self.rows, handle,
                ctypes.byref(bad_row),
            )  # fmt: skip
            return int(status)

        try:
            self._native = _Handle(create, "rans_tables_destroy")
        except CoderError:
            r = bad_row.value
            if r >= self.rows:
                raise CoderError(f"got {self.rows} CDF rows, expected 1 to 256") from None
            raise CoderError(
                f"CDF row {r} is not valid: length {lengths[r]} of at most {cdfs.shape[1]}, offset {offsets[r]}; "
                "it must have 3 or more entries, strictly increasing from 0 to 65536, and symbols within int16"
            ) from None

    def ideal_bits(self, symbols: npt.NDArray[np.int16], indexes: npt.NDArray[np.uint8]) -> float:
        """Return the ideal number of bits: the sum of -log2 of the probabilities, plus the bits after escapes."""
        symbols, indexes = _symbols_of(symbols, indexes)
        bits = ctypes.c_double()
        status = _library().rans_tables_ideal_bits(
            self._native.pointer, symbols.ctypes.data, indexes.ctypes.data, symbols.size, ctypes.byref(bits)
        )
        _check(status, self.rows)
        return bits.value


class Encoder:
    """Write one stream: push every pass in the order of decoding, then finish.

    Args:
        isa: the code path.

    Several threads must not use an encoder at the same time.
    """

    def __init__(self, *, isa: InstructionSet = InstructionSet.BEST) -> None:
        self._native = _Handle(lambda handle: int(_library().rans_encoder_create(isa, handle)), "rans_encoder_destroy")

    def push(self, tables: CdfTables, symbols: npt.NDArray[np.int16], indexes: npt.NDArray[np.uint8]) -> None:
        """Add a pass: symbols int16 and indexes uint8 of one shape, coded in C order.

        The arrays are not referenced afterwards. Raises CoderError for other dtypes, different shapes, or an index
        without a table.
        """
        symbols, indexes = _symbols_of(symbols, indexes)
        status = _library().rans_encoder_push(
            self._native.pointer, tables._native.pointer, _address(symbols), _address(indexes), symbols.size
        )
        _check(status, tables.rows)

    def finish(self, *, lanes: int | None = None) -> bytes:
        """Return the stream.

        Args:
            lanes: the number of lanes, a power of two from 1 to 256; None selects it by size. A stream that is too
                short for this number has 32 lanes or one.

        Raises CoderError for another number of lanes, or if the encoder has finished before.
        """
        if lanes is not None and lanes not in LANES:
            raise CoderError(f"the number of lanes must be one of {', '.join(map(str, LANES))}; got {lanes}")
        data, size = ctypes.c_void_p(), ctypes.c_size_t()
        status = _library().rans_encoder_finish(
            self._native.pointer, lanes or 0, ctypes.byref(data), ctypes.byref(size)
        )
        _check(status)
        return ctypes.string_at(data.value or 0, size.value)


class Decoder:
    """Read one stream: decode every pass with the tables, indexes and size that it was encoded with, then finish.

    Any bytes are safe: if they are no stream, BitstreamError is raised here, in `decode` or in `finish`. Several
    threads must not use a decoder at the same time.

    Args:
        data: any contiguous bytes-like object; it is copied.
        isa: the code path.
    """

    def __init__(
        self, data: bytes | bytearray | memoryview | npt.NDArray[np.uint8], *, isa: InstructionSet = InstructionSet.BEST
    ) -> None:
        stream = np.frombuffer(data, dtype=np.uint8)

        def create(handle: Any) -> int:
            return int(_library().rans_decoder_create(_address(stream), stream.size, isa, handle))

        self._native = _Handle(create, "rans_decoder_destroy")

    def decode(self, tables: CdfTables, indexes: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
        """Return the symbols of the next pass, int16 of the shape of `indexes` (uint8).

        Raises BitstreamError if the stream does not contain these symbols; the decoder cannot be used afterwards.
        """
        if indexes.dtype != np.uint8:
            raise CoderError(f"indexes must be uint8, got {indexes.dtype}")
        indexes = np.ascontiguousarray(indexes)
        symbols = np.empty(indexes.shape, dtype=np.int16)
        status = _library().rans_decoder_decode(
            self._native.pointer, tables._native.pointer, _address(indexes), _address(symbols), symbols.size
        )
        if status == _BAD_INDEX:
            raise BitstreamError(f"an index is {indexes.max()}, but there are {tables.rows} tables")
        _check(status)
        return symbols

    def finish(self) -> None:
        """Raise BitstreamError unless the stream ends exactly after the last pass."""
        _check(_library().rans_decoder_finish(self._native.pointer))


class _Handle:
    """Own a native object, and destroy it at the end."""

    def __init__(self, create: Callable[[Any], int], destroy: str) -> None:
        self.pointer = ctypes.c_void_p()
        self._destroy = getattr(_library(), destroy)
        _check(create(ctypes.byref(self.pointer)))

    def __del__(self) -> None:
        if self.pointer:
            self._destroy(self.pointer)


def _address(array: npt.NDArray[Any]) -> int:
    """Return the address of a contiguous array, for writable arrays ten times as fast as `array.ctypes.data`."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array.data))
    except (TypeError, ValueError):
        return array.ctypes.data


def _symbols_of(
    symbols: npt.NDArray[np.int16], indexes: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    if symbols.dtype != np.int16 or indexes.dtype != np.uint8:
        raise CoderError(f"symbols must be int16 and indexes uint8, got {symbols.dtype} and {indexes.dtype}")
    if symbols.shape != indexes.shape:
        raise CoderError(f"symbols and indexes must have equal shapes, got {symbols.shape} and {indexes.shape}")
    return np.ascontiguousarray(symbols), np.ascontiguousarray(indexes)


def _check(status: int, rows: int = 0) -> None:
    """Raise the error of a native status."""
    if status == _OK:
        return
    if status == _OUT_OF_MEMORY:
        raise MemoryError("the range coder found no memory")
    if status == _CORRUPT:
        raise BitstreamError(
            "the range-coded stream is cut or altered, or was written with other tables, indexes or passes; "
            "decode the file that the encoder wrote, with the model that wrote it"
        )
    raise CoderError({
        _BAD_TABLES: "the CDF tables are not valid",
        _BAD_INDEX: f"an index is {rows} or more, but there are {rows} tables",
        _BAD_CALL: "the coder has finished or failed before; make a new one",
        _UNSUPPORTED: "this CPU lacks the requested instruction set; use InstructionSet.BEST",
    }[status])  # fmt: skip


@cache
def _library() -> ctypes.CDLL:
    library = load("rans")
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    out = ctypes.POINTER(pointer)
    for name, arguments in {
        "rans_isa_check": [ctypes.c_int],
        "rans_tables_create": [pointer, size, pointer, pointer, size, out, ctypes.POINTER(size)],
        "rans_tables_ideal_bits": [pointer, pointer, pointer, size, ctypes.POINTER(ctypes.c_double)],
        "rans_encoder_create": [ctypes.c_int, out],
        "rans_encoder_push": [pointer, pointer, pointer, pointer, size],
        "rans_encoder_finish": [pointer, ctypes.c_uint, out, ctypes.POINTER(size)],
        "rans_decoder_create": [pointer, size, ctypes.c_int, out],
        "rans_decoder_decode": [pointer, pointer, pointer, pointer, size],
        "rans_decoder_finish": [pointer],
    }.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, ctypes.c_int
    for name in ("rans_tables_destroy", "rans_encoder_destroy", "rans_decoder_destroy"):
        function = getattr(library, name)
        function.argtypes, function.restype = [pointer], None
    return library
