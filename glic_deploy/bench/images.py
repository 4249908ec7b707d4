"""Images to time with: the caller's, brought to a size, or a synthetic one with a photograph's spectrum and edges."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ..image import load_image
from ..limits import Limits
from ..saving import save_image

Size = tuple[int, int]

SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class Workload:
    """An image file to time, and what it is: where it comes from, its size in pixels (width, height)."""

    path: Path
    source: str
    size: Size

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1]


def prepare(directory: Path, sources: list[str], sizes: list[Size], limits: Limits) -> list[Workload]:
    """Write a PNG for each source in each size (its own without `sizes`); the synthetic image without `sources`.

    Other sizes are made by scaling and cutting from the centre. Raises ImageError or LimitError for a bad source.
    """
    workloads = []
    for number, source in enumerate(sources or [SYNTHETIC]):
        original = load_image(source, limits=limits) if sources else None
        for width, height in sizes or [(original.shape[1], original.shape[0]) if original is not None else (768, 512)]:
            path = directory / f"{number}_{width}x{height}.png"
            save_image(synthetic(width, height) if original is None else _fit(original, width, height), path)
            workloads.append(Workload(path, source, (width, height)))
    return workloads


def synthetic(width: int, height: int) -> NDArray[np.uint8]:
    """An image with the amplitude spectrum of photographs, 1/f, and hard edges; the same every time."""
    rng = np.random.default_rng(0)
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequencies[0, 0] = 1
    planes = []
    for _ in range(3):
        noise = rng.standard_normal((height, width))
        plane = np.fft.irfft2(np.fft.rfft2(noise) / frequencies, s=(height, width))
        planes.append(plane / plane.std())
    light, red, blue = planes
    y, x = np.mgrid[:height, :width]
    light = light + ((x // 97 + y // 61) % 3 - 1)
    rgb = 128 + 36 * np.stack([light + 0.4 * red, light, light + 0.4 * blue], axis=-1)
    return rgb.clip(0, 255).astype(np.uint8)


def _fit(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(ImageOps.fit(Image.fromarray(image), (width, height), Image.Resampling.LANCZOS))
