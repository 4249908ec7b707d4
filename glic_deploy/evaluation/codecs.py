"""Run other codecs through Pillow, at several qualities, with Pillow's default settings and chroma subsampling."""

from __future__ import annotations

import importlib
import io
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features
from PIL import __version__ as pillow_version

from ..errors import EngineError


@dataclass(frozen=True)
class PillowCodec:
    """Describe one of Pillow's lossy formats.

    Attributes:
        name: name on the command line.
        title: name in tables and plots.
        format: Pillow's name of the format.
        qualities: values of Pillow's `quality`; they cover about 0.1 to 1 bits per pixel on photographs.
        options: further options of Pillow's `save`.
        plugin: module that registers the format, and the command that installs it; None if Pillow has the format.
    """

    name: str
    title: str
    format: str
    qualities: tuple[int, ...]
    options: tuple[tuple[str, Any], ...] = ()
    plugin: tuple[str, str] | None = None

    def installed(self) -> bool:
        if self.plugin is not None:
            with suppress(ImportError):
                importlib.import_module(self.plugin[0])
        Image.init()
        return self.format in Image.SAVE and (self.name not in ("webp", "avif") or bool(features.check(self.name)))

    def describe(self) -> str:
        """Return the format, Pillow's version and the options as a text for results."""
        options = ", ".join(f"{name} {value}" for name, value in self.options)
        return f"{self.title} of Pillow {pillow_version}" + (f", {options}" if options else "")

    def round_trip(self, pixels: NDArray[np.uint8], quality: int) -> tuple[bytes, NDArray[np.uint8], float, float]:
        """Encode and decode an image, uint8 (H, W, 3).

        Returns the file, the decoded image, uint8 (H, W, 3), and the seconds of encoding and of decoding.
        """
        image, stream = Image.fromarray(pixels), io.BytesIO()
        start = time.perf_counter()
        image.save(stream, self.format, quality=quality, **dict(self.options))
        encoded = time.perf_counter()
        data = stream.getvalue()
        decoded = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        return data, decoded, encoded - start, time.perf_counter() - encoded


CODECS = (
    PillowCodec("jpeg", "JPEG", "JPEG", (5, 10, 20, 30, 45, 60, 75), (("optimize", True), ("progressive", True))),
    PillowCodec("webp", "WebP", "WEBP", (1, 10, 25, 45, 65, 80), (("method", 6),)),
    PillowCodec("avif", "AVIF", "AVIF", (20, 30, 40, 50, 60, 70), (("speed", 6),)),
    PillowCodec(
        "jxl",
        "JPEG XL",
        "JXL",
        (5, 20, 40, 55, 70, 82),
        (("effort", 7),),
        ("pillow_jxl", "pip install pillow-jxl-plugin"),
    ),
)


def choose(names: list[str] | None) -> list[PillowCodec]:
    """Return the codecs with these names, or all installed codecs for None.

    Raises EngineError for an unknown name and for a codec that is not installed.
    """
    return list(_choose(names)) if names is not None else [codec for codec in CODECS if codec.installed()]


def _choose(names: list[str]) -> Iterator[PillowCodec]:
    known = {codec.name: codec for codec in CODECS}
    for name in names:
        if name not in known:
            raise EngineError(f"no codec is called {name!r}; there are: {', '.join(known)}")
        codec = known[name]
        if not codec.installed():
            remedy = codec.plugin[1] if codec.plugin else "pip install --upgrade Pillow"
            raise EngineError(f"{codec.title} is not installed: {remedy}")
        yield codec
