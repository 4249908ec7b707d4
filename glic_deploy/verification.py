"""Verify `.glic` files: checksums, entropy decoding and metadata, without the synthesis of pixels."""

from __future__ import annotations

import time
from dataclasses import dataclass

from . import channel_codec, container, metadata, tiles
from .bundle_codec import BundleCodec
from .errors import BitstreamError
from .limits import Limits
from .qualities import BundleCodecs


@dataclass(frozen=True)
class Verified:
    """Hold the result of a verification.

    Attributes:
        width, height: the sides of the image in pixels.
        tiles: the number of coded images in the file: 1 unless the file has tiles.
        symbols: the number of decoded symbols.
        metadata: the decompressed size of each item of the metadata in bytes, by name.
        seconds: the time of entropy decoding: the entropy parameters' graphs and the range coder.
        stages: the seconds of each graph and of the range coder.
    """

    width: int
    height: int
    tiles: int
    symbols: int
    metadata: dict[str, int]
    seconds: float
    stages: dict[str, float]


@dataclass(frozen=True)
class _Part:
    """Hold a coded image, the whole one or a tile, and its place for messages."""

    coded: memoryview
    checksum: int
    height: int
    width: int
    place: str


def verify(codecs: BundleCodecs, coded: memoryview, limits: Limits) -> Verified:
    """Verify that a file is whole and that this engine decodes it.

    Args:
        codecs: the codecs of the engine's bundles; one of them must have the model of the file.
        coded: the bytes of the file.
        limits: larger sizes are refused.

    Raises BitstreamError, which lists everything that is damaged, and ModelMismatchError, LimitError and EngineError
    as `Codec.decode` does.
    """
    front = container.read_front(coded)
    header = front.header
    parts, damaged = _parts(coded, limits)
    codec = codecs.for_file(header)
    stages: dict[str, float] = {}
    symbols, seconds = 0, 0.0
    for part in parts:
        try:
            stream, alpha = channel_codec.split(part.coded, header.alpha)
            if alpha is not None:
                channel_codec.decode_alpha(alpha, part.height, part.width)
            start = time.perf_counter()
            symbols += _count_symbols(codec, stream, part, stages)
            seconds += time.perf_counter() - start
        except BitstreamError as error:
            if not header.tiled:
                raise
            damaged.append(f"{part.place}: {error}")
    sizes: dict[str, int] = {}
    problems = [f"damaged tiles: {', '.join(damaged)}"] if damaged else []
    for name in metadata.NAMES:
        try:
            content = metadata.item(header, coded[front.frame_end :], name, limits)
        except BitstreamError as error:
            problems.append(f"the metadata {name} is damaged, the image is not: {error}")
        else:
            sizes |= {name: len(content)} if content else {}
    if problems:
        raise BitstreamError("; ".join(problems))
    return Verified(header.width, header.height, len(parts), symbols, sizes, seconds, stages)


def _parts(coded: memoryview, limits: Limits) -> tuple[list[_Part], list[str]]:
    """Return the coded images of a file that have the right checksum, and the places of the damaged ones."""
    if not container.is_tiled(coded):
        file = container.parse(coded, limits)
        height, width = file.header.height, file.header.width
        limits.check_memory(width, height)
        return [_Part(file.payload, file.symbol_checksum, height, width, "the image")], []
    tiled = tiles.parse(coded, limits, partial=True)
    parts: list[_Part] = []
    damaged: list[str] = []
    for index in range(len(tiled.grid)):
        box = tiled.grid.box(index)
        try:
            payload = tiled.payload(index)
        except BitstreamError:
            damaged.append(tiled.place(index))
        else:
            parts.append(_Part(payload, tiled.symbol_checksum(index), box.height, box.width, tiled.place(index)))
    if not damaged:
        tiles.parse(coded, limits)  # checks the file's end too
    return parts, damaged


def _count_symbols(codec: BundleCodec, stream: memoryview, part: _Part, stages: dict[str, float]) -> int:
    spent: dict[str, float] = {}
    passes = codec.decode_symbols(stream, part.checksum, part.height, part.width, spent)
    for name, seconds in spent.items():
        stages[name] = stages.get(name, 0.0) + seconds
    return sum(coded.symbols.size for coded in passes)
