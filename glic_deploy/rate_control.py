"""Rate control: finds the bundle, and the strength of its quantisation, whose file meets a target.

A bundle of rising strength needs fewer bits at a lower quality, and continuously so. The strength is therefore a dial
between the rates of neighbouring bundles, and below the smallest.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .arguments import integer, number, positive
from .entropy.quantizer import MAX_STRENGTH
from .errors import EngineError, TargetError, TargetWarning
from .metrics import bits_per_pixel, psnr
from .values import Value

NEAR_RATE = 0.01
"""A file whose size is below its target by this share or less is near enough to end the search."""
NEAR_DB = 0.03
"""A file whose PSNR exceeds its target by this or less is near enough to end the search."""

_MOST_STEPS = 6
_LOG_RATE_SLOPE, _DB_SLOPE = 0.9, 3.0
"""What a unit of strength changes, about: the first guess of a search."""

Encode = Callable[[int, float | None], bytes]
"""Returns the file of an image at a quality and a strength; None is the strength of the effort that was asked for."""
Decode = Callable[[bytes], NDArray[np.uint8]]


@dataclass(frozen=True)
class Target:
    """The target of rate control: a quality, a maximum rate or size, or a minimum PSNR. All None: the highest quality.

    Raises EngineError if more than one is set, or for a value that no file can have.

    Attributes:
        quality: 1 to the number of bundles. A fraction is a rate between those of two bundles: 3.5 is the geometric
            mean of the rates of 3 and 4.
        bpp: bits per pixel.
        psnr: dB.
        size: bytes.
        effort: 0 tries only the bundles themselves, rounded to the nearest; None or more turns the dial too.
        strict: whether a target out of reach is an error.
    """

    quality: float | None = None
    bpp: float | None = None
    psnr: float | None = None
    size: int | None = None
    effort: int | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        targets = {"quality": self.quality, "target_bpp": self.bpp, "target_psnr": self.psnr, "target_bytes": self.size}
        given = {name: value for name, value in targets.items() if value is not None}
        if len(given) > 1:
            raise EngineError(f"got {' and '.join(given)}, expected at most one of them")
        if self.quality is not None:
            number("quality", self.quality, "a number from 1, the smallest files, to the number of bundles", least=1.0)
        if self.size is not None:
            integer("target_bytes", self.size, "a whole number of bytes above 0", least=1)
        for name in given.keys() - {"quality", "target_bytes"}:
            positive(name, given[name])

    def search(
        self,
        image: Value,
        qualities: int,
        encode: Encode,
        decode: Decode,
    ) -> bytes:
        """Search qualities and strengths for the target and return the file that was found.

        The search assumes that rate and PSNR increase with quality and decrease with strength. If the target is out of
        reach, the file is the nearest, and a TargetWarning is issued.

        Args:
            image: uint8 (height, width, 3).
            qualities: the number of qualities.
            encode: returns the file of `image` at a quality and a strength.
            decode: returns the image of a file, like `image`.

        Raises TargetError instead of the warning if `strict`.
        """
        search = _Search(image, qualities, encode, decode, dial=self.effort != 0, strict=self.strict)
        if self.bpp is not None:
            pixels = image.shape[0] * image.shape[1]
            return search.smaller(self.bpp * pixels / 8, "target_bpp", self.bpp)
        if self.size is not None:
            return search.smaller(self.size, "target_bytes", self.size)
        if self.psnr is not None:
            return search.better(self.psnr)
        return search.at_quality(qualities if self.quality is None else self.quality)


class _Search:
    """The files of one image, each coded and decoded at most once."""

    def __init__(self, image: Value, qualities: int, encode: Encode, decode: Decode, dial: bool, strict: bool) -> None:
        self._pixels = image.shape[0] * image.shape[1]
        self._qualities = qualities
        self._dial = dial
        self._strict = strict
        self._file = functools.cache(encode)

        @functools.cache
        def decibels(quality: int, strength: float) -> float:
            measured = psnr(np.asarray(image), decode(self._file(quality, strength)))
            return math.inf if measured is None else measured

        self._decibels = decibels

    def at_quality(self, quality: float) -> bytes:
        """Return the file of a quality, which may be fractional."""
        lower, share = math.floor(quality), quality % 1
        if not share:
            return self._file(lower, None)
        if not self._dial:
            raise EngineError(
                f"quality is {quality:g} at effort 0, which codes only at whole qualities; leave the effort out, or "
                f"ask for quality {lower} or {lower + 1}"
            )
        sizes = [math.log(len(self._file(whole, None))) for whole in (lower, lower + 1)]
        wanted = math.exp(sizes[0] * (1 - share) + sizes[1] * share)
        return self._dialled_to_size(lower + 1, wanted) or self._file(lower, None)

    def smaller(self, most: float, name: str, target: float) -> bytes:
        """Return the best file of at most `most` bytes."""
        below = _last(self._qualities, lambda quality: self._size(quality) <= most)
        if below < self._qualities and self._size_is_far(below, most) and self._dial:
            file = self._dialled_to_size(below + 1, most)
            if file is not None:
                return file
        if below:
            return self._file(below, 0.0)
        smallest, largest = self._file(1, MAX_STRENGTH if self._dial else 0.0), self._file(self._qualities, 0.0)
        reach = [len(file) for file in (smallest, largest)]
        if name == "target_bpp":
            self._miss(name, target, *(bits_per_pixel(size, self._pixels) for size in reach), got=0)
        else:
            self._miss(name, target, *reach, got=0)
        return smallest

    def better(self, least: float) -> bytes:
        """Return the smallest file of at least `least` dB."""
        quality = 1 + _last(self._qualities, lambda quality: self._decibels(quality, 0.0) < least)
        if quality > self._qualities:
            lowest = self._decibels(1, MAX_STRENGTH if self._dial else 0.0)
            self._miss("target_psnr", least, lowest, self._decibels(self._qualities, 0.0), got=1)
            return self._file(self._qualities, 0.0)
        if not self._dial:
            return self._file(quality, 0.0)

        def excess(strength: float) -> float:
            return self._decibels(quality, strength) - least

        strength = _crossing(excess, _DB_SLOPE, NEAR_DB, above=True)
        assert strength is not None  # since strength 0 is above the target
        return self._file(quality, strength)

    def _size(self, quality: int) -> int:
        return len(self._file(quality, 0.0))

    def _size_is_far(self, quality: int, most: float) -> bool:
        return not quality or self._size(quality) < most * (1 - NEAR_RATE)

    def _dialled_to_size(self, quality: int, most: float) -> bytes | None:
        """Return the largest file of a quality that has at most `most` bytes; None if no strength is enough."""

        def excess(strength: float) -> float:
            return math.log(len(self._file(quality, strength)) / most)

        strength = _crossing(excess, _LOG_RATE_SLOPE, NEAR_RATE, above=False)
        return None if strength is None else self._file(quality, strength)

    def _miss(self, name: str, target: float, lowest: float, highest: float, *, got: int) -> None:
        """Report a target out of reach. got: which end of the range, 0 or 1, the file has."""
        if self._strict:
            raise TargetError(name, target, lowest, highest)
        warnings.warn(TargetWarning(name, target, lowest, highest, got=(lowest, highest)[got]), stacklevel=6)


def _crossing(height: Callable[[float], float], slope: float, near: float, *, above: bool) -> float | None:
    """Return a strength at which a decreasing function of it is close to zero, on the side asked for.

    Args:
        height: the function, over the strengths 0 to MAX_STRENGTH.
        slope: by how much a unit of strength lowers the function, about.
        near: the distance from zero that is close enough.
        above: whether the result must be 0 or more there; else it must be 0 or less.

    Returns None if no strength is on that side. The result may be further from zero than `near`: if the function has a
    jump, or crosses zero at no strength.
    """
    side = 1 if above else -1
    heights = {0.0: height(0.0)}
    for _ in range(_MOST_STEPS):
        best = _nearest(heights, side)
        strength = _next_strength(heights, slope, side * near / 2)
        if strength in heights or (best is not None and abs(heights[best]) <= near):
            break
        heights[strength] = height(strength)
    return _nearest(heights, side)


def _nearest(heights: dict[float, float], side: int) -> float | None:
    """Return the strength whose height is nearest to zero on a side, 1 above or -1 below; None if there is none."""
    return min((s for s, height in heights.items() if side * height >= 0), key=lambda s: abs(heights[s]), default=None)


def _next_strength(heights: dict[float, float], slope: float, aim: float) -> float:
    """Return the strength to try next, given the heights of those tried before; one of these if there is no better."""
    low = max((s for s, height in heights.items() if height > aim), default=None)
    high = min((s for s, height in heights.items() if height <= aim), default=None)
    if low is None:
        return 0.0
    if high is None:
        if low > 0:
            slope = max((heights[0.0] - heights[low]) / low, slope / 8)
        return min(MAX_STRENGTH, low + 1.2 * (heights[low] - aim) / slope)
    share = (heights[low] - aim) / (heights[low] - heights[high])
    return low + (high - low) * min(max(share, 0.1), 0.9)


def _last(count: int, holds: Callable[[int], bool]) -> int:
    """Return the largest of 1 to `count` for which `holds` is true, 0 if it is true for none.

    `holds` must be true up to some number and false above it. It is called at most log2(count + 1) times, rounded up.
    """
    low, high = 0, count + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
