"""Where the bits of one image go and how its adaptive graphs turn out, as numbers and as overlays."""

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
    """A map of an image: a name that does as a file's, what it shows, the drawing as PNG, and its range in numbers."""

    name: str
    title: str
    png: bytes
    values: NDArray[Any]

    def numbers(self, image: str) -> dict[str, Any]:
        """For the JSON result."""
        return {
            "image": image,
            "name": self.name,
            "mean": float(self.values.mean()),
            "min": float(self.values.min()),
            "max": float(self.values.max()),
            "zero_share": float((self.values == 0).mean()),
        }


def draw(codec: Codec, bundle: Bundle, image: NDArray[np.uint8], coded: bytes, threads: int | None) -> list[Overlay]:
    """The map of bits, then that of each adaptive graph's degrees; only what the image covers, no padding.

    coded: the image's `.glic` file by `codec`, whose bundle is `bundle`. Of one in tiles the maps are those of the
    image coded whole: LimitError when that takes more memory than is allowed.
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
