"""Target for image files of every format that Pillow reads by default."""

from __future__ import annotations

import io
import random
import warnings
import zlib
from collections.abc import Hashable, Sequence

import numpy as np

from glic_deploy.channels import Channels
from glic_deploy.image import Handling, read_image
from glic_deploy.limits import Limits

from .mutate import EDGES, havoc
from .target import Find, Place, Target, stored

_PNG = b"\x89PNG\r\n\x1a\n"


def png_havoc(data: bytes, rng: random.Random, pool: Sequence[bytes]) -> bytes:
    """A PNG with a chunk altered, doubled, dropped or moved, the CRCs right again."""
    chunks: list[tuple[bytes, bytes]] = []
    at = len(_PNG)
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return havoc(data, rng, pool)
    at = rng.randrange(len(chunks))
    kind, content = chunks[at]
    edit = rng.choice(("bytes", "bytes", "header", "inner", "drop", "double", "move"))
    if edit == "bytes":
        chunks[at] = kind, havoc(content, rng, pool)
    elif edit == "header":
        sides = b"".join((rng.choice(EDGES) % (1 << 32)).to_bytes(4, "big") for _ in range(2))
        chunks[0] = b"IHDR", (sides if rng.random() < 0.5 else chunks[0][1][:8]) + havoc(chunks[0][1][8:], rng, pool)
    elif edit == "inner" and kind in (b"IDAT", b"iCCP", b"zTXt"):
        start = content.find(b"\0") + 2 if kind != b"IDAT" else 0
        try:
            inner = havoc(zlib.decompress(content[start:]), rng, pool)
        except zlib.error:
            inner = bytes(1 << 20)
        chunks[at] = kind, content[:start] + zlib.compress(inner)
    elif edit == "drop":
        del chunks[at]
    elif edit == "double":
        chunks.insert(rng.randrange(len(chunks) + 1), chunks[at])
    else:
        chunks.insert(rng.randrange(len(chunks)), chunks.pop(at))
    framed = [len(c).to_bytes(4, "big") + k + c + zlib.crc32(k + c).to_bytes(4, "big") for k, c in chunks]
    return _PNG + b"".join(framed)


class Images(Target):
    """`read_image` of a file: an array of the image's size, or an error that says what is wrong with it."""

    name = "images"
    share = 1.5
    memory = 384 << 20
    limits = Limits(max_pixels=1 << 22, max_side=1 << 13)

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        warnings.simplefilter("ignore")

    def seeds(self) -> list[bytes]:
        return stored("images")

    def mutate(self, data: bytes, rng: random.Random, pool: Sequence[bytes]) -> bytes:
        if data.startswith(_PNG) and rng.random() < 0.7:
            return png_havoc(data, rng, pool)
        return havoc(data, rng, pool)

    def fuzz_one(self, data: bytes) -> Hashable:
        option = zlib.crc32(data)
        if option & 1:
            handling = Handling(background=(255, 0, 128))
        else:
            handling = Handling(alpha="keep", color="keep" if option & 2 else "srgb")
        image = read_image(io.BytesIO(data), handling, self.limits)
        pixels, channels = image.pixels, Channels.of(image.pixels)
        height, width = pixels.shape[:2]
        if pixels.dtype != np.uint8 or pixels.shape != channels.shape(height, width):
            raise Find(f"read as {pixels.shape} of {pixels.dtype}")
        if height * width > self.limits.max_pixels or (channels.alpha and option & 1):
            raise Find(f"read as {pixels.shape}")
        if image.profiled and not image.metadata.icc:
            raise Find("the colours are those of a profile that is not kept")
        return pixels.shape, *(name for name, _ in image.metadata.items())
