"""Decoded tiles joined to an image: where two overlap, one fades into the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .geometry import Axis, Box, Grid

ImageArray = NDArray[np.uint8]
Weights = Callable[[int], NDArray[np.uint32]]
"""How much of the second image each of n shared pixels takes, in units of 1/(2n)."""


def fade(pixels: int) -> NDArray[np.uint32]:
    """Linear from the first image to the second: 1, 3, ..., 2n - 1."""
    return 2 * np.arange(pixels, dtype=np.uint32) + 1


def strips(grid: Grid, region: Box, tiles: Iterable[ImageArray], weights: Weights = fade) -> Iterator[ImageArray]:
    """Yield the rows of a region, from top to bottom, as soon as they are known: arrays (rows, region.width, ...).

    Neighbours in a row are joined first, rows second, each in integers, so that a pixel does not depend on what else
    is decoded with it.

    Args:
        grid: the image's.
        region: what is wanted of it.
        tiles: the images of `grid.touching(region)`, in that order. No more than a row of them is held.
    """
    images = iter(tiles)
    rows = grid.touching(region)
    right, bottom = region.x + region.width, region.y + region.height
    above: ImageArray | None = None  # the rows that the next tiles share
    for row in rows:
        box = grid.box(row[0])
        band = _join([next(images) for _ in row], grid.columns, weights)[:, region.x - box.x : right - box.x]
        if above is not None:
            share = _along(weights(grid.overlap), 0, band.ndim)
            band[: grid.overlap] = _mix(above, band[: grid.overlap], share)
        known = box.height if row is rows[-1] else box.height - grid.overlap
        above = band[known:]
        wanted = band[max(region.y - box.y, 0) : min(known, bottom - box.y)]
        if len(wanted):
            yield wanted


def _join(row: Sequence[ImageArray], axis: Axis, weights: Weights) -> ImageArray:
    """Neighbours of one height as one image, writable."""
    if len(row) == 1:
        return row[0].copy()
    step, overlap = axis.extent - axis.overlap, axis.overlap
    height, last_width = row[-1].shape[:2]
    joined = np.empty((height, step * (len(row) - 1) + last_width, *row[0].shape[2:]), np.uint8)
    share = _along(weights(overlap), 1, joined.ndim)
    for number, tile in enumerate(row):
        start = step * number
        shared = overlap if number else 0
        joined[:, start : start + shared] = _mix(joined[:, start : start + shared], tile[:, :shared], share[:, :shared])
        joined[:, start + shared : start + tile.shape[1]] = tile[:, shared:]
    return joined


def _along(weights: NDArray[np.uint32], axis: int, dimensions: int) -> NDArray[np.uint32]:
    """Shape weights so that they vary along one axis of an image."""
    return weights.reshape([-1 if number == axis else 1 for number in range(dimensions)])


def _mix(first: ImageArray, second: ImageArray, share: NDArray[np.uint32]) -> ImageArray:
    """`share` of the second image and the rest of the first, rounded to nearest; share: in units of 1/(2n), n > 0."""
    whole = np.uint32(2 * share.size)
    mixed: NDArray[np.uint32] = (first * (whole - share) + second * share + whole // 2) // max(whole, np.uint32(1))
    return mixed.astype(np.uint8)
