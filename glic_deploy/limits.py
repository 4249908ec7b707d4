"""What a codec refuses: sizes checked from headers alone, before anything is allocated, decoded or inferred."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import LimitError

CODED_MULTIPLE = 128
"""The coded picture's sides are multiples of this many pixels (see `glic_deploy.image.pad`)."""


def coded_pixels(width: int, height: int) -> int:
    """Pixels that are really coded for a picture of this size: both sides rounded up to CODED_MULTIPLE."""
    return (-width % CODED_MULTIPLE + width) * (-height % CODED_MULTIPLE + height)


@dataclass(frozen=True)
class Limits:
    """Largest pictures and payloads that a codec accepts, when it encodes and when it decodes.

    Attributes:
        max_pixels: width times height, before padding. The full-size network takes some 1.5 KiB a pixel on the CPU, so
            the default, two frames of 4K, is what fits a machine of 32 GiB.
        max_side: width and height each; EXIF orientation makes no difference to it.
        max_payload_bpp: payload bits per coded pixel. No stream of the range coder reaches the default: it spends at
            most 37 bits (16 for the escape, 21 after it) on each of 1.297 symbols per pixel.
    """

    max_pixels: int = 1 << 24
    max_side: int = 1 << 15
    max_payload_bpp: int = 64

    def check_image(self, width: int, height: int) -> None:
        """Raise LimitError unless a picture of `width` x `height` pixels may be coded."""
        for name, side in (("width", width), ("height", height)):
            if side > self.max_side:
                raise LimitError(
                    f"{name} is {side:,} pixels, at most {self.max_side:,} allowed; "
                    f"cut the picture into smaller ones, or pass Limits(max_side={side}) to allow it"
                )
        pixels = width * height
        if pixels > self.max_pixels:
            raise LimitError(
                f"picture has {width:,} x {height:,} = {pixels:,} pixels, at most {self.max_pixels:,} allowed; "
                f"to allow it pass Limits(max_pixels={pixels}), on the command line --max-pixels {pixels}"
            )

    def check_payload(self, length: int, width: int, height: int) -> None:
        """Raise LimitError when a payload of `length` bytes is too long for a picture of this size."""
        allowed = coded_pixels(width, height) * self.max_payload_bpp // 8
        if length > allowed:
            raise LimitError(
                f"payload has {length:,} bytes, at most {allowed:,} allowed for {width:,} x {height:,} pixels; "
                "no encoder writes that much: get an unaltered copy, or pass Limits(max_payload_bpp=...) to allow it"
            )

    @property
    def max_file_bytes(self) -> int:
        """Size in bytes that no file within these limits exceeds."""
        padding = 2 * CODED_MULTIPLE * self.max_side + CODED_MULTIPLE**2
        return (self.max_pixels + padding) * self.max_payload_bpp // 8 + 64


DEFAULT_LIMITS = Limits()
