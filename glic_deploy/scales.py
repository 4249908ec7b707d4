"""The sizes of previews. Importing this module costs nothing."""

from __future__ import annotations

from .arguments import integer
from .errors import ImageError

SCALES = (2, 4, 8)
"""By what a preview can divide the sides of the image: the graph of previews computes the first, means the others."""


def check_scale(scale: int) -> int:
    """Return a scale: 1 for the whole image, or one of SCALES. Raises ImageError for anything else."""
    expected = f"1 for the whole image, or {', '.join(map(str, SCALES[:-1]))} or {SCALES[-1]} for a preview"
    value = integer("scale", scale, expected, ImageError)
    if value not in (1, *SCALES):
        raise ImageError(f"scale is {value}, expected {expected}")
    return value


def shrunk(pixels: int, scale: int) -> int:
    """Return the pixels of a side, or the end of a region, at 1/scale size."""
    return -(-pixels // scale)
