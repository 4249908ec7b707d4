"""NumPy oracle of glic::ComplexityMap (specification §3, steps 1 and 2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray


def _filter(x: NDArray[np.floating], taps: NDArray[np.floating], axis: int) -> NDArray[np.floating]:
    """Correlate with three taps along one axis; borders replicated."""
    padded = np.pad(x, [(1, 1) if a == axis else (0, 0) for a in range(x.ndim)], mode="edge")
    size = x.shape[axis]
    return sum(tap * padded.take(range(k, k + size), axis) for k, tap in enumerate(taps))  # type: ignore[return-value]


def complexity_map(x: NDArray[np.floating], dtype: DTypeLike = np.float64) -> NDArray[np.floating]:
    """N×H×W×C → N×H×W: the map d, its contrast flattened."""
    x = x.astype(dtype)
    slope, smooth = np.array([-1, 0, 1], dtype), np.array([1, 2, 1], dtype) / 4
    gx = _filter(_filter(x, slope, 2), smooth, 1)
    gy = _filter(_filter(x, slope, 1), smooth, 2)
    magnitude = np.sqrt(gx**2 + gy**2 + 1e-9)
    gauss = np.exp(-0.5 * (np.array([-1, 0, 1], dtype) / 0.8) ** 2)
    gauss /= gauss.sum()
    blurred = _filter(_filter(magnitude, gauss, 1), gauss, 2)
    d = np.sqrt((blurred**2).mean(-1))
    mean = d.mean((1, 2), keepdims=True)
    return mean + (d - mean) / 1.5
