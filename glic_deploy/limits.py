"""Check the sizes of images and files from their headers, before anything is allocated, decoded or inferred."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from .arguments import integer
from .errors import LimitError

CODED_MULTIPLE = 128
"""The sides of a coded image are multiples of this many pixels (see `glic_deploy.image.pad`)."""


def coded_pixels(width: int, height: int) -> int:
    """Return the number of coded pixels of an image: both sides are rounded up to multiples of CODED_MULTIPLE."""
    return (-width % CODED_MULTIPLE + width) * (-height % CODED_MULTIPLE + height)


@dataclass(frozen=True)
class NetworkMemory:
    """Estimate the memory that a network needs on a CPU, from above: `fixed` bytes, and so many for each coded pixel.

    Source: measurements by `python -m benchmarks.large --tiles SIDES`, on the CPU backend that needs most.
    """

    fixed: int
    per_pixel: int

    @classmethod
    def of(cls, widths: Sequence[int], weights: int) -> NetworkMemory:
        """Estimate from the channels of the maps at 1/2 and 1/4 scale, and from the bytes of the weights in files.

        The maps at one of these scales are most of what a transform needs.
        """
        half, quarter = widths[:2]
        return cls((240 << 20) + weights, math.ceil(1600 * max(half / 128, quarter / 192)))

    def needed(self, width: int, height: int, times: int = 1) -> int:
        """Return the bytes that coding `times` images of this size at once, each as a whole, needs at most."""
        return self.fixed + times * self.per_pixel * coded_pixels(width, height)


LARGEST_NETWORK = NetworkMemory.of((128, 192), 360 << 20)
"""The network of the released checkpoints."""


def raised(limit: str, option: object, value: object = None) -> str:
    """Return the remedy for a limit: how to raise it to `option` on the command line and to `value` in Python."""
    python = option if value is None else value
    return f"raise the limit {limit} (--{limit.replace('_', '-')} {option}, Limits({limit}={python}))"


@dataclass(frozen=True)
class Limits:
    """Set the largest images and payloads that a codec accepts, for encoding and decoding.

    Raises LimitError if a limit is not an integer of at least 1.

    Attributes:
        max_pixels: width times height, before padding. The default, 16384 squared, is 0.8 GB as an array.
        max_memory: the bytes that coding may use, as `NetworkMemory` estimates them. The encoder cuts larger images
            into tiles; the decoder refuses larger images that are not in tiles. With the default, images of 1920 x 1080
            pixels are coded whole. A GPU needs less memory, so the limit may be raised for GPUs.
        max_side: the maximum of width and height.
        max_payload_bpp: payload bits per coded pixel. No stream of the range coder reaches the default: it spends at
            most 37 bits (16 for the escape, 21 after it) on each of 1.297 symbols per pixel.
        max_metadata: the bytes of all metadata together, both in the file and decompressed.
    """

    max_pixels: int = 1 << 28
    max_memory: int = 4 << 30
    max_side: int = 1 << 15
    max_payload_bpp: int = 64
    max_metadata: int = 16 << 20
    network = LARGEST_NETWORK  # no field: a codec decides it, see `for_network`

    def __post_init__(self) -> None:
        for field in fields(self):
            limit = integer(field.name, getattr(self, field.name), "an integer of at least 1", LimitError, least=1)
            object.__setattr__(self, field.name, limit)  # Python's integers do not overflow, numpy's do

    def for_network(self, network: NetworkMemory) -> Limits:
        """Return these limits for a codec, whose `max_memory` is compared with what this network needs."""
        limits = replace(self)
        object.__setattr__(limits, "network", network)
        return limits

    def check_image(self, width: int, height: int) -> None:
        """Raise LimitError unless an image of `width` x `height` pixels may be coded."""
        for name, side in (("width", width), ("height", height)):
            if side > self.max_side:
                raise LimitError(
                    f"{name} is {side:,} pixels, at most {self.max_side:,} allowed; "
                    f"cut the image into smaller ones, or {raised('max_side', side)}"
                )
        pixels = width * height
        if pixels > self.max_pixels:
            raise LimitError(
                f"the image has {width:,} x {height:,} = {pixels:,} pixels, at most {self.max_pixels:,} allowed; "
                f"{raised('max_pixels', pixels)}"
            )

    def fits_memory(self, width: int, height: int, times: int = 1) -> bool:
        """Return whether `times` images of this size may be coded at the same time."""
        return self.network.needed(width, height, times) <= self.max_memory

    def check_memory(self, width: int, height: int) -> None:
        """Raise LimitError unless an image or a tile of this size may be coded as a whole."""
        if not self.fits_memory(width, height):
            needed = self.network.needed(width, height) / (1 << 30)
            whole = math.ceil(needed)
            raise LimitError(
                f"coding {width:,} x {height:,} pixels at once takes up to {needed:.1f} GiB of memory, at most "
                f"{self.max_memory / (1 << 30):.1f} GiB allowed; encode in tiles, or "
                f"{raised('max_memory', f'{whole}G', f'{whole} << 30')}"
            )

    def check_payload(self, length: int, width: int, height: int) -> None:
        """Raise LimitError if a payload of `length` bytes is too long for an image of this size."""
        allowed = coded_pixels(width, height) * self.max_payload_bpp // 8
        if length > allowed:
            raise LimitError(
                f"payload has {length:,} bytes, at most {allowed:,} allowed for {width:,} x {height:,} pixels; "
                "no encoder writes that much: get an unaltered copy, or raise the limit max_payload_bpp "
                "(Limits(max_payload_bpp=...))"
            )

    def check_metadata(self, length: int) -> None:
        """Raise LimitError if metadata has more than `max_metadata` bytes."""
        if length > self.max_metadata:
            raise LimitError(
                f"the metadata has {length:,} bytes, at most {self.max_metadata:,} allowed; encode without it "
                f"(--metadata strip, metadata='strip'), or raise the limit max_metadata (Limits(max_metadata={length}))"
            )

    @property
    def max_file_bytes(self) -> int:
        """The largest size, in bytes, of a `.glic` file within these limits."""
        padding = 2 * CODED_MULTIPLE * self.max_side + CODED_MULTIPLE**2
        return (self.max_pixels + padding) * self.max_payload_bpp // 8 + self.max_metadata + 2048

    @property
    def max_image_bytes(self) -> int:
        """The largest size, in bytes, of an image file: `max_pixels` in 16-bit RGBA, plus 64 MiB."""
        return 8 * self.max_pixels + (64 << 20)


DEFAULT_LIMITS = Limits()
