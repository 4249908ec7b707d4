"""Mutations of bytes, JSON documents and archives: all that they draw comes from the generator that is passed in."""

from __future__ import annotations

import io
import json
import random
import re
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

EDGES = (
    *(0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 0x7F, 0x80, 0xFF, 0x100, 0x3FF, 0x7FFF, 0x8000, 0xFFFF, 0x10000),
    *(0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, 1 << 40, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1),
)
NUMBERS = ("0", "-1", "1", "255", "65536", "4294967296", "18446744073709551616", "1e999", "-1e999", "NaN", "Infinity")
LONGEST = 1 << 24


def _replace(data: bytearray, start: int, stop: int, new: bytes) -> None:
    data[start:stop] = new


def _flip(data: bytearray, rng: random.Random, pool: Sequence[bytes]) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(data: bytearray, rng: random.Random, pool: Sequence[bytes]) -> None:
    data[rng.randrange(len(data))] = rng.randrange(256)


def _edge(data: bytearray, rng: random.Random, pool: Sequence[bytes]) -> None:
    size = rng.choice((1, 2, 4, 8))
    value = rng.choice(EDGES) % (1 << 8 * size)
    at = rng.randrange(len(data))
    _replace(data, at, at + size, value.to_bytes(size, rng.choice(("little", "big"))))


def _varint(data: bytearray, rng: random.Random, pool: Sequence[bytes]) -> None:
    at = rng.randrange(len(data))
    _replace(data, at, at + rng.randrange(3), varint(rng.choice(EDGES)))


def varint(value: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _insert(data: bytearray, rng: random.Random, pool: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    _replace(data, at, at, rng.randbytes(rng.choice((1, 2, 4, 16, 64))))


def _remove(data: bytearray, rng: random.Random, pool: Sequence[bytes]) -> None:
    start, stop = _range(data, rng)
    del data[start:stop]


def _duplicate(data: bytearray, rng: random.Random, pool: Sequence[bytes]) -> None:
    start, stop = _range(data, rng)
    at = rng.randrange(len(data) + 1)
    _replace(data, at, at, bytes(data[start:stop]))


def _truncate(data: bytearray, rng: random.Random, pool: Sequence[bytes]) -> None:
    del data[rng.randrange(len(data)) :]


def _splice(data: bytearray, rng: random.Random, pool: Sequence[bytes]) -> None:
    other = rng.choice(pool) if pool else b""
    if other:
        start, stop = _range(other, rng)
        at = rng.randrange(len(data))
        _replace(data, at, at + rng.choice((0, stop - start)), other[start:stop])


def _number(data: bytearray, rng: random.Random, pool: Sequence[bytes]) -> None:
    """One of the numbers that stand in the data as text."""
    window = rng.randrange(len(data))
    found = re.search(rb"-?\d+", data[window : window + 200])
    if found:
        _replace(data, window + found.start(), window + found.end(), rng.choice(NUMBERS).encode())


def _range(data: bytes | bytearray, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.choice((1, 2, 4, 8, 32, 128, 1024, len(data))))


_Edit = Callable[[bytearray, random.Random, Sequence[bytes]], None]
_EDITS: tuple[_Edit, ...] = (
    *(_flip, _flip, _set, _edge, _edge, _varint, _insert, _remove, _duplicate, _truncate, _splice, _number),
)


def havoc(data: bytes, rng: random.Random, pool: Sequence[bytes], most: int = 6) -> bytes:
    """The data with one to `most` edits; pool: what parts of other inputs are taken from."""
    edited = bytearray(data)
    for _ in range(rng.randint(1, most)):
        if not edited:
            edited += rng.randbytes(rng.randrange(64))
            continue
        rng.choice(_EDITS)(edited, rng, pool)
    return bytes(edited[:LONGEST])


# ---- JSON ----

_RAW = "\0raw:"  # before a value that json.dumps would not write


def _raw(text: str) -> str:
    return _RAW + text


def _strange(rng: random.Random) -> Any:
    """A value that no writer puts there."""
    values: tuple[Any, ...] = (
        *(None, True, False, 0, 1, -1, 10**9, -(10**9), 1 << 63, 1 << 64, 10**30, 0.5, -0.0, 1e308),
        *(
            "",
            "0",
            "x",
            "\0",
            "a\0b",
            "..",
            "../x",
            "/etc/passwd",
            "H",
            "H/0",
            "W/16/2",
            "\ud800",
            "ä" * 300,
            "x" * 5000,
        ),
        *([], {}, [[]], [None], [0], {"": 0}, [1] * 1000),
        *map(_raw, NUMBERS),
        *(_raw("[" * 100_000 + "]" * 100_000), _raw("9" * 5000), _raw('"\\ud800"'), _raw("1E400"), _raw("nul")),
    )
    return rng.choice(values)


def json_havoc(data: bytes, rng: random.Random, most: int = 3) -> bytes:
    """A JSON document with values replaced, removed, doubled or swapped; other bytes come back as they are."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return data
    for _ in range(rng.randint(1, most)):
        places = list(_places(document))
        if not places:
            return json.dumps(_strange(rng)).encode()
        parent, key = rng.choice(places)
        kind = rng.choice(("strange", "strange", "remove", "swap", "rename", "double"))
        if kind == "remove":
            del parent[key]
        elif kind == "swap":
            other, where = rng.choice(places)
            parent[key] = other[where]  # shared, not copied: the document stays a tree when it is written
        elif kind == "rename" and isinstance(parent, dict):
            parent[rng.choice((f"{key} ", str(key).upper(), "", "\0", f"../{key}"))] = parent.pop(key)
        elif kind == "double" and isinstance(parent, list):
            parent.insert(rng.randrange(len(parent) + 1), parent[key])
        else:
            parent[key] = _strange(rng)
    try:
        text = json.dumps(document)
    except (ValueError, RecursionError):  # a swap made a circle
        return data
    return re.sub(r'"\\u0000raw:((?:[^"\\]|\\.)*)"', lambda found: json.loads(f'"{found[1]}"'), text).encode()


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Every container and key in a document."""
    found: list[tuple[Any, Any]] = []
    todo = [node]
    while todo and len(found) < 5000:
        inner = todo.pop()
        keys = inner.keys() if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else ()
        for key in keys:
            found.append((inner, key))
            todo.append(inner[key])
    return found


# ---- ZIP archives: .npz, .pth ----


def zip_havoc(data: bytes, rng: random.Random, pool: Sequence[bytes], largest: int = 1 << 27) -> bytes:
    """An archive with members altered, dropped, doubled, renamed or inflated, its directory and CRCs right again.

    largest: bytes to which a member may be inflated. Data that is no archive is mutated as bytes.
    """
    if rng.random() < 0.25:
        return havoc(data, rng, pool)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:
        return havoc(data, rng, pool)
    for _ in range(rng.randint(1, 3)):
        if not members:
            break
        at = rng.randrange(len(members))
        name, content = members[at]
        kind = rng.choice(("bytes", "bytes", "start", "drop", "double", "rename", "swap", "inflate"))
        if kind == "bytes":
            members[at] = name, havoc(content, rng, pool)
        elif kind == "start":  # an NPY header, a pickle's opcodes
            members[at] = name, havoc(content[:128], rng, pool) + content[128:]
        elif kind == "drop":
            del members[at]
        elif kind == "double":
            members.append((name, content))
        elif kind == "rename":
            members[at] = rng.choice(("", "../x", "/x", f"{name}.npy", name.upper(), "x" * 70000, "\0")), content
        elif kind == "swap":
            members[at] = name, rng.choice(members)[1]
        elif rng.random() < 0.1:
            members[at] = name, content[:128] + bytes(rng.choice((1 << 16, 1 << 22, largest)))
    written = io.BytesIO()
    try:
        with zipfile.ZipFile(written, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
            for name, content in members:
                archive.writestr(zipfile.ZipInfo(name or "x"), content, archive.compression)
    except Exception:  # not every name can be written
        return data
    return written.getvalue()
