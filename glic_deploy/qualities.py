"""The bundles of one engine: a single one, or a folder of them, one for each lambda that the network was trained for.

Qualities are numbered from 1, the smallest files. They are in the order of the lambdas that the bundles record if all
do, else in that of the folders' names, in which digits count as numbers (`q2` comes before `q10`).
"""

from __future__ import annotations

import functools
import math
import re
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arguments import integer, positive
from .backends import Backend, Precision
from .bundle import MANIFEST, Bundle
from .container import Header
from .engine import Engine
from .errors import EngineError, ModelMismatchError, TargetWarning
from .metrics import bits_per_pixel, psnr


def bundles_in(path: str | Path) -> list[Bundle]:
    """The bundle at `path`, or those directly in it, from the smallest files to the largest.

    Raises EngineError when there is none, or one of them is of another format.
    """
    path = Path(path)
    inside = [] if (path / MANIFEST).exists() or not path.is_dir() else sorted(path.glob(f"*/{MANIFEST}"))
    if not inside:
        return [Bundle.open(path)]
    bundles = [Bundle.open(manifest.parent) for manifest in inside]
    lambdas = [bundle.lmbda for bundle in bundles]
    if None in lambdas:
        return sorted(bundles, key=lambda bundle: _natural(bundle.path.name))
    return sorted(bundles, key=lambda bundle: bundle.lmbda or 0.0)


def _natural(name: str) -> list[tuple[float, str]]:
    """A key that puts numbers in their order wherever they stand in a name."""
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    return [(float(number), text) for text, number in zip(parts[::2], [*parts[1::2], "0"], strict=True)]


class Engines:
    """Engines of the bundles at a path, opened when they are first needed. Safe to use from several threads at once.

    At most `keep` stay open between uses, the last used; one that is dropped is freed when nobody uses it any more.
    Other arguments are `Engine`'s. The best quality is opened at once, so that what is wrong with it is told at once.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        backend: str | Backend | None = None,
        threads: int | None = None,
        precision: Precision | None = None,
        keep: int = 2,
    ) -> None:
        self._keep = integer("keep", keep, "an integer of at least 1, the engines that stay open", least=1)
        self.bundles = bundles_in(path)
        if isinstance(backend, Backend) and len(self.bundles) > 1:
            raise EngineError(
                f"{path} holds {len(self.bundles)} bundles, a backend that is made runs one; give its name"
            )
        self._path = path
        self._options: dict[str, Any] = {"backend": backend, "threads": threads, "precision": precision}
        self._slots: dict[int, _Slot] = {}
        self._lock = threading.Lock()
        self._closed = False
        self.best()

    def __len__(self) -> int:
        return len(self.bundles)

    def best(self) -> Engine:
        """The engine of the highest quality."""
        return self.of(len(self))

    def check(self, quality: int) -> None:
        """Raise EngineError unless there is such a quality."""
        if not 1 <= quality <= len(self):
            raise EngineError(
                f"quality is {quality}, {self._path} has "
                + (f"qualities 1 to {len(self)}" if len(self) > 1 else "one bundle, quality 1")
            )

    def of(self, quality: int) -> Engine:
        """The engine of a quality, 1 to the number of bundles."""
        self.check(quality)
        with self._lock:
            if self._closed:
                raise EngineError("the codec is closed; open another: Codec(engine)")
            slot = self._slots.pop(quality, None) or _Slot()
            self._slots[quality] = slot  # a dict keeps its order: the last used is last
            while len(self._slots) > self._keep:
                self._slots.pop(next(iter(self._slots)))
        with slot.lock:
            if slot.engine is None:
                slot.engine = Engine(self.bundles[quality - 1].path, **self._options)
            return slot.engine

    def quality_of(self, header: Header) -> int:
        """The quality that a file with such a header was written with. Raises ModelMismatchError for none of these."""
        for quality, bundle in enumerate(self.bundles, 1):
            if (header.model_fingerprint, header.arithmetic_fingerprint) == (
                bundle.model_fingerprint,
                bundle.arithmetic_fingerprint,
            ):
                return quality
        if len(self) == 1:
            return 1  # whose check says what differs
        here = ", ".join(f"{bundle.path.name}: {bundle.fingerprints}" for bundle in self.bundles)
        raise ModelMismatchError(
            f"the file was written with model {header.model_fingerprint.hex()} and entropy arithmetic "
            f"{header.arithmetic_fingerprint.hex()}, {self._path} has {here}; "
            "decode it with the bundle of the checkpoint that wrote it"
        )

    def for_file(self, header: Header) -> Engine:
        """The engine that decodes files with such a header. Raises ModelMismatchError, EngineError."""
        engine = self.of(self.quality_of(header))
        engine.check_fits(header)
        return engine

    def describe(self) -> dict[str, Any]:
        """The best engine, and where there are several, all of them."""
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
        """Free the engines."""
        with self._lock:
            self._closed = True
            slots = list(self._slots.values())
            self._slots.clear()
        for slot in slots:
            if slot.engine is not None:
                slot.engine.close()


class _Slot:
    """An engine that is open or will be, and the lock under which it is opened."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.engine: Engine | None = None


@dataclass(frozen=True)
class Goal:
    """What a file is to be: of a quality, of a rate at most, or of a PSNR at least; of the highest quality if all None.

    Raises EngineError for more than one of them, or a target that no file has.
    """

    quality: int | None = None
    bpp: float | None = None
    psnr: float | None = None

    def __post_init__(self) -> None:
        targets = {"quality": self.quality, "target_bpp": self.bpp, "target_psnr": self.psnr}
        given = {name: value for name, value in targets.items() if value is not None}
        if len(given) > 1:
            raise EngineError(f"got {' and '.join(given)}, expected one of them at most")
        if self.quality is not None:
            integer("quality", self.quality, "an integer from 1, the smallest files, to the number of bundles", least=1)
        for name in given.keys() - {"quality"}:
            positive(name, given[name])

    def reach(
        self,
        picture: NDArray[np.uint8],
        qualities: int,
        encode: Callable[[int], bytes],
        decode: Callable[[bytes], NDArray[np.uint8]],
    ) -> bytes:
        """The file of `picture`, `encode` being called with one of 1 to `qualities`, the fewer times the better.

        Rate and PSNR are taken to grow with quality. A rate that none is within gets the lowest quality, a PSNR that
        none reaches the highest, and a TargetWarning says what can be had.
        """
        file = functools.cache(encode)

        @functools.cache
        def rate(quality: int) -> float:
            height, width = picture.shape[:2]
            return bits_per_pixel(len(file(quality)), height * width)

        @functools.cache
        def decibels(quality: int) -> float:
            measured = psnr(picture, decode(file(quality)))
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
    """The last of 1 to `count` for which `holds`, which it does for all before that; 0 for none.

    Asks for log2(count + 1) of them, rounded up.
    """
    low, high = 0, count + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
