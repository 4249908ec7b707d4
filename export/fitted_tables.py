"""Fits the CDF tables of y to the symbols that the bundle's own encoder writes for the calibration images.

The network predicts a scale for each symbol, and the CDF index rounds that scale up to a row of the table. The error of
the predicted scale has about the same distribution in every row. So each fitted row is a mixture of Gaussians, whose
scales are multiples of the row's scale and whose weights are the same in all rows: seven free parameters for 64 rows.
Rows that the calibration images do not use are fitted too, and no row follows the noise of its own counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glic_deploy.bundle import TableFit
from glic_deploy.entropy.rans import CdfTables

from .tables import SCALE_TABLE, GaussianTables, gaussian_centers, gaussian_probabilities, gaussian_tables

RATIOS = (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0)
"""The scales of the mixture, as multiples of the row's scale. Twice as many gain nothing (docs/rate.md)."""

LEAST_GAIN_PERCENT = 0.3
"""Fitted tables are used if images that they were not fitted to lose at least this share of their bits."""

_EXACT = np.array(RATIOS) == 1
_SEEN_OF_EACH = 30.0
"""Symbols that each Gaussian of the mixture is assumed to have explained. They keep some weight on the wide ones, since
a few images lack the rare large symbols of others."""
_SEEN_OF_EXACT = 1000.0
"""Symbols that the exact Gaussian is assumed to have explained alone. They decide where counts are few."""
_PARTS = 128
"""Weights are multiples of 1/128, so that a checkpoint has the same tables wherever it is exported, although the last
digits of latents, and with them a few symbols, differ between machines."""
_FOLDS = 8
_STEPS = 300


class CodedSymbols(NamedTuple):
    """The symbols of y of one image, int16, and their CDF indexes, uint8; both flat."""

    symbols: NDArray[np.int16]
    indexes: NDArray[np.uint8]


def fit_tables(images: Sequence[CodedSymbols]) -> tuple[GaussianTables, TableFit]:
    """Return tables of y that are fitted to images, and what the manifest says of them.

    The gain is measured by cross-validation: each image is coded with tables that were fitted to other images. If the
    gain is less than `LEAST_GAIN_PERCENT`, or if there is only one image, the tables are the exact Gaussians.
    """
    plain = gaussian_tables()
    change = held_out_percent(images, plain)
    if change is None or change > -LEAST_GAIN_PERCENT:
        return plain, TableFit("gaussian", len(images), change)
    weights = fit_weights(images)
    fitted = gaussian_tables(RATIOS, weights)
    return fitted, TableFit("fitted", len(images), change, RATIOS, weights)


def described(fit: TableFit) -> str:
    """Say in a line which tables were chosen, and why."""
    if fit.held_out_percent is None:
        return f"{fit.form} entropy tables"
    return f"{fit.form} entropy tables: fitted ones change the bits of other images by {fit.held_out_percent:+.2f} %"


def held_out_percent(images: Sequence[CodedSymbols], plain: GaussianTables) -> float | None:
    """Return the change of the bits in percent if each image is coded with tables that other images give.

    None for fewer than two images, or if no symbol costs anything.
    """
    folds = min(len(images), _FOLDS)
    if folds < 2:
        return None
    before = after = 0.0
    for fold in range(folds):
        others = [image for number, image in enumerate(images) if number % folds != fold]
        fitted = gaussian_tables(RATIOS, fit_weights(others))
        before += ideal_bits(plain, images[fold::folds])
        after += ideal_bits(fitted, images[fold::folds])
    return round(100 * (after / before - 1), 2) if before else None


def fit_weights(images: Sequence[CodedSymbols]) -> tuple[float, ...]:
    """Return the weights of the mixture under which the symbols are most likely, by expectation maximisation.

    The likelihood is concave in the weights, so there is one maximum. It is flat, so that the last steps change little.
    """
    counts, likelihoods = _counted(images)
    weights = np.full(len(RATIOS), 1 / len(RATIOS))
    for _ in range(_STEPS):
        weights = _SEEN_OF_EACH + weights * (likelihoods @ (counts / (weights @ likelihoods)))
        weights /= weights.sum()
    weights = counts.sum() * weights + _SEEN_OF_EXACT * _EXACT
    weights = np.round(_PARTS * weights / weights.sum()) / _PARTS
    weights[_EXACT] += 1 - weights.sum()
    return tuple(weights.tolist())


def ideal_bits(tables: GaussianTables, images: Sequence[CodedSymbols]) -> float:
    """Return the bits that an ideal coder spends on images under tables."""
    rows = CdfTables(*tables)
    return sum(rows.ideal_bits(image.symbols, image.indexes) for image in images)


def _counted(images: Sequence[CodedSymbols]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how often each magnitude occurs in each row, (K,), and what each Gaussian says of it, (len(RATIOS), K)."""
    centers = gaussian_centers().numpy()
    probabilities = gaussian_probabilities(RATIOS).numpy().astype(np.float64)
    beyond = probabilities.shape[2] - 1
    counts = np.zeros(len(SCALE_TABLE) * (beyond + 1), np.int64)
    for symbols, indexes in images:
        magnitudes = np.abs(symbols.astype(np.int64))
        slots = np.where(magnitudes > centers[indexes], beyond, magnitudes)
        counts += np.bincount(indexes * np.int64(beyond + 1) + slots, minlength=counts.size)
    seen = np.flatnonzero(counts)
    return counts[seen].astype(np.float64), probabilities.reshape(len(RATIOS), -1)[:, seen]
