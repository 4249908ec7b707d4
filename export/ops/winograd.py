"""Hold the matrices of Winograd's minimal filtering F(4, 3): Aᵀ((Gg)·(Bᵀd)) in one dimension.

Source: Lavin and Gray (2016), equation 12. In two dimensions, a 3×3 filter needs 36 multiplications for 4×4 results
instead of 144.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

B = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float64,
)
"""Bᵀ transforms the six values under a filter and its neighbours."""

G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float64) / 24
"""G transforms the three taps of a filter."""

A = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float64)
"""Aᵀ transforms six products to four results."""


def matrices(filters: NDArray[np.float32]) -> NDArray[np.float32]:
    """Transform convolution filters (K, C, 3, 3) to the matrices (36, C, K) of the products, float32."""
    transformed = np.einsum("ai,bj,kcij->abck", G, G, filters.astype(np.float64))
    return transformed.reshape(36, *transformed.shape[2:]).astype(np.float32)
