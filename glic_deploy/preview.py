"""Previews: images at 1/2, 1/4 or 1/8 size, straight from the latents instead of by the synthesis transform.

A linear map, which the exporter fits to the network, turns each position of y_hat into a patch of the small image. The
map reads the position's own latents, and a coarse image of the eight positions around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .scales import SCALES

LATENT_SIDE = 16
"""The pixels of the image's side that belong to one position of y_hat."""

FINEST = 3 * (LATENT_SIDE // SCALES[0]) ** 2
"""The values that belong to a position in the largest preview: RGB, rows, columns."""

COARSEST = 3 * (LATENT_SIDE // SCALES[-1]) ** 2
"""The values that belong to a position in the smallest preview."""

AROUND = 8
"""The neighbours of a position."""


@dataclass(frozen=True)
class Preview:
    """The linear map of one network.

    Attributes:
        coarse: float32 (M + 1, COARSEST): the latents of a position, and a constant, to its pixels at 1/8 size.
        fine: float32 (AROUND * COARSEST + M + 1, FINEST): `features` to pixels at 1/2 size. Its means over groups of
            pixels are the best map to the smaller sizes.
    """

    coarse: NDArray[np.float32]
    fine: NDArray[np.float32]

    def image(self, y_hat: NDArray[np.float32], scale: int) -> NDArray[np.uint8]:
        """Return the padded image at 1/scale of its size, uint8 (16 h / scale, 16 w / scale, 3).

        y_hat: float32 (1, M, h, w). scale: one of SCALES.
        """
        height, width = y_hat.shape[2:]
        side = LATENT_SIDE // scale
        pixels = features(y_hat, self.coarse) @ reduced(self.fine, scale)
        patches = pixels.reshape(height, width, 3, side, side).transpose(0, 3, 1, 4, 2)
        image = patches.reshape(height * side, width * side, 3)
        levels: NDArray[np.uint8] = np.floor(np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
        return levels


def positions(y_hat: NDArray[Any]) -> NDArray[Any]:
    """Return the latents of each position and a constant 1, (h, w, M + 1), of y_hat (1, M, h, w)."""
    ones = np.ones((1, *y_hat.shape[2:]), y_hat.dtype)
    return np.concatenate([y_hat[0], ones]).transpose(1, 2, 0)


def features(y_hat: NDArray[Any], coarse: NDArray[Any]) -> NDArray[Any]:
    """Return what a preview is linear in: the coarse pixels around each position and its own latents, (h, w, F).

    Beyond the edges, the positions at the edges are repeated.
    """
    own = positions(y_hat)
    height, width = own.shape[:2]
    padded = np.pad(own @ coarse, ((1, 1), (1, 1), (0, 0)), mode="edge")
    offsets = [(row, column) for row in range(3) for column in range(3) if (row, column) != (1, 1)]
    around = [padded[row : row + height, column : column + width] for row, column in offsets]
    return np.concatenate([*around, own], axis=2)


def reduced(fine: NDArray[Any], scale: int) -> NDArray[Any]:
    """Return the map to pixels at 1/scale size from the map to pixels at 1/2 size."""
    step, side = scale // SCALES[0], LATENT_SIDE // scale
    means: NDArray[Any] = fine.reshape(-1, 3, side, step, side, step).mean(axis=(3, 5), dtype=fine.dtype)
    return means.reshape(len(fine), -1)
