"""Makes the integer entropy network of a checkpoint: calibrate, quantise, prove."""

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
from .quantise import Precision, quantise

Picture = npt.NDArray[np.uint8]

_DEFAULT_PICTURES = Path(__file__).parent / "pictures"
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")


def default_pictures() -> list[Picture]:
    """The six crops of Kodak photographs that are calibrated with where the user names no others."""
    return list(load_pictures(_DEFAULT_PICTURES))


def load_pictures(directory: str | Path) -> Iterator[Picture]:
    """Every picture in a directory, in order of name. Raises GlicError when there is none."""
    paths = sorted(path for path in Path(directory).glob("*") if path.suffix.lower() in _SUFFIXES)
    if not paths:
        raise GlicError(
            f"{directory} holds no pictures ({', '.join(_SUFFIXES)}); name a directory with a few photographs"
        )
    return (load_image(path) for path in paths)


def build(
    checkpoint: Checkpoint, pictures: Iterable[Picture] | None = None, precision: Precision | None = None
) -> IntegerNetwork:
    """The integer entropy network of a checkpoint, calibrated on pictures, every bound proven.

    Raises CheckpointError where activations overflow, GlicError naming a layer whose sums cannot be shown to fit.
    """
    scope = Scope(checkpoint.state)
    latents = encode(scope, default_pictures() if pictures is None else pictures)
    ranges = observe_ranges(scope / "latent_codec", len(checkpoint.config.groups), latents)
    network = quantise(scope / "latent_codec", checkpoint.config, ranges, precision)
    prove(network)
    return network


def encode(root: Scope, pictures: Iterable[Picture]) -> Iterator[Latents]:
    """y and z's symbols of each picture."""
    analysis, hyper_analysis = Analysis(root / "g_a"), HyperAnalysis(root / "latent_codec" / "hyper")
    for picture in pictures:
        with torch.inference_mode():
            y = analysis(torch.tensor(pad(picture)))
            z_symbols = hyper_analysis(y)
        yield y, z_symbols
