"""Fits the linear map from latents to previews, by least squares on the calibration images.

The target is the output of the synthesis transform, reduced by averaging, so the fit needs neither training nor many
images. The map for a smaller size is the mean of the map for half size, since both have the same least-squares problem.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from glic_deploy.errors import CheckpointError
from glic_deploy.preview import FINEST, LATENT_SIDE, Preview, features, positions, reduced
from glic_deploy.scales import SCALES

from .checkpoint import Checkpoint
from .integer.build import Image, encode
from .integer.calibration import code_float
from .network import HyperSynthesis, SliceAnchors, SliceNonanchors, Synthesis
from .network.scope import Scope

RIDGE = 1e-3
"""The weight of the penalty on the map, relative to the energy of each feature."""

Matrix = NDArray[np.float64]


class Example(NamedTuple):
    """Latents, float64 (1, M, h, w), and the pixels at half size that belong to each position, (h, w, FINEST)."""

    y_hat: Matrix
    pixels: Matrix


def examples(checkpoint: Checkpoint, images: Iterable[Image]) -> Iterator[Example]:
    """Yield the example of each image, coded by the float network.

    Raises CheckpointError where a value is infinite or not a number.
    """
    root = Scope(checkpoint.state)
    entropy = root / "latent_codec"
    hyper_synthesis, synthesis = HyperSynthesis(entropy / "hyper"), Synthesis(root / "g_s")
    passes = [
        (SliceAnchors(entropy / "y", k), SliceNonanchors(entropy / "y", k))
        for k in range(len(checkpoint.config.groups))
    ]
    for y, z_symbols in encode(root, images):
        with torch.inference_mode():
            y_hat = code_float(y, hyper_synthesis(z_symbols), passes, lambda k, latents: None)
            half = F.avg_pool2d(synthesis.reconstruct(y_hat).clamp(0, 1), SCALES[0])
            pixels = F.pixel_unshuffle(half, LATENT_SIDE // SCALES[0])[0].permute(1, 2, 0)
        if not (torch.isfinite(y_hat).all() and torch.isfinite(pixels).all()):
            raise CheckpointError(
                "on the calibration images, the synthesis transform computes values that are infinite or not numbers, "
                "expected finite numbers: the checkpoint's weights are damaged or its training diverged; download it "
                "again, or export another checkpoint"
            )
        yield Example(y_hat.double().numpy(), pixels.double().numpy())


def fit(given: Sequence[Example]) -> Preview:
    """Return the map that is best on the examples."""
    smallest = [_at(example.pixels, SCALES[-1]) for example in given]
    coarse = _solve([positions(example.y_hat) for example in given], smallest)
    fine = _solve([features(example.y_hat, coarse) for example in given], [example.pixels for example in given])
    return Preview(coarse.astype(np.float32), fine.astype(np.float32))


def decibels(given: Sequence[Example]) -> dict[int, float]:
    """Return the PSNR of previews against the reduced output of the synthesis, by scale.

    Each example is judged with the map that the others give; the result is the mean over the examples. A single example
    cannot be judged: the result is empty.
    """
    if len(given) < 2:
        return {}
    found: dict[int, list[float]] = {scale: [] for scale in SCALES}
    for number, example in enumerate(given):
        preview = fit([*given[:number], *given[number + 1 :]])
        known = features(example.y_hat, preview.coarse)
        for scale, values in found.items():
            pixels = np.clip(known @ reduced(preview.fine.astype(np.float64), scale), 0, 1)
            values.append(-10 * np.log10(np.mean((pixels - _at(example.pixels, scale)) ** 2) + 1e-20))
    return {scale: float(np.mean(values)) for scale, values in found.items()}


def _at(pixels: Matrix, scale: int) -> Matrix:
    """Return pixels (h, w, FINEST) at 1/scale size."""
    return reduced(pixels.reshape(-1, FINEST), scale).reshape(*pixels.shape[:2], -1)


def _solve(inputs: Sequence[Matrix], outputs: Sequence[Matrix]) -> Matrix:
    """Return the matrix that maps inputs to outputs with the least squares, penalised by RIDGE; both (h, w, channels).

    The last input, a constant, is not penalised.
    """
    x, y = (np.concatenate([part.reshape(-1, part.shape[-1]) for part in parts]) for parts in (inputs, outputs))
    products = x.T @ x
    energy = np.diag(products).copy()
    energy[-1] = 0
    damping = RIDGE * np.maximum(energy, 1e-9 * energy.max())
    solution: NDArray[Any] = np.linalg.solve(products + np.diag(damping), x.T @ y)
    return solution
