"""Draw maps of one image: the bits of each block, and the degrees of the adaptive graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import container
from ..bundle import Bundle
from ..codec import Codec
from ..entropy.passes import CodedPass
from ..evaluation.degrees import DegreeMap, node_degrees
from ..evaluation.rates import BLOCK, block_bits, blocks_shown
from . import figures

CANDIDATES = 256


@dataclass(frozen=True)
class Overlay:
    """Hold a map of an image.

    Attributes:
        name: name of the map, fit for a file's name.
        title: description of the map for people.
        png: the drawing over the image, a PNG file.
        values: the values of the map, (h, w).
    """

    name: str
    title: str
    png: bytes
    values: NDArray[Any]

    def numbers(self, image: str) -> dict[str, Any]:
        """Return the mean, minimum, maximum and share of zeros of the map, for the JSON result."""
        return {
            "image": image,
            "name": self.name,
            "mean": float(self.values.mean()),
            "min": float(self.values.min()),
            "max": float(self.values.max()),
            "zero_share": float((self.values == 0).mean()),
        }


def draw(codec: Codec, bundle: Bundle, image: NDArray[np.uint8], coded: bytes, threads: int | None) -> list[Overlay]:
    """Draw the map of bits and the map of each adaptive graph's degrees, without the padding of the image.

    Args:
        codec: the codec, opened with `bundle`.
        bundle: the bundle.
        image: the image, uint8 (H, W, 3).
        coded: the `.glic` file of the image. If the file has tiles, the image is encoded again without tiles.
        threads: CPU threads for the degrees; None for the default.

    Raises LimitError if encoding without tiles needs more memory than the codec's limits allow, EngineError as
    `node_degrees` does.
    """
    if container.is_tiled(coded):
        coded = codec.encode(image, tile=0)
    passes: list[CodedPass] = []
    codec.decode(coded, passes=passes)
    graphs = node_degrees(bundle, image, threads)
    return [_bits(image, passes, bundle), *(_degrees(image, degrees) for degrees in graphs)]


def _bits(image: NDArray[np.uint8], passes: Sequence[CodedPass], bundle: Bundle) -> Overlay:
    height, width = image.shape[:2]
    values = block_bits(passes, bundle.tables())[blocks_shown(width, height)]
    title = f"Bits per {BLOCK}×{BLOCK} block: {values.mean():.0f} on average, {values.min():.0f} to {values.max():.0f}"
    drawn = figures.overlay(image, values, BLOCK, title=title, unit="bits")
    return Overlay("bits", title, figures.as_png(drawn), values)


def _degrees(image: NDArray[np.uint8], degrees: DegreeMap) -> Overlay:
    height, width = image.shape[:2]
    scale = degrees.scale
    values = degrees.degrees[: -(-height // scale), : -(-width // scale)]
    title = (
        f"Node degrees of {degrees.name}: {values.mean():.0f} on average, {values.min()} to {values.max()}, "
        f"{(values == 0).mean():.1%} empty"
    )
    drawn = figures.overlay(image, values, scale, title=title, unit="edges", limits=(0, CANDIDATES))
    return Overlay(f"degrees_{degrees.name.replace(' ', '_')}", title, figures.as_png(drawn), values)
