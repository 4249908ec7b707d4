"""Reads arrays from an .npz file that may be hostile: nothing is inflated before its size has been checked."""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Span = tuple[int, int]
Extent = int | Span
"""A size, or its minimum and maximum."""

_MAGIC = b"\x93NUMPY\1\0"
_HEADER_BYTES = 1024
_HEADER = re.compile(
    rb"\{'descr': '([<>|][a-z]\d{1,2})', 'fortran_order': (True|False), 'shape': \(((?:\d{1,9},? ?){0,8})\), \} *\n"
)
_DIRECTORY_BYTES = 1 << 17
_END = struct.Struct("<4s4H2LH")  # of a ZIP archive: marks, disks, members, size and place of the directory, comment
_END_MARK, _LARGE_MARK, _LARGE_BYTES = b"PK\5\6", b"PK\6\7", 20
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
_RAISED_BY_ZIPFILE = (zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, EOFError, OSError, OverflowError)


@dataclass(frozen=True)
class ArrayForm:
    """The required form of an array: its dtype, as NumPy names it, and the extents of its axes."""

    dtype: str
    shape: tuple[Extent, ...]

    def __str__(self) -> str:
        axes = (str(axis) if isinstance(axis, int) else f"{axis[0]} to {axis[1]}" for axis in self.shape)
        return f"{self.dtype} of shape ({', '.join(axes)})"

    @property
    def stored(self) -> np.dtype[Any]:
        """The little-endian dtype in the file."""
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def most_bytes(self) -> int:
        """The bytes of the largest array of this form."""
        return math.prod((_span(axis)[1] for axis in self.shape), start=self.stored.itemsize)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Return whether an array of this shape has this form."""
        spans = [_span(axis) for axis in self.shape]
        return len(shape) == len(spans) and all(low <= n <= high for n, (low, high) in zip(shape, spans, strict=True))


def read_npz(data: bytes, forms: Mapping[str, ArrayForm], most_bytes: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz file, which must be exactly those in `forms`. The arrays are read-only.

    Raises ValueError if there are other arrays, if one has another form, if the file is damaged, or if all arrays
    together would have more than `most_bytes` bytes.
    """
    try:
        return _read(data, forms, most_bytes)
    except _RAISED_BY_ZIPFILE as error:
        raise ValueError(f"it is a damaged .npz file ({error})") from None


def _read(data: bytes, forms: Mapping[str, ArrayForm], most_bytes: int) -> dict[str, NDArray[Any]]:
    _require_small_directory(data, len(forms))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if set(members) != set(forms) or len(archive.infolist()) != len(forms):
            missing, extra = sorted(set(forms) - set(members)), sorted(set(members) - set(forms))
            raise ValueError(f"it lacks the arrays {_listed(missing)}, and {_listed(extra)} do not belong there")
        total = sum(info.file_size for info in members.values())
        if total > most_bytes:
            raise ValueError(f"its arrays would have {total:,} bytes, expected at most {most_bytes:,}")
        return {name: _array(archive, members[name], name, form) for name, form in forms.items()}


def _require_small_directory(data: bytes, members: int) -> None:
    """Raise ValueError unless the end of the archive states a small directory of that many members."""
    if len(data) < _END.size:
        raise ValueError(f"it has {len(data)} bytes and is no .npz file")
    mark, _, _, _, count, size, _, comment = _END.unpack_from(data, len(data) - _END.size)
    large = data[-_END.size - _LARGE_BYTES :][: len(_LARGE_MARK)] == _LARGE_MARK
    if mark != _END_MARK or comment or large:
        raise ValueError("it does not end as an .npz file does: it is cut or altered")
    if count != members or size > _DIRECTORY_BYTES:
        raise ValueError(f"it holds {count:,} arrays, expected {members}")


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, form: ArrayForm) -> NDArray[Any]:
    if info.compress_type not in _COMPRESSIONS or info.flag_bits & _ENCRYPTED:
        raise ValueError(f"{name} is encrypted, or compressed in a way that NumPy does not write")
    if info.file_size > form.most_bytes + _HEADER_BYTES:
        raise ValueError(f"{name} has {info.file_size:,} bytes, expected {form}")
    with archive.open(info) as member:
        dtype, order, shape = _header(member, name)
        if (dtype, order) != (form.stored.str, "False") or not form.fits(shape):
            said = f"{dtype} of shape {shape}{' in Fortran order' if order == 'True' else ''}"
            raise ValueError(f"{name} is {said}, expected {form}")
        size = math.prod(shape, start=form.stored.itemsize)
        values = member.read(size + 1)  # without a size, a whole block of the file would be inflated
    if len(values) != size:
        raise ValueError(f"{name} has not the {size:,} bytes that its header says")
    return np.frombuffer(values, form.stored).reshape(shape).astype(form.dtype, copy=False)


def _header(member: IO[bytes], name: str) -> tuple[str, str, tuple[int, ...]]:
    """Return dtype, order ("True": Fortran's) and shape. NumPy's own reader would evaluate the text."""
    start = member.read(len(_MAGIC) + 2)
    size = int.from_bytes(start[len(_MAGIC) :], "little")
    text = member.read(min(size, _HEADER_BYTES))
    found = _HEADER.fullmatch(text)
    if start[: len(_MAGIC)] != _MAGIC or len(text) != size or found is None:
        raise ValueError(f"{name} does not begin as NumPy writes an array")
    dtype, order, shape = (group.decode() for group in found.groups())
    return dtype, order, tuple(int(size) for size in shape.split(",") if size.strip())


def _span(extent: Extent) -> Span:
    return (extent, extent) if isinstance(extent, int) else extent


def _listed(names: list[str]) -> str:
    return ", ".join(map(ascii, names[:4])) + ("…" if len(names) > 4 else "") if names else "none"
