"""One image through one codec: file size, quality, times, and what the bits are for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import container
from ..codec import Codec
from ..entropy.passes import CodedPass
from ..limits import DEFAULT_LIMITS
from ..metrics import bits_per_pixel, psnr
from .codecs import PillowCodec
from .rates import Tables, estimated_bits, parts

Row = dict[str, Any]
ImageArray = NDArray[np.uint8]
Similarity = Callable[[ImageArray, ImageArray], float | None]


def measure_engine(
    codec: Codec,
    tables: Tables,
    image: ImageArray,
    file: Path,
    similarity: Similarity | None,
    effort: int | None = None,
) -> Row:
    """Encode to `file`, decode from it. Times are those of `Codec.encode` and `.decode`, array to bytes and back."""
    start = time.perf_counter()
    data = codec.encode(image, effort=effort)
    encoded = time.perf_counter()
    file.write_bytes(data)
    data = file.read_bytes()
    reread = time.perf_counter()
    passes: list[CodedPass] = []
    decoded = codec.decode(data, passes=passes)
    done = time.perf_counter()
    file_parts = parts(passes, tables, len(container.parse(data, DEFAULT_LIMITS).payload), file.stat().st_size)
    row = _row(image, decoded, file.stat().st_size, encoded - start, done - reread, similarity)
    pixels = row["width"] * row["height"]
    return {**row, "estimated_bpp": estimated_bits(file_parts) / pixels, "parts_bits": file_parts}


def measure_other(codec: PillowCodec, quality: int, image: ImageArray, similarity: Similarity | None) -> Row:
    """The same for one of Pillow's formats, without what only our files tell."""
    data, decoded, encode_s, decode_s = codec.round_trip(image, quality)
    return _row(image, decoded, len(data), encode_s, decode_s, similarity)


def _row(
    image: ImageArray, decoded: ImageArray, size: int, encode_s: float, decode_s: float, similarity: Similarity | None
) -> Row:
    height, width = image.shape[:2]
    return {
        "width": width,
        "height": height,
        "bytes": size,
        "bpp": bits_per_pixel(size, width * height),
        "psnr": psnr(image, decoded),
        "ms_ssim": similarity(image, decoded) if similarity else None,
        "encode_s": encode_s,
        "decode_s": decode_s,
    }
