"""Compute conformance vectors: symbols of a small image, and the exact indexes and means of each pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from glic_deploy.conformance import CASES, pass_name
from glic_deploy.entropy.passes import MAX_SYMBOL, Pass, Symbols, walk
from glic_deploy.values import Value

from .network import IntegerNetwork
from .reference import oracle_backend

_Z_SHAPE = (2, 4)  # of an image of 128×256


def conformance_vectors(network: IntegerNetwork, seed: int = 0) -> dict[str, NDArray[np.generic]]:
    """Compute the oracle's results, with which `glic_deploy.conformance.check` compares a backend.

    The arrays of the two cases are stacked. The symbols of the first case are distributed like those of images. In the
    second case some symbols have the largest magnitude, so that every clamp is reached.
    """
    groups = tuple(net.channels for net in network.slices)
    backend = oracle_backend(network)
    cases: list[dict[str, NDArray[np.generic]]] = []
    for case in range(CASES):
        rng = np.random.default_rng((seed, case))
        z_symbols = _symbols(rng, (1, network.hyper_synthesis.medians.size, *_Z_SHAPE), case)
        arrays: dict[str, NDArray[np.generic]] = {"z_symbols": z_symbols}

        def step(
            part: Pass,
            indexes: NDArray[np.uint8],
            means: Value,
            rng: np.random.Generator = rng,
            case: int = case,
            arrays: dict[str, NDArray[np.generic]] = arrays,
        ) -> Symbols:
            symbols = _symbols(rng, indexes.shape, case)
            for kind, values in (("symbols", symbols), ("indexes", indexes), ("means", np.asarray(means))):
                arrays[f"{pass_name(part)}_{kind}"] = values
            return symbols

        walk(groups, lambda graph, **inputs: backend.start(graph, inputs), z_symbols, step)
        cases.append(arrays)
    return {name: np.stack([arrays[name] for arrays in cases]) for name in cases[0]}


def _symbols(rng: np.random.Generator, shape: tuple[int, ...], case: int) -> Symbols:
    symbols = np.rint(rng.laplace(0, 1.5, shape))
    if case:
        extreme = rng.random(shape) < 0.05
        symbols = np.where(extreme, rng.choice([-MAX_SYMBOL, MAX_SYMBOL], shape), symbols)
    return np.clip(symbols, -MAX_SYMBOL, MAX_SYMBOL).astype(np.int16)
