"""Finds the strength of a new bundle's rate-distortion-optimised quantisation, on the calibration images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glic_deploy.bundle import set_encoder_data
from glic_deploy.bundle_codec import BundleCodec
from glic_deploy.exchange import PUBLISHED_FAMILY, Exchange
from glic_deploy.tuning import tune

from .progress import Progress

DEFAULT_EXCHANGE = str(PUBLISHED_FAMILY)


def add_encoder_data(directory: Path, images: Iterable[NDArray[np.uint8]], exchange: str, progress: Progress) -> None:
    """Code images with the finished bundle in a directory, and add the strength that pays most to its manifest.

    Raises EngineError for a text that is no exchange rate, or if onnxruntime cannot run the bundle.
    """
    rate = Exchange.parse(exchange)
    progress.begin("finding the encoder's strength")
    codec = BundleCodec(directory, backend="onnxruntime")
    try:
        found = tune(codec, images, rate)
    finally:
        codec.close()
    set_encoder_data(directory, found)
    progress.done(f"strength {found.strength:g}: {found.net_percent:+.2f} % at {rate}" if found else "")
