"""Fits the linear map from latents to previews, by least squares on the calibration images.

The target is the output of the synthesis transform at half size. The best map to a smaller size is the mean of the map
to half size, since both are solutions of the same normal equations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from glic_deploy.errors import CheckpointError
from glic_deploy.scales import SCALES

from .checkpoint import Checkpoint
from .integer.calibration import Latents, code_float
from .network import HyperSynthesis, SliceAnchors, SliceNonanchors, Synthesis
from .network.scope import Scope
from .network.transforms import with_edges_repeated

RIDGE = 1e-3
"""The weight of the penalty on the map, relative to the energy of each input."""

COARSE_POOL = 4
"""The pixels at half size of a side of a coarse pixel."""


class Example(NamedTuple):
    """Latents, float64 (1, M, h, w), and the image at half size, float64 (1, 3, 8h, 8w) in [0, 1]."""

    y_hat: Tensor
    image: Tensor


class Map(NamedTuple):
    """The matrices of `export.network.Preview`, in float64."""

    coarse: Tensor
    fine: Tensor


def examples(checkpoint: Checkpoint, latents: Iterable[Latents]) -> Iterator[Example]:
    """Yield the example of each image, given its latents and coded by the float network.

    Raises CheckpointError where a value is infinite or not a number.
    """
    root = Scope(checkpoint.state)
    entropy = root / "latent_codec"
    hyper_synthesis, synthesis = HyperSynthesis(entropy / "hyper"), Synthesis(root / "g_s")
    passes = [
        (SliceAnchors(entropy / "y", k), SliceNonanchors(entropy / "y", k))
        for k in range(len(checkpoint.config.groups))
    ]
    for y, z_symbols in latents:
        with torch.inference_mode():
            y_hat = code_float(y, hyper_synthesis(z_symbols), passes, lambda k, sliced: None)
            image = F.avg_pool2d(synthesis.reconstruct(y_hat).clamp(0, 1), SCALES[0])
        if not (torch.isfinite(y_hat).all() and torch.isfinite(image).all()):
            raise CheckpointError(
                "on the calibration images, the synthesis transform computes values that are infinite or not numbers, "
                "expected finite numbers: the checkpoint's weights are damaged or its training diverged; download it "
                "again, or export another checkpoint"
            )
        yield Example(y_hat.double(), image.double())


def fit(given: Sequence[Example]) -> Map:
    """Return the map that is best on the examples."""
    coarse = _solve(
        [_own(example.y_hat) for example in given],
        [_patches(F.avg_pool2d(example.image, COARSE_POOL), 8 // COARSE_POOL) for example in given],
    )
    fine = _solve([_inputs(example.y_hat, coarse) for example in given], [_patches(e.image, 8) for e in given])
    return Map(coarse, fine)


def decibels(given: Sequence[Example]) -> dict[int, float]:
    """Return the PSNR of previews against the reduced output of the synthesis, by scale.

    Each example is judged with the map that the others give; the result is the mean over the examples. A single example
    cannot be judged: the result is empty.
    """
    if len(given) < 2:
        return {}
    found = {scale: 0.0 for scale in SCALES}
    for number, example in enumerate(given):
        best = fit([*given[:number], *given[number + 1 :]])
        pixels = best.fine @ _inputs(example.y_hat, best.coarse)
        preview = F.pixel_shuffle(pixels.unflatten(1, example.y_hat.shape[2:])[None], 8).clamp(0, 1)
        for scale in SCALES:
            error = F.avg_pool2d(preview - example.image, scale // SCALES[0]).square().mean()
            found[scale] -= 10 * error.log10().item() / len(given)
    return found


def _own(y_hat: Tensor) -> Tensor:
    """Return the latents of each position, and a constant: (M + 1, h·w)."""
    latents = y_hat[0].flatten(1)
    return torch.cat([latents, torch.ones_like(latents[:1])])


def _inputs(y_hat: Tensor, coarse: Tensor) -> Tensor:
    """Return what the fine map reads at each position: 3×3 positions of the coarse image, latents and a constant."""
    own = _own(y_hat)
    image = (coarse @ own).unflatten(1, y_hat.shape[2:])[None]
    return torch.cat([F.unfold(with_edges_repeated(image), 3)[0], own])


def _patches(image: Tensor, side: int) -> Tensor:
    """Return the pixels that belong to each position: (3·side², h·w)."""
    return F.pixel_unshuffle(image, side)[0].flatten(1)


def _solve(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Tensor:
    """Return the matrix that maps inputs to outputs with the least squares, penalised by RIDGE; columns are positions.

    The last input, a constant, is not penalised.
    """
    x, y = torch.cat(list(inputs), dim=1), torch.cat(list(outputs), dim=1)
    products = x @ x.T
    energy = products.diagonal().clone()
    energy[-1] = 0
    damping = RIDGE * energy.clamp(min=1e-9 * energy.max().item() + 1e-30)
    solution: Tensor = torch.linalg.solve(products + damping.diag(), x @ y.T)
    return solution.T
