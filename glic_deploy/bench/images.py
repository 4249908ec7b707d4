"""Prepare the images to time: the user's images, scaled to a size, or a synthetic image."""

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
    """Describe an image file to time.

    Attributes:
        path: the PNG file.
        source: the user's file, or SYNTHETIC.
        size: width and height in pixels.
    """

    path: Path
    source: str
    size: Size

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1]


def prepare(directory: Path, sources: list[str], sizes: list[Size], limits: Limits) -> list[Workload]:
    """Write a PNG file to `directory` for each source in each size.

    Without `sizes`, an image keeps its own size. Without `sources`, a synthetic image is made, 768×512 pixels by
    default. An image is scaled and cropped around its centre to reach another size.

    Raises ImageError or LimitError if a source cannot be read.
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
    """Make an image, uint8 (height, width, 3), with the 1/f amplitude spectrum of photographs and with hard edges.

    The result depends only on the size.
    """
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
