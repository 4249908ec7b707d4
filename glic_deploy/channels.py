"""Describe and convert the channels of images: brightness (grey) or red, green and blue, and opacity (alpha)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .container import Header
    from .values import Value

_OPAQUE = 255


class Channels(NamedTuple):
    """Name the channels of an image.

    Attributes:
        grey: brightness instead of red, green and blue.
        alpha: opacity, as the last channel; 0 is transparent, 255 is opaque.
    """

    grey: bool
    alpha: bool

    @classmethod
    def of(cls, pixels: Value) -> Channels:
        """Return the channels of pixels (H, W), (H, W, 2), (H, W, 3) or (H, W, 4)."""
        count = 1 if len(pixels.shape) == 2 else pixels.shape[2]
        return cls(grey=count < 3, alpha=count % 2 == 0)

    @classmethod
    def of_header(cls, header: Header) -> Channels:
        """Return the channels of a file's image."""
        return cls(header.grey, header.alpha)

    @property
    def mode(self) -> str:
        """Pillow's mode for these channels."""
        return ("L" if self.grey else "RGB") + ("A" if self.alpha else "")

    def shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return the shape of the pixels of an image with these channels."""
        count = (1 if self.grey else 3) + self.alpha
        return (height, width) if count == 1 else (height, width, count)

    def fill(self, height: int, width: int, value: int) -> NDArray[np.uint8]:
        """Return an opaque image, uint8, whose colour channels all have one value."""
        pixels = np.full(self.shape(height, width), value, np.uint8)
        if self.alpha:
            pixels[..., -1] = _OPAQUE
        return pixels


def colour_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the image without alpha, (H, W) or (H, W, 3), as a view."""
    grey, alpha = Channels.of(pixels)
    if not alpha:
        return pixels
    return pixels[..., 0] if grey else pixels[..., :3]


def with_colour(pixels: NDArray[np.uint8], colour: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return `colour`, (H, W) or (H, W, 3), with the alpha channel of `pixels`, if `pixels` has one."""
    return np.dstack((colour, pixels[..., -1])) if Channels.of(pixels).alpha else colour


def as_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the image without alpha as (H, W, 3), C-contiguous; `pixels` itself if it has this form."""
    colour = colour_of(pixels)
    if colour.ndim == 2:
        colour = np.broadcast_to(colour[:, :, None], (*colour.shape, 3))
    return np.ascontiguousarray(colour)
