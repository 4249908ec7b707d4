"""Prove, from the actual weights, that every sum of the integer network stays in the range of its number format.

A float32 represents every integer below 2^24. A product is therefore exact in any order of summation if the magnitudes
of its terms add up to less than 2^24. Other products are split by input channels into exact parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from glic_deploy.errors import CheckpointError, GlicError

from .network import (
    FRACTION_BITS,
    GATE_INPUT,
    NORM_CHANNELS,
    Depthwise,
    GatedFFN,
    HyperSynthesis,
    IntegerNetwork,
    Ints,
    Linear,
    Slice,
)

FLOAT_EXACT = 2**24
INT32_EXACT = 2**30  # leaves room for the rounding of a sum
INT8 = 127
MAX_SHIFT = 30
_MOST_PARTS = 16  # largest number of parts of one sum


@dataclass(frozen=True)
class Proof:
    """Hold the proof for one layer.

    Attributes:
        layer: name of the layer.
        largest: largest magnitude that a sum of products can reach.
        parts: number of parts into which float32 arithmetic splits the sums.
    """

    layer: str
    largest: int
    parts: int


def largest_sums(layer: Linear | Depthwise) -> Ints:
    """Return the largest magnitude that the sum of each output, with its bias, can reach: int64 (outputs,)."""
    sums: Ints = layer.input_limit * np.abs(layer.weight).sum(axis=0) + np.abs(layer.bias)
    return sums


def largest_result(linear: Linear) -> int:
    """Return the largest magnitude of a layer's rounded sums before they are clamped."""
    return int((largest_sums(linear) >> linear.shift).max()) + 1


def float_parts(linear: Linear) -> list[tuple[int, int]]:
    """Split a layer's input channels into ranges whose sums stay below 2^24 on every output channel.

    The last range has room for the bias and for the remainders of the other parts, which are below 2^(shift+1) each.

    Returns pairs of the first channel and the channel behind the last. Raises GlicError if the sum of the parts'
    quotients could reach 2^24, or too many parts are needed.
    """
    if _exact(largest_sums(linear)):
        return [(0, linear.weight.shape[0])]
    magnitudes = linear.input_limit * np.abs(linear.weight)
    room = np.abs(linear.bias) + (_MOST_PARTS << (linear.shift + 1))
    parts, start, reached = [], 0, room
    for k, row in enumerate(magnitudes):
        if not _exact(reached + row):
            parts.append((start, k))
            start, reached = k, room
        reached = reached + row
    parts.append((start, len(magnitudes)))
    quotients = (largest_sums(linear) >> linear.shift) + 3 * len(parts)
    if len(parts) > _MOST_PARTS or not (_exact(quotients) and _exact(room + magnitudes.max(axis=0))):
        raise GlicError(
            f"a product of {magnitudes.shape} needs {len(parts)} parts, whose sum cannot be shown to stay below 2^24; "
            "calibrate with other images: --calibration DIR"
        )
    return parts


def prove(network: IntegerNetwork) -> list[Proof]:
    """Check every layer of a network.

    Raises GlicError, with the layer's name, for the first layer whose sums could overflow, and CheckpointError if a
    slice has too few fraction bits for its scales.
    """
    proofs: list[Proof] = []
    _walk(network, "", proofs)
    return proofs


def _walk(node: Any, name: str, proofs: list[Proof]) -> None:
    if isinstance(node, Linear | Depthwise):
        largest = int(largest_sums(node).max())
        parts = 1
        if isinstance(node, Linear):
            parts = len(_named(name, float_parts, node))
        elif largest >= FLOAT_EXACT:
            raise GlicError(f"{name}: a depthwise sum could reach {largest:,}, float32 is exact below 2^24")
        fits = largest < INT32_EXACT and np.abs(node.weight).max() <= INT8
        if not fits or node.shift.min() < 0 or node.shift.max() > MAX_SHIFT:
            raise GlicError(
                f"{name}: sums up to {largest:,} (below {INT32_EXACT:,}), shifts of {node.shift.min()} to "
                f"{node.shift.max()} (0 to {MAX_SHIFT}) or weights do not fit the integer arithmetic; "
                "calibrate with other images: --calibration DIR"
            )
        proofs.append(Proof(name, largest, parts))
        return
    if isinstance(node, GatedFFN):
        _check_ffn(node, name)
    if isinstance(node, Slice):
        _check_parameters(node, name)
    if isinstance(node, HyperSynthesis) and not _exact(2 * np.abs(node.medians)):
        raise GlicError(
            f"{name}: a median of z is {np.abs(node.medians).max() / 2**FRACTION_BITS:g}, expected below 2048"
        )
    if isinstance(node, tuple):
        for i, child in enumerate(node):
            _walk(child, f"{name}.{i}", proofs)
    elif hasattr(node, "__dataclass_fields__"):
        for field in node.__dataclass_fields__:
            _walk(getattr(node, field), f"{name}.{field}" if name else field, proofs)


def _check_ffn(ffn: GatedFFN, name: str) -> None:
    channels = ffn.norm.fraction.size
    if channels > NORM_CHANNELS:
        raise GlicError(f"{name}: a layer norm over {channels} channels, its sums are exact up to {NORM_CHANNELS}")
    if int(np.abs(ffn.gelu).max()) * GATE_INPUT >= FLOAT_EXACT:
        raise GlicError(f"{name}: a gated product could pass 2^24")


def _check_parameters(net: Slice, name: str) -> None:
    """Raise CheckpointError if the last stream has too few fraction bits to tell the smallest scales apart."""
    finest = int(np.diff(net.thresholds).min())
    if finest < 1 or not 0 <= net.mean_shift <= FRACTION_BITS:
        raise CheckpointError(
            f"{name}: scales and means reach magnitudes that leave {FRACTION_BITS - net.mean_shift} fraction bits, too "
            "few to tell the smallest scales apart: the checkpoint's weights are damaged or its training diverged; "
            "download it again, or calibrate with other images: --calibration DIR"
        )


def _named(name: str, function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except GlicError as error:
        raise GlicError(f"{name}: {error}") from None


def _exact(magnitudes: Ints) -> bool:
    return bool((magnitudes < FLOAT_EXACT).all())
