"""The bundles of an engine: one bundle, or a folder with a bundle for each lambda.

Qualities are numbered from 1, which has the smallest files. If every bundle records the lambda of its training, the
bundles are sorted by lambda. Otherwise they are sorted by folder name, where digits compare as numbers: `q2` comes
before `q10`.
"""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Any

from .arguments import integer, path_text
from .backends import Backend, Precision
from .bundle import MANIFEST, Bundle
from .bundle_codec import BundleCodec
from .container import Header
from .errors import EngineError, ModelMismatchError
from .limits import NetworkMemory


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

    def memory(self) -> NetworkMemory:
        """Return the memory that the largest of the networks needs."""
        return max((bundle.memory for bundle in self.bundles), key=lambda memory: (memory.per_pixel, memory.fixed))

    def __len__(self) -> int:
        return len(self.bundles)

    def best(self) -> BundleCodec:
        """Return the codec of the highest quality."""
        return self.at_quality(len(self))

    def check(self, quality: float) -> None:
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
