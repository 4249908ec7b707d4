"""Stand-ins for the transforms of a bundle: integer arithmetic in place of neural networks.

With them, a bundle without transforms codes images: equal images give equal files on every machine, and the pixels of
a decoded image show every bit of the latents. So tests compare files and images exactly, and need no PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glic_deploy.backends import Backend

_BLOCK = 16  # pixels of a latent's side
_FRACTION = 4096  # y_hat has 12 fraction bits


def analysis(image: NDArray[np.uint8], channels: int, gain: float) -> NDArray[np.float32]:
    """Return y (1, channels, H / 16, W / 16): of each block, pixels at places and in colours that the channels name."""
    planes = []
    for channel in range(channels):
        row, column = 7 * channel % _BLOCK, 5 * channel % _BLOCK
        plane = image[row::_BLOCK, column::_BLOCK, channel % 3].astype(np.float32) - 128
        planes.append(plane * gain / 2 ** (3 + channel % 4))
    return np.stack(planes)[None]


def hyper_analysis(y: NDArray[np.float32], channels: int) -> NDArray[np.int16]:
    """Return z (1, channels, h / 4, w / 4): every fourth latent of the first channels, in eighths."""
    return np.rint(y[:, :channels, ::4, ::4] / 8).astype(np.int16)


def synthesis(y_hat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the image: pixels of the block of a latent hold the lower three bytes of its fixed-point number."""
    fixed = np.rint(y_hat[0].astype(np.float64) * _FRACTION).astype("<i4")
    height, width = fixed.shape[1:]
    cells = np.arange(_BLOCK * _BLOCK).reshape(_BLOCK, _BLOCK) % len(fixed)
    blocks = fixed[cells].transpose(2, 0, 3, 1).reshape(_BLOCK * height, _BLOCK * width)
    return np.ascontiguousarray(blocks).view(np.uint8).reshape(*blocks.shape, 4)[..., :3].copy()


class StandIns(Backend):
    """Runs the transforms by stand-ins, and all other graphs on another backend.

    inner: the other backend.
    latent, hyper: the channels of y and z.
    gain: a power of 2, by which y is multiplied.
    """

    def __init__(self, inner: Backend, latent: int = 64, hyper: int = 32, gain: float = 1) -> None:
        self.name, self._inner, self._latent, self._hyper, self._gain = inner.name, inner, latent, hyper, gain

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        if graph == "analysis":
            return [analysis(inputs["image"], self._latent, self._gain)]
        if graph == "hyper_analysis":
            return [hyper_analysis(inputs["y"], self._hyper)]
        if graph == "synthesis":
            return [synthesis(inputs["y_hat"])]
        return self._inner.run(graph, inputs)

    def describe(self) -> dict[str, Any]:
        return self._inner.describe()

    def close(self) -> None:
        self._inner.close()
