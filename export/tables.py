"""Build the integer CDF tables of GLIC's entropy model from float parameters, once, when a checkpoint is exported.

Results of float exp and erfc differ by an ulp between machines. Therefore the bundle contains the tables, and no
decoder computes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

PRECISION = 16
TOTAL = 1 << PRECISION

# exp(linspace(ln 0.11, ln 256, 64)) as the authors' float32 run computed it, bit for bit.
_SCALE_BITS = (
    0x3de147ae, 0x3dfec793, 0x3e101230, 0x3e22efc7, 0x3e3845c8, 0x3e506704, 0x3e6bb124, 0x3e85470a,
    0x3e96bacd, 0x3eaa779a, 0x3ec0ca0e, 0x3eda08ca, 0x3ef695cc, 0x3f0b6ff2, 0x3f1db234, 0x3f325889,
    0x3f49b318, 0x3f641c86, 0x3f80fdab, 0x3f91e1bd, 0x3fa4fc07, 0x3fba96af, 0x3fd3058f, 0x3feea77c,
    0x4006f3dc, 0x40189fc7, 0x402c9c16, 0x4043365c, 0x405cc651, 0x4079af2f, 0x408d3097, 0x409fad98,
    0x40b4965b, 0x40cc3c0e, 0x40e6fa78, 0x41029cb1, 0x4113b71b, 0x41270edd, 0x413cef07, 0x4155ac83,
    0x4171a758, 0x4188a610, 0x419a8ad8, 0x41aec774, 0x41c5aa71, 0x41df8ca9, 0x41fcd28b, 0x420ef6dd,
    0x4221af59, 0x4236db65, 0x424ecd30, 0x4269e1a0, 0x428440f0, 0x42959263, 0x42a9285d, 0x42bf4eec,
    0x42d85c06, 0x42f4b0de, 0x430a5dbd, 0x431c7c18, 0x4330f9ce, 0x43482672, 0x43625beb, 0x43800000,
)  # fmt: skip
SCALE_TABLE: npt.NDArray[np.float32] = np.array(_SCALE_BITS, dtype=np.uint32).view(np.float32)
SCALE_TABLE.setflags(write=False)

# -Phi^-1(tail_mass / 2) at tail_mass = 1e-9: symbols within this many sigmas have a table entry of their own.
TAIL_SIGMAS = 6.1094102048693975


class GaussianTables(NamedTuple):
    """Hold the tables of the conditional Gaussian, one row for each scale.

    Attributes:
        cdfs: int32 (64, 3133), zero-padded CDF rows.
        lengths: int32 (64,), the number of entries of each row.
        offsets: int32 (64,), the symbol of the first entry of each row.
    """

    cdfs: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int32]


class FactorizedTables(NamedTuple):
    """Hold the tables of z's factorised prior, one row for each channel.

    Attributes:
        cdfs: int32 (C, L), zero-padded CDF rows.
        lengths: int32 (C,), the number of entries of each row.
        offsets: int32 (C,), the symbol of the first entry of each row.
        medians: float32 (C,), the medians of the channels.
    """

    cdfs: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int32]
    medians: npt.NDArray[np.float32]


def quantize_pmf(pmf: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """Round a probability mass function to a CDF of 16-bit precision in which no symbol has frequency 0.

    Args:
        pmf: float32 (K,), not negative; the last entry is the mass of the escape.

    Returns int32 (K + 1,), strictly increasing from 0 to 65536: the values of compressai's `pmf_to_quantized_cdf`.

    Raises ValueError if `pmf` has another form.
    """
    if pmf.ndim != 1 or not 2 <= pmf.size <= TOTAL:
        raise ValueError(f"a pmf has one axis and 2 to {TOTAL} entries, got shape {pmf.shape}")
    if not np.all(np.isfinite(pmf)) or np.any(pmf < 0):
        raise ValueError("a pmf is finite and not negative; the entropy model's parameters are damaged")
    scaled = pmf.astype(np.float32) * np.float32(TOTAL)
    frequencies = np.floor(scaled.astype(np.float64) + 0.5).astype(np.int64)
    total = int(frequencies.sum())
    if total == 0:
        raise ValueError("all entries of the pmf round to zero; the entropy model's parameters are damaged")
    cdf = np.concatenate([[0], np.cumsum(TOTAL * frequencies // total)])
    cdf[-1] = TOTAL
    for i in np.flatnonzero(np.diff(cdf) == 0):
        frequencies = np.diff(cdf)
        donor = int(np.argmin(np.where(frequencies > 1, frequencies, TOTAL + 1)))
        if donor < i:
            cdf[donor + 1 : i + 1] -= 1
        else:
            cdf[i + 1 : donor + 1] += 1
    return cdf.astype(np.int32)


def gaussian_tables(ratios: Sequence[float] = (1.0,), weights: Sequence[float] = (1.0,)) -> GaussianTables:
    """Compute tables of zero-mean Gaussians at the 64 scales of SCALE_TABLE (compressai's GaussianConditional).

    Args:
        ratios: the scales of a mixture of Gaussians, as multiples of the row's scale. By default, each row is one
            Gaussian: the authors' table.
        weights: the weight of each Gaussian of the mixture; they sum to 1.
    """
    centers = gaussian_centers()
    slots = torch.arange(2 * int(centers.max()) + 1, dtype=torch.int32)
    distances = (slots - centers[:, None]).abs()
    mixed = [weight * part for weight, part in zip(weights, gaussian_probabilities(ratios), strict=True)]
    probabilities = torch.stack(mixed).sum(dim=0)
    pmf = probabilities.gather(1, distances.clamp(max=probabilities.shape[1] - 2).long())
    return GaussianTables(*_quantize_rows(pmf, probabilities[:, -1:], 2 * centers + 1), offsets=(-centers).numpy())


def gaussian_centers() -> torch.Tensor:
    """Return the largest symbol that has an entry of its own, int32 (64,), for each scale."""
    return torch.ceil(torch.from_numpy(SCALE_TABLE.copy()) * TAIL_SIGMAS).to(torch.int32)


def gaussian_probabilities(ratios: Sequence[float]) -> torch.Tensor:
    """Compute what zero-mean Gaussians say of symbols, at multiples of each scale of SCALE_TABLE.

    Returns float32 (len(ratios), 64, D + 2): the probability of a symbol of magnitude 0 to D, and, as the last entry,
    of all symbols beyond the largest of the row.
    """
    sigma = torch.tensor(ratios)[:, None, None] * torch.from_numpy(SCALE_TABLE.copy())[:, None]
    centers = gaussian_centers()
    distance = torch.arange(int(centers.max()) + 1).float()
    lower = _standard_normal_cdf((-0.5 - distance) / sigma)
    beyond = 2 * lower.gather(2, centers.long()[None, :, None].expand(len(ratios), -1, 1))
    return torch.cat([_standard_normal_cdf((0.5 - distance) / sigma) - lower, beyond], dim=2)


def factorized_tables(state: Mapping[str, npt.NDArray[np.float32]]) -> FactorizedTables:
    """Compute tables and medians of a factorised prior (compressai's EntropyBottleneck).

    Args:
        state: the module's float32 parameters by name: `quantiles` (C, 1, 3), `matrices.0` to `.4`, `biases.0` to `.4`
            and `factors.0` to `.3`; other names are ignored.

    Raises KeyError if a parameter is missing, ValueError if the values yield no distribution.
    """
    weights = {name: torch.from_numpy(np.array(value, dtype=np.float32)) for name, value in state.items()}
    quantiles = weights["quantiles"]
    if quantiles.ndim != 3 or quantiles.shape[1:] != (1, 3) or not bool(torch.isfinite(quantiles).all()):
        raise ValueError(f"quantiles must be finite and of shape (C, 1, 3), got shape {tuple(quantiles.shape)}")
    low, median, high = quantiles[:, 0].unbind(1)
    below = torch.ceil(median - low).to(torch.int32).clamp(min=0)
    above = torch.ceil(high - median).to(torch.int32).clamp(min=0)
    lengths = below + above + 1
    if int(lengths.max()) > TOTAL - 1:
        raise ValueError(
            f"the quantiles of a channel span {int(lengths.max())} symbols, at most {TOTAL - 1} fit a table"
        )
    samples = torch.arange(int(lengths.max())) + (median - below)[:, None, None]
    lower = _logits_cumulative(weights, samples - 0.5)
    upper = _logits_cumulative(weights, samples + 0.5)
    pmf = (torch.sigmoid(upper) - torch.sigmoid(lower))[:, 0]
    # As in the authors' tables, the upper tail begins at the end of the longest channel, not of this channel.
    tail = torch.sigmoid(lower[:, 0, :1]) + torch.sigmoid(-upper[:, 0, -1:])
    return FactorizedTables(*_quantize_rows(pmf, tail, lengths), offsets=(-below).numpy(), medians=median.numpy())


def _standard_normal_cdf(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * torch.erfc(-(2**-0.5) * x)


def _logits_cumulative(weights: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Compute the logits of the cumulative distribution at x (C, 1, N) with each channel's monotonic network."""
    for i in range(5):
        x = torch.matmul(F.softplus(weights[f"matrices.{i}"]), x) + weights[f"biases.{i}"]
        if i < 4:
            x = x + torch.tanh(weights[f"factors.{i}"]) * torch.tanh(x)
    return x


def _quantize_rows(
    pmf: torch.Tensor, tail: torch.Tensor, lengths: torch.Tensor
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Round each row r of `pmf`, its first lengths[r] entries and its tail mass, to a CDF.

    Returns the zero-padded CDF rows, int32 (rows, longest), and the number of entries of each, int32 (rows,).
    """
    cdfs = np.zeros((len(pmf), int(lengths.max()) + 2), dtype=np.int32)
    for cdf, row, mass, length in zip(cdfs, pmf.numpy(), tail.numpy(), lengths.tolist(), strict=True):
        cdf[: length + 2] = quantize_pmf(np.concatenate([row[:length], mass]))
    return cdfs, (lengths + 2).numpy()
