"""The bundles of an engine (one bundle, or a folder with a bundle for each lambda), and rate control over them.

Qualities are numbered from 1, which has the smallest files. If every bundle records the lambda of its training, the
bundles are sorted by lambda. Otherwise they are sorted by folder name, where digits compare as numbers: `q2` comes
before `q10`.
"""

from __future__ import annotations

import functools
import math
import os
import re
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arguments import integer, path_text, positive
from .backends import Backend, Precision
from .bundle import MANIFEST, Bundle
from .bundle_codec import BundleCodec
from .container import Header
from .errors import EngineError, ModelMismatchError, TargetWarning
from .metrics import bits_per_pixel, psnr


def bundles_in(path: str | os.PathLike[str]) -> list[Bundle]:
    """Return the bundle at `path`, or the bundles in that folder, from the smallest files to the largest.

    Raises EngineError if `path` is no path, if there is no bundle, or if a bundle has another format.
    """
    path = Path(path_text("engine", path, "the directory of an engine bundle"))
    one = os.path.exists(path / MANIFEST) or not os.path.isdir(path)  # False, not OSError, for a long name
    inside = [] if one else sorted(path.glob(f"*/{MANIFEST}"))
    if not inside:
        return [Bundle.open(path)]
    bundles = [Bundle.open(manifest.parent) for manifest in inside]
    lambdas = [bundle.lmbda for bundle in bundles]
    if None in lambdas:
        return sorted(bundles, key=lambda bundle: _natural(bundle.path.name))
    return sorted(bundles, key=lambda bundle: bundle.lmbda or 0.0)


def _natural(name: str) -> list[tuple[float, str]]:
    """Return a sort key that compares the digits anywhere in a name as numbers."""
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    return [(float(number), text) for text, number in zip(parts[::2], [*parts[1::2], "0"], strict=True)]


class BundleCodecs:
    """Opens the bundles at a path when they are first needed. Safe to use from several threads at once.

    The `keep` most recently used codecs stay open. A codec that is dropped is freed when its last user is done. The
    other arguments are those of `BundleCodec`. The best quality is opened at once, so that its errors are raised here.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        backend: str | Backend | None = None,
        threads: int | None = None,
        precision: Precision | None = None,
        device: int | None = None,
        keep: int = 2,
    ) -> None:
        self._keep = integer("keep", keep, "an integer of at least 1, the number of bundles that stay open", least=1)
        self.bundles = bundles_in(path)
        if isinstance(backend, Backend) and len(self.bundles) > 1:
            raise EngineError(
                f"{path} has {len(self.bundles)} bundles, but a Backend object runs only one; "
                "pass the name of the backend instead"
            )
        self._path = path
        self._options: dict[str, Any] = {
            "backend": backend,
            "threads": threads,
            "precision": precision,
            "device": device,
        }
        self._slots: dict[int, _Slot] = {}
        self._lock = threading.Lock()
        self._closed = False
        self.best()

    def __len__(self) -> int:
        return len(self.bundles)

    def best(self) -> BundleCodec:
        """Return the codec of the highest quality."""
        return self.at_quality(len(self))

    def check(self, quality: int) -> None:
        """Raise EngineError unless `quality` is 1 to the number of bundles."""
        if not 1 <= quality <= len(self):
            raise EngineError(
                f"quality is {quality}, {self._path} has "
                + (f"qualities 1 to {len(self)}" if len(self) > 1 else "one bundle, quality 1")
            )

    def at_quality(self, quality: int) -> BundleCodec:
        """Return the codec of a quality, 1 to the number of bundles. Raises EngineError for other numbers."""
        self.check(quality)
        with self._lock:
            if self._closed:
                raise EngineError("the codec is closed; open another: Codec(engine)")
            slot = self._slots.pop(quality, None) or _Slot()
            self._slots[quality] = slot  # a dict keeps its order, so the most recently used is last
            while len(self._slots) > self._keep:
                self._slots.pop(next(iter(self._slots)))
        with slot.lock:
            if slot.codec is None:
                slot.codec = BundleCodec(self.bundles[quality - 1].path, **self._options)
            return slot.codec

    def quality_of(self, header: Header) -> int:
        """Return the quality whose bundle wrote a file with this header. Raises ModelMismatchError if no bundle did."""
        for quality, bundle in enumerate(self.bundles, 1):
            if (header.model_fingerprint, header.arithmetic_fingerprint) == (
                bundle.model_fingerprint,
                bundle.arithmetic_fingerprint,
            ):
                return quality
        if len(self) == 1:
            return 1  # `check_fits` of this bundle says what differs
        here = ", ".join(f"{bundle.path.name}: {bundle.fingerprints}" for bundle in self.bundles)
        raise ModelMismatchError(
            f"the file was written with model {header.model_fingerprint.hex()} and entropy arithmetic "
            f"{header.arithmetic_fingerprint.hex()}, {self._path} has {here}; "
            "decode it with the bundle of the checkpoint that wrote it"
        )

    def for_file(self, header: Header) -> BundleCodec:
        """Return the codec that decodes a file with this header. Raises ModelMismatchError, EngineError."""
        codec = self.at_quality(self.quality_of(header))
        codec.check_fits(header)
        return codec

    def describe(self) -> dict[str, Any]:
        """Describe the best codec; if there are several bundles, list them under `qualities`."""
        described = self.best().describe()
        if len(self) > 1:
            described["qualities"] = [
                {
                    "quality": quality,
                    "name": bundle.path.name,
                    "lambda": bundle.lmbda,
                    "fingerprint": bundle.fingerprints,
                }
                for quality, bundle in enumerate(self.bundles, 1)
            ]
        return described

    def close(self) -> None:
        """Free all codecs."""
        with self._lock:
            self._closed = True
            slots = list(self._slots.values())
            self._slots.clear()
        for slot in slots:
            if slot.codec is not None:
                slot.codec.close()


class _Slot:
    """A codec that is open or is being opened, and the lock under which it is opened."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.codec: BundleCodec | None = None


@dataclass(frozen=True)
class Target:
    """The target of rate control: a quality, a maximum rate, or a minimum PSNR. All None selects the highest quality.

    Raises EngineError if more than one is set, or for a value that no file can have.

    Attributes:
        quality: 1 to the number of bundles.
        bpp: bits per pixel.
        psnr: dB.
    """

    quality: int | None = None
    bpp: float | None = None
    psnr: float | None = None

    def __post_init__(self) -> None:
        targets = {"quality": self.quality, "target_bpp": self.bpp, "target_psnr": self.psnr}
        given = {name: value for name, value in targets.items() if value is not None}
        if len(given) > 1:
            raise EngineError(f"got {' and '.join(given)}, expected at most one of them")
        if self.quality is not None:
            integer("quality", self.quality, "an integer from 1, the smallest files, to the number of bundles", least=1)
        for name in given.keys() - {"quality"}:
            positive(name, given[name])

    def search(
        self,
        image: NDArray[np.uint8],
        qualities: int,
        encode: Callable[[int], bytes],
        decode: Callable[[bytes], NDArray[np.uint8]],
    ) -> bytes:
        """Search the qualities 1 to `qualities` for the target and return the file of the quality that was found.

        The search is binary, because rate and PSNR are assumed to increase with quality. If no quality meets the
        target, the file has the lowest quality for a rate and the highest for a PSNR, and a TargetWarning is issued.

        Args:
            image: uint8 (height, width, 3).
            qualities: the number of qualities.
            encode: returns the file of `image` at a quality.
            decode: returns the image of a file, like `image`.
        """
        file = functools.cache(encode)

        @functools.cache
        def rate(quality: int) -> float:
            height, width = image.shape[:2]
            return bits_per_pixel(len(file(quality)), height * width)

        @functools.cache
        def decibels(quality: int) -> float:
            measured = psnr(image, decode(file(quality)))
            return math.inf if measured is None else measured

        if (bpp := self.bpp) is not None:
            quality = _last(qualities, lambda quality: rate(quality) <= bpp)
            if not quality:
                quality = 1
                warnings.warn(TargetWarning("target_bpp", bpp, rate(quality)), stacklevel=3)
        elif (least := self.psnr) is not None:
            quality = 1 + _last(qualities, lambda quality: decibels(quality) < least)
            if quality > qualities:
                quality = qualities
                warnings.warn(TargetWarning("target_psnr", least, decibels(quality)), stacklevel=3)
        else:
            quality = self.quality or qualities
        return file(quality)


def _last(count: int, holds: Callable[[int], bool]) -> int:
    """Return the largest of 1 to `count` for which `holds` is true, 0 if it is true for none.

    `holds` must be true up to some number and false above it. It is called at most log2(count + 1) times, rounded up.
    """
    low, high = 0, count + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
