"""Winograd's minimal filtering F(4, 3) of Lavin and Gray (2016), equation 12: Aᵀ((Gg)·(Bᵀd)), in one dimension.

Two-dimensional, a 3×3 filter takes 36 multiplications for 4×4 results instead of 144.
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
"""Bᵀ: six values under a filter and its neighbours to the transformed domain."""

G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float64) / 24
"""Filter taps to the transformed domain."""

A = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float64)
"""Aᵀ: six products to four results."""


def matrices(filters: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convolution filters (K, C, 3, 3) as the matrices (36, C, K) of the products between the transformations."""
    transformed = np.einsum("ai,bj,kcij->abck", G, G, filters.astype(np.float64))
    return transformed.reshape(36, *transformed.shape[2:]).astype(np.float32)
