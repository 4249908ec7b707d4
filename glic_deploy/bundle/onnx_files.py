"""Finds the files that an ONNX graph reads its constants from, without the onnx package.

A walk over the protobuf message that visits every place where a tensor can be, subgraphs and functions among them. What
it cannot follow it refuses, so that a graph never reads a file that was not checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

_LOCATION = b"location"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DEEPEST = 64

# Of each message, the fields that lead to tensors, by the numbers that onnx.proto gives them.
_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_KEY, _VALUE = 1, 2  # fields of an entry, one of external_data


def files_read_by(name: str, model: bytes) -> set[str]:
    """Return the names of an ONNX file with these bytes and of the files with its constants, as the bundle has them.

    Raises ValueError where the bytes are no ModelProto, or nest more than 64 messages.
    """
    return {name} | {str(PurePosixPath(name).parent / location) for location in external_files(model)}


def external_files(model: bytes) -> set[str]:
    """Return the locations of external data that a serialized ModelProto names, as they stand there.

    Raises ValueError as `files_read_by` does.
    """
    found: set[str] = set()
    _walk(model, 0, len(model), "model", found, 0)
    return found


def _walk(data: bytes, start: int, stop: int, message: str, found: set[str], depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError(f"it nests more than {_DEEPEST} messages")
    if message == "entry":
        found |= set(_locations(data, start, stop))
        return
    inner = _FIELDS[message]
    for number, first, last in _fields(data, start, stop):
        # The key of an entry stands there as it is, and most messages have none.
        if number in inner and data.find(_LOCATION, first, last) >= 0:
            _walk(data, first, last, inner[number], found, depth + 1)


def _locations(data: bytes, start: int, stop: int) -> Iterator[str]:
    """The values of an entry one of whose keys is "location": a parser takes the last of either."""
    fields = [(number, data[first:last]) for number, first, last in _fields(data, start, stop)]
    if (_KEY, _LOCATION) in fields:
        values = [value for number, value in fields if number == _VALUE]
        yield from (value.decode() for value in values or [b""])


def _fields(data: bytes, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of every field of a message that holds bytes."""
    while start < stop:
        tag, start = _varint(data, start, stop)
        if tag >> 32:
            raise ValueError(f"a field has the number {tag >> 3}")  # of which parsers see the lower bits alone
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _, start = _varint(data, start, stop)
            continue
        if kind == _BYTES:
            size, start = _varint(data, start, stop)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"a field has the unknown type {kind}")
        if size > stop - start:
            raise ValueError("a field is longer than its message")
        if kind == _BYTES:
            yield number, start, start + size
        start += size


def _varint(data: bytes, start: int, stop: int) -> tuple[int, int]:
    """A number and where it ends."""
    if start < stop and data[start] < 128:  # most are so small
        return data[start], start + 1
    value = 0
    for shift, byte in zip(range(0, 70, 7), data[start : min(stop, start + 10)], strict=False):
        value |= (byte & 127) << shift
        if byte < 128:
            return value, start + shift // 7 + 1
    raise ValueError("a number is cut or too long")
