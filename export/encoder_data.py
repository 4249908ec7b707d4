"""Codes the calibration images with a new bundle: for its tables, and for the strength of its quantisation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glic_deploy.bundle import set_encoder_data
from glic_deploy.bundle_codec import BundleCodec, Latents
from glic_deploy.exchange import PUBLISHED_FAMILY, Exchange
from glic_deploy.image import pad
from glic_deploy.tuning import Measured, tune

from .fitted_tables import CodedSymbols
from .progress import Progress

DEFAULT_EXCHANGE = str(PUBLISHED_FAMILY)


class CodedImage(NamedTuple):
    """An image, its latents, and the symbols of y, rounded to the nearest."""

    image: NDArray[np.uint8]
    latents: Latents
    symbols: CodedSymbols


def code_images(directory: Path, images: Iterable[NDArray[np.uint8]]) -> list[CodedImage]:
    """Code images with the bundle in a directory. Raises EngineError if onnxruntime cannot run the bundle."""
    coded = []
    with _codec(directory) as codec:
        for image in images:
            latents = codec.analyse(pad(image))
            passes = codec.code(latents)
            symbols, indexes = (np.concatenate([one.ravel() for one in of]) for of in (passes.symbols, passes.indexes))
            coded.append(CodedImage(image, latents, CodedSymbols(symbols, indexes)))
    return coded


def add_encoder_data(directory: Path, images: Sequence[CodedImage], exchange: str, progress: Progress) -> None:
    """Find the strength that pays most on images with the finished bundle, and add it to the bundle's manifest.

    Raises EngineError for a text that is no exchange rate, or if onnxruntime cannot run the bundle.
    """
    rate = Exchange.parse(exchange)
    progress.begin("finding the encoder's strength")
    with _codec(directory) as codec:
        found = tune([Measured(codec, one.image, one.latents) for one in images], rate)
    set_encoder_data(directory, found)
    progress.done(f"strength {found.strength:g}: {found.net_percent:+.2f} % at {rate}" if found else "")


@contextmanager
def _codec(directory: Path) -> Iterator[BundleCodec]:
    codec = BundleCodec(directory, backend="onnxruntime")
    try:
        yield codec
    finally:
        codec.close()
