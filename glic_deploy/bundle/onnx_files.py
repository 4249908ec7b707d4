"""Finds the files with the constants of an ONNX graph, without the onnx package.

The search visits every place in the protobuf message where a tensor can be, also in subgraphs and functions. Messages
that it cannot parse are refused, so that a graph never reads a file that was not checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

_LOCATION = b"location"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DEEPEST = 64

# For each message, the fields that lead to tensors, by their numbers in onnx.proto.
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
_KEY, _VALUE = 1, 2  # fields of an entry of external_data


def files_read_by(name: str, model: bytes) -> set[str]:
    """Return the name of an ONNX file with these bytes, and the names of the files with its constants, in the bundle.

    Raises ValueError if the bytes are not a ModelProto, or nest more than 64 messages.
    """
    return {name} | {str(PurePosixPath(name).parent / location) for location in external_files(model)}


def external_files(model: bytes) -> set[str]:
    """Return the locations of external data in a serialized ModelProto, unchanged.

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
        # Most messages do not contain the key of an entry, so they need not be parsed.
        if number in inner and data.find(_LOCATION, first, last) >= 0:
            _walk(data, first, last, inner[number], found, depth + 1)


def _locations(data: bytes, start: int, stop: int) -> Iterator[str]:
    """Yield all values of an entry that has the key "location", since a parser uses the last key and the last value."""
    fields = [(number, data[first:last]) for number, first, last in _fields(data, start, stop)]
    if (_KEY, _LOCATION) in fields:
        values = [value for number, value in fields if number == _VALUE]
        yield from (value.decode() for value in values or [b""])


def _fields(data: bytes, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, begin and end of every field of a message that contains bytes."""
    while start < stop:
        tag, start = _varint(data, start, stop)
        if tag >> 32:
            raise ValueError(f"a field has the number {tag >> 3}")  # parsers use its lower bits only
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
    """Return a number and the offset of its end."""
    if start < stop and data[start] < 128:  # most numbers are small
        return data[start], start + 1
    value = 0
    for shift, byte in zip(range(0, 70, 7), data[start : min(stop, start + 10)], strict=False):
        value |= (byte & 127) << shift
        if byte < 128:
            return value, start + shift // 7 + 1
    raise ValueError("a number is cut or too long")
