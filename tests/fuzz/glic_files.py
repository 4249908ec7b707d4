"""Targets for `.glic` files: the parsers alone, and the whole decoder with the sample engine."""

from __future__ import annotations

import contextlib
import functools
import io
import random
import time
import warnings
import zlib
from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np

from glic_deploy import Codec, Metadata, channel_codec, container, metadata, read_metadata, tiles
from glic_deploy import fields as optional
from glic_deploy.channels import Channels
from glic_deploy.checksum import crc32c
from glic_deploy.errors import GlicError
from glic_deploy.image import Handling, read_image
from glic_deploy.limits import CODED_MULTIPLE, DEFAULT_LIMITS, Limits
from glic_deploy.saving import save_image
from glic_deploy.tiles.geometry import Grid
from glic_deploy.varint import read_varint

from .. import profiles
from .images import png_havoc
from .mutate import EDGES, havoc, varint
from .target import ROOT, Find, Place, Target, stored

_ENTRY = 12  # bytes of a tile in the table: length, symbol checksum, payload checksum
_SIDES = (*EDGES, 127, 128, 129, 255, 256, 257, 300, 512, 2000, 16384, 32768, 32769)


def repaired(data: bytes) -> bytes:
    """Return a file whose checksums, and lengths as far as they are not absurd, fit its bytes."""
    file, end = bytearray(data), len(data)
    with contextlib.suppress(GlicError, ValueError, IndexError):
        front = container.read_front(memoryview(data))
        end = min(end, front.frame_end)
        _repair_attachments(file, front)
        if front.header.tiled:
            _repair_tiles(file, front)
    if end >= 4:
        file[end - 4 : end] = crc32c(bytes(file[: end - 4])).to_bytes(4, "little")
    return bytes(file)


def _repair_attachments(file: bytearray, front: container.Front) -> None:
    """Correct the checksums of the attachments, which lie in the header."""
    fields, start = list(front.header.fields), front.frame_end
    parts = iter(optional.attachments(fields))
    for index, field in enumerate(fields):
        if field.attached:
            part = next(parts)
            content = bytes(file[start + part.start : start + part.start + part.size])
            fields[index] = field._replace(value=field.value[:-4] + crc32c(content).to_bytes(4, "little"))
    written = optional.write(fields)
    end = front.start - len(varint(front.length))
    file[end - len(written) : end] = written


def _repair_tiles(file: bytearray, front: container.Front) -> None:
    """Correct the checksums of the tiles, of the table, and of all symbols."""
    view = memoryview(bytes(file))
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
    file[front.frame_end - 8 : front.frame_end - 4] = crc32c(symbols).to_bytes(4, "little")


def with_other_fields(data: bytes, rng: random.Random) -> bytes:
    """Return a file with one of its parts at an edge, put together again as a writer would."""
    try:
        front = container.read_front(memoryview(data))
    except GlicError:
        return data
    payload, end = data[front.start : front.start + front.length], data[front.frame_end - 8 : front.frame_end]
    behind = data[front.frame_end :]
    header, flags = front.header, front.flags
    kind = rng.choice(
        ("width", "height", "both", "flags", "length", "geometry", "model", "entries", "fields", "item", "alpha")
    )
    if kind in ("width", "both"):
        header = replace(header, width=rng.choice(_SIDES))
    if kind in ("height", "both"):
        header = replace(header, height=rng.choice(_SIDES))
    if kind == "flags":
        flags = rng.choice((flags ^ 1 << rng.randrange(8), rng.randrange(256)))
    if kind == "model":
        header = replace(header, model_fingerprint=rng.randbytes(4))
    if kind == "geometry":
        numbers = b"".join(varint(rng.choice((0, 1, 2, 3, 16, *_SIDES))) for _ in range(3))
        payload = numbers + payload[rng.choice((0, 3)) :]
    if kind == "entries":
        payload = payload[:3] + havoc(payload[3:], rng, [payload], 3)
    if kind == "alpha":
        payload = _with_other_alpha(payload, rng)
    fields = b"".join(varint(field.key) + varint(len(field.value)) + field.value for field in header.fields)
    if kind == "fields":
        fields = havoc(fields + varint(rng.choice(EDGES)) + b"\x01x", rng, [fields], 3)
    if kind == "item":
        content = _item(rng, havoc(behind, rng, [behind], 2))
        number = rng.choice((1, 2, 3, 4, 4096))
        fields, behind = varint(4 * number + 2) + varint(len(varint(len(content))) + 4) + varint(len(content)), content
        fields += bytes(4)
    length = rng.choice(EDGES) if kind == "length" else len(payload)
    sizes = varint(header.width) + varint(header.height)
    fingerprints = header.model_fingerprint + header.arithmetic_fingerprint
    start = data[: len(container.MAGIC) + 1] + bytes((flags,)) + sizes + fingerprints
    return b"".join((start, varint(len(fields)), fields, varint(length), payload, end, behind))


def _item(rng: random.Random, content: bytes) -> bytes:
    """Return an item of metadata, whose size or whose deflate stream may be wrong."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = bytes(rng.choice((0, 0, 0, 1 << 20, 8 << 20)))
    deflated = compressor.compress(content + bomb) + compressor.flush()
    size = len(content) + len(bomb) if rng.random() < 0.7 else rng.choice(EDGES)
    return varint(size) + (deflated if rng.random() < 0.7 else havoc(deflated, rng, [content], 2))


def _with_other_alpha(payload: bytes, rng: random.Random) -> bytes:
    """Return a coded image with other alpha, or with another length of its colours."""
    try:
        stream, _ = channel_codec.split(memoryview(payload), alpha=True)
    except GlicError:
        stream = memoryview(payload)
    start = len(varint(len(stream)))
    alpha = png_havoc(payload[start + len(stream) :] or bytes(rng.randrange(40)), rng, [payload])
    length = rng.choice(EDGES) if rng.random() < 0.1 else len(stream)
    return varint(length) + bytes(stream) + alpha


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
                    _check_written(data, read(data, limits))
                    outcomes.append("")
                except GlicError as error:
                    outcomes.append(f"{type(error).__name__} {str(error)[:12]}")
        return (*outcomes, container.is_tiled(data))


def _check_written(data: bytes, found: container.File | container.Header | tiles.TiledFile) -> None:
    """Raise Find unless writing the header that was read gives the bytes of the file again."""
    header = found if isinstance(found, container.Header) else found.header
    front = container.read_front(memoryview(data))
    if container.pack_front(header, front.length) != data[: front.start]:
        raise Find("the header has a second encoding")


def _partial(data: bytes, limits: Limits) -> tiles.TiledFile:
    return tiles.parse(data, limits, partial=True)


class MetadataItems(_Files):
    """Metadata read from files, attached to others, and written into image files of every format that holds it."""

    name = "metadata"
    memory = 128 << 20
    limits = Limits(max_metadata=1 << 20)

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        warnings.simplefilter("ignore")

    def seeds(self) -> list[bytes]:
        valid = ROOT / "tests" / "data" / "conformance" / "valid"
        kept = [valid / f"{name}.glic" for name in ("metadata", "metadata_stored", "profiled", "field_attached")]
        return [*stored("headers"), *(path.read_bytes() for path in kept)]

    def fuzz_one(self, data: bytes) -> Hashable:
        found = read_metadata(data, limits=self.limits)
        size = sum(len(content) for _, content in found.items())
        if size > self.limits.max_metadata:
            raise Find(f"read {size:,} bytes, at most {self.limits.max_metadata:,} are allowed")
        fields, attachments = metadata.attach(found, DEFAULT_LIMITS)
        header = container.Header(1, 1, True, False, bytes(4), bytes(4), fields=fields)
        if read_metadata(container.pack(header, b"", 0, attachments)) != found:
            raise Find("metadata that was read does not come back after it is written")
        format = ("PNG", "TIFF", "WEBP", "JPEG", "AVIF")[zlib.crc32(data) % 5]
        target = io.BytesIO()
        save_image(np.zeros((4, 3, 3), np.uint8), target, format=format, metadata=found)
        target.seek(0)
        shape = read_image(target, Handling(metadata=found)).pixels.shape
        if sorted(shape) != [3, 3, 4]:
            raise Find(f"an image file with metadata has pixels of shape {shape}")
        return format, *(name for name, _ in found.items())


class Alpha(Target):
    """Coded images with alpha: two bytes of sides, then the lengths, the stream and the PNG file."""

    name = "alpha"
    memory = 64 << 20

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        warnings.simplefilter("ignore")

    def seeds(self) -> list[bytes]:
        valid = ROOT / "tests" / "data" / "conformance" / "valid"
        payload = bytes(container.parse((valid / "alpha.glic").read_bytes()).payload)
        pixel = bytes(container.parse((valid / "alpha_pixel.glic").read_bytes()).payload)
        return [bytes((70, 100)) + payload, bytes((1, 1)) + pixel]

    def mutate(self, data: bytes, rng: random.Random, pool: Sequence[bytes]) -> bytes:
        if rng.random() < 0.7:
            return data[:2] + _with_other_alpha(data[2:], rng)
        return havoc(data, rng, pool)

    def fuzz_one(self, data: bytes) -> Hashable:
        height, width = (*data, 0, 0)[:2]
        _, png = channel_codec.split(memoryview(data[2:]), alpha=True)
        alpha = channel_codec.decode_alpha(png if png is not None else memoryview(b""), height, width)
        if (alpha.shape, alpha.dtype) != ((height, width), np.uint8):
            raise Find(f"alpha is {alpha.shape} of {alpha.dtype}")
        return height > 99, width > 99, int(alpha[0, 0])


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
        grey, alpha = self.image[:40, :50, 0], np.dstack((self.image, self.image[..., 0]))
        encode = functools.partial(self.codec.encode, alpha="keep", color="keep")
        described = Metadata(exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0", icc=profiles.display_p3())
        return [
            *map(encode, crops), encode(self.image, tile=256), encode(grey), encode(alpha[:40, :50]),
            encode(alpha, tile=256), encode(grey[:20], metadata=described), encode(crops[2], metadata=described),
        ]  # fmt: skip

    def fuzz_one(self, data: bytes) -> Hashable:
        option = zlib.crc32(data)
        on_error = "fill" if option & 1 else "raise"
        region = (1, 2, 3, 4) if option & 2 else None
        begin = time.process_time()
        try:
            image = self.codec.decode(data, on_error=on_error, region=region, color="srgb" if option & 4 else "keep")
        finally:
            self._check_time(data, time.process_time() - begin)
        header = container.parse_header(data, self.limits)
        read_metadata(data, limits=self.limits)
        if region is None and image.shape != Channels.of_header(header).shape(header.height, header.width):
            raise Find(f"decoded to {image.shape}, the header says {header.width} x {header.height}")
        return image.shape, int(image.flat[0]) // 32

    def _check_time(self, data: bytes, seconds: float) -> None:
        """Ten times what a valid file of the size takes, encoded and decoded, and a second for noise."""
        try:
            header = container.parse_header(data, self.limits)
            pixels = (header.width + 127) // 128 * ((header.height + 127) // 128) * 128 * 128
        except GlicError:
            pixels = 0
        if seconds > 1 + 10 * self.per_pixel * pixels:
            raise Find(f"took {seconds:.1f} s of processor time, {pixels:,} coded pixels explain no more than a tenth")
