"""Targets for `.glic` files: the parsers alone, and the whole decoder with the sample engine."""

from __future__ import annotations

import contextlib
import random
import time
import warnings
import zlib
from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np

from glic_deploy import Codec, container, tiles
from glic_deploy.checksum import crc32c
from glic_deploy.errors import GlicError
from glic_deploy.limits import CODED_MULTIPLE, DEFAULT_LIMITS, Limits
from glic_deploy.tiles.geometry import Grid
from glic_deploy.varint import read_varint

from .mutate import EDGES, havoc, varint
from .target import ROOT, Find, Place, Target, stored

_ENTRY = 12  # bytes of a tile in the table: length, symbol checksum, payload checksum
_SIDES = (*EDGES, 127, 128, 129, 255, 256, 257, 300, 512, 2000, 16384, 32768, 32769)


def repaired(data: bytes) -> bytes:
    """A file whose checksums, and lengths as far as they are not absurd, fit its bytes."""
    file = bytearray(data)
    with contextlib.suppress(GlicError, ValueError, IndexError):
        _repair_tiles(file)
    if len(file) >= 4:
        file[-4:] = crc32c(bytes(file[:-4])).to_bytes(4, "little")
    return bytes(file)


def _repair_tiles(file: bytearray) -> None:
    """The checksums of a tiled file's tiles and table, and of all their symbols."""
    view = memoryview(bytes(file))
    front = container.read_front(view)
    if not front.header.tiled:
        return
    columns, offset = read_varint(view, front.start, "columns")
    rows, offset = read_varint(view, offset, "rows")
    overlap, first = read_varint(view, offset, "overlap")
    size = front.header.width, front.header.height
    count = len(Grid.of(*size, columns * CODED_MULTIPLE, rows * CODED_MULTIPLE, overlap))
    end = first + _ENTRY * count
    if end + 4 > len(file):
        return
    start = end + 4
    symbols = b""
    for at in range(first, end, _ENTRY):
        length = int.from_bytes(file[at : at + 4], "little")
        file[at + 8 : at + 12] = crc32c(bytes(file[start : start + length])).to_bytes(4, "little")
        symbols += file[at + 4 : at + 8]
        start += length
    file[end : end + 4] = crc32c(bytes(file[:end])).to_bytes(4, "little")
    file[-8:-4] = crc32c(symbols).to_bytes(4, "little")


def with_other_fields(data: bytes, rng: random.Random) -> bytes:
    """A file with one of its fields at an edge, put together again as a writer would."""
    try:
        front = container.read_front(memoryview(data))
    except GlicError:
        return data
    payload, end = data[front.start : front.start + front.length], data[front.start + front.length :]
    header, flags, length = front.header, front.flags, len(payload)
    kind = rng.choice(("width", "height", "both", "flags", "length", "geometry", "model", "entries"))
    if kind in ("width", "both"):
        header = replace(header, width=rng.choice(_SIDES))
    if kind in ("height", "both"):
        header = replace(header, height=rng.choice(_SIDES))
    if kind == "flags":
        flags = rng.choice((0, 1, 2, 3, 4, 0x80, 0xFF))
    if kind == "model":
        header = replace(header, model_fingerprint=rng.randbytes(4))
    if kind == "geometry":
        numbers = b"".join(varint(rng.choice((0, 1, 2, 3, 16, *_SIDES))) for _ in range(3))
        payload = numbers + payload[rng.choice((0, 3)) :]
    if kind == "entries":
        payload = payload[:3] + havoc(payload[3:], rng, [payload], 3)
    length = rng.choice(EDGES) if kind == "length" else len(payload)
    sizes = varint(header.width) + varint(header.height)
    fingerprints = header.model_fingerprint + header.arithmetic_fingerprint
    return b"".join((data[:5], bytes((flags,)), sizes, fingerprints, varint(length), payload, end))


class _Files(Target):
    def mutate(self, data: bytes, rng: random.Random, pool: Sequence[bytes]) -> bytes:
        data = with_other_fields(data, rng) if rng.random() < 0.4 else havoc(data, rng, pool, 4)
        return repaired(data) if rng.random() < 0.9 else data


class Headers(_Files):
    """Everything that looks at a file without decoding it."""

    name = "headers"
    memory = 64 << 20
    deadline = 5.0

    def seeds(self) -> list[bytes]:
        format_data = sorted((ROOT / "tests" / "data" / "format").glob("*.glic"))
        return [*stored("headers"), *(path.read_bytes() for path in format_data)]

    def fuzz_one(self, data: bytes) -> Hashable:
        outcomes = []
        for limits in (DEFAULT_LIMITS, Limits(max_pixels=1 << 40, max_side=1 << 32, max_memory=1 << 60)):
            for read in (container.parse, container.parse_header, tiles.parse, _partial):
                try:
                    read(data, limits)
                    outcomes.append("")
                except GlicError as error:
                    outcomes.append(f"{type(error).__name__} {str(error)[:12]}")
        return (*outcomes, container.is_tiled(data))


def _partial(data: bytes, limits: Limits) -> tiles.TiledFile:
    return tiles.parse(data, limits, partial=True)


class Decoder(_Files):
    """Whole decoding: parser, tiles, range coder, networks, assembly; in time and memory that the header explains."""

    name = "decoder"
    share = 3.0
    deadline = 30.0
    memory = 1 << 30
    limits = Limits(max_pixels=1 << 18, max_side=1 << 10, max_memory=1 << 30)

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        warnings.simplefilter("ignore")
        self.codec = Codec(place.engine, backend="onnxruntime", threads=1, limits=self.limits)
        noise = np.random.default_rng(0)
        ramp = np.linspace(0, 255, 300 * 280 * 3).reshape(280, 300, 3)
        self.image = np.clip(ramp + noise.normal(0, 8, ramp.shape), 0, 255).astype(np.uint8)
        self.codec.decode(self.codec.encode(self.image))
        begin = time.process_time()
        self.codec.decode(self.codec.encode(self.image))
        self.per_pixel = (time.process_time() - begin) / (384 * 384)

    def seeds(self) -> list[bytes]:
        crops = [self.image, self.image[:1, :1], self.image[:40, :130]]
        return [*map(self.codec.encode, crops), self.codec.encode(self.image, tile=256)]

    def fuzz_one(self, data: bytes) -> Hashable:
        option = zlib.crc32(data)
        on_error = "fill" if option & 1 else "raise"
        region = (1, 2, 3, 4) if option & 2 else None
        begin = time.process_time()
        try:
            image = self.codec.decode(data, on_error=on_error, region=region)
        finally:
            self._check_time(data, time.process_time() - begin)
        header = container.parse_header(data, self.limits)
        if region is None and image.shape != (header.height, header.width, 3):
            raise Find(f"decoded to {image.shape}, the header says {header.width} x {header.height}")
        return image.shape, int(image[0, 0, 0]) // 32

    def _check_time(self, data: bytes, seconds: float) -> None:
        """Ten times what a valid file of the size takes, encoded and decoded, and a second for noise."""
        try:
            header = container.parse_header(data, self.limits)
            pixels = (header.width + 127) // 128 * ((header.height + 127) // 128) * 128 * 128
        except GlicError:
            pixels = 0
        if seconds > 1 + 10 * self.per_pixel * pixels:
            raise Find(f"took {seconds:.1f} s of processor time, {pixels:,} coded pixels explain no more than a tenth")
