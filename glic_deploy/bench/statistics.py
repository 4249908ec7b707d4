"""Compute statistics of timings: percentiles, ratios of paired runs, changes beyond the spread, growth with size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Summary:
    """Summarise the distribution of n samples.

    Percentiles are interpolated linearly between samples: with few samples, p99 is close to the largest sample.
    """

    n: int
    median: float
    p10: float
    p90: float
    p99: float
    min: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Summary:
        """Summarise samples. Raises ValueError if there are none."""
        if not samples:
            raise ValueError("no samples to summarise")
        p10, median, p90, p99 = (float(value) for value in np.percentile(samples, (10, 50, 90, 99)))
        return cls(len(samples), median, p10, p90, p99, float(min(samples)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Summary:
        return cls(**{field: values[field] for field in cls.__dataclass_fields__})

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def paired_ratios(numerators: Sequence[float], denominators: Sequence[float]) -> Summary:
    """Summarise the ratios of paired runs. A disturbance that slows down both runs of a pair cancels in their ratio."""
    return Summary.of([a / b for a, b in zip(numerators, denominators, strict=True)])


@dataclass(frozen=True)
class Change:
    """Compare a new measurement with an old one.

    Attributes:
        ratio: new median over old median; None if the old median is 0.
        exceeds_spread: whether the ranges from p10 to p90 of the two measurements do not overlap.
    """

    ratio: float | None
    exceeds_spread: bool

    @classmethod
    def between(cls, old: Summary, new: Summary) -> Change:
        apart = new.p10 > old.p90 or new.p90 < old.p10
        return cls(new.median / old.median if old.median else None, apart)


@dataclass(frozen=True)
class PowerLaw:
    """Model y = factor · x ** exponent, fitted by least squares of the logarithms."""

    factor: float
    exponent: float

    @classmethod
    def fit(cls, x: Sequence[float], y: Sequence[float]) -> PowerLaw | None:
        """Fit the law to points (x, y). Points with a value of 0 or less are ignored.

        Returns None if fewer than two different x remain.
        """
        points = [(a, b) for a, b in zip(x, y, strict=True) if a > 0 and b > 0]
        if len({a for a, _ in points}) < 2:
            return None
        log_x, log_y = np.log(points).T
        exponent, offset = np.polyfit(log_x, log_y, 1)
        return cls(float(np.exp(offset)), float(exponent))

    def at(self, x: float) -> float:
        return float(self.factor * x**self.exponent)

    def solve(self, y: float) -> float | None:
        """Return the x at which a rising law reaches y; None if the law does not rise, or y is not positive."""
        if y <= 0 or self.exponent <= 0:
            return None
        return float((y / self.factor) ** (1 / self.exponent))
