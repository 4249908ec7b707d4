"""Builds the integer entropy network of a checkpoint: calibration, quantisation, proof of its bounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from glic_deploy.errors import GlicError
from glic_deploy.image import load_image, pad

from ..checkpoint import Checkpoint
from ..network import Analysis, HyperAnalysis
from ..network.scope import Scope
from .bounds import prove
from .calibration import Latents, observe_ranges
from .network import IntegerNetwork
from .quantise import BitWidths, quantise

Image = npt.NDArray[np.uint8]  # (H, W, 3)

_DEFAULT_IMAGES = Path(__file__).parent / "images"
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")


def default_images() -> list[Image]:
    """Return the six crops of Kodak photographs that are the default calibration images."""
    return list(load_images(_DEFAULT_IMAGES))


def calibration_images(directory: str | Path | None) -> list[Image]:
    """Return the images in a directory, or the default calibration images. Raises GlicError if there is none."""
    return default_images() if directory is None else list(load_images(directory))


def load_images(directory: str | Path) -> Iterator[Image]:
    """Load every image in a directory, in order of name. Raises GlicError when there is none."""
    paths = sorted(path for path in Path(directory).glob("*") if path.suffix.lower() in _SUFFIXES)
    if not paths:
        raise GlicError(
            f"{directory} holds no images ({', '.join(_SUFFIXES)}); name a directory with a few photographs"
        )
    return (load_image(path) for path in paths)


def build(
    checkpoint: Checkpoint, latents: Iterable[Latents] | None = None, bits: BitWidths | None = None
) -> IntegerNetwork:
    """Build the integer entropy network of a checkpoint, with every bound proven.

    Args:
        checkpoint: the network.
        latents: those of the images on which it is calibrated; None selects the default images.
        bits: the widths of the integers; None selects the default.

    Raises CheckpointError where activations overflow, GlicError naming a layer whose sums cannot be shown to fit.
    """
    scope = Scope(checkpoint.state)
    latents = encode(checkpoint, default_images()) if latents is None else latents
    ranges = observe_ranges(scope / "latent_codec", len(checkpoint.config.groups), latents)
    network = quantise(scope / "latent_codec", checkpoint.config, ranges, bits)
    prove(network)
    return network


def encode(checkpoint: Checkpoint, images: Iterable[Image]) -> Iterator[Latents]:
    """Yield y and z's symbols of each image."""
    root = Scope(checkpoint.state)
    analysis, hyper_analysis = Analysis(root / "g_a"), HyperAnalysis(root / "latent_codec" / "hyper")
    for image in images:
        with torch.inference_mode():
            y = analysis(torch.tensor(pad(image)))
            z_symbols = hyper_analysis(y)
        yield y, z_symbols
