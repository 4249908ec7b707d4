"""The integer entropy network as data: the parameters that `docs/arithmetic.md` defines, and no computation.

All values are integers. Maps are channels-last: (rows, columns, channels). A *narrow* map holds values that enter a
product (10 to 12 bits); a *wide* map holds the residual stream, |x| <= WIDE.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

FRACTION_BITS = 12  # of means, of y_hat and of z_hat
WIDE = 2**23 - 1  # largest magnitude of a wide value: two of them add below 2^24
LEAKY_SLOPE = 41  # of LeakyReLU(0.01), in 1/4096
NORM_INPUT = 8191  # largest magnitude of a layer norm's input
NORM_DEVIATION = 4095  # largest magnitude of a deviation from the mean inside a layer norm
NORM_CHANNELS = 1024  # widest layer norm whose sums stay below 2^24
GATE_INPUT = 2047  # largest magnitude of a GELU's argument, and of the factor that its result multiplies
GELU_OUTPUT = 4095  # largest magnitude of a GELU's result
RSQRT_BITS = 11  # of an entry of the reciprocal square root table


@dataclass(frozen=True)
class Narrow:
    """clamp(round(x / 2^shift), ±limit). shift: (C,), at least 0."""

    shift: Ints
    limit: int


@dataclass(frozen=True)
class Linear:
    """clamp(round((x · weight + bias) / 2^shift), ±limit) at every position.

    weight: (K, N) in ±127; bias, shift: (N,), shift at least 0; input_limit: largest magnitude of x.
    """

    weight: Ints
    bias: Ints
    shift: Ints
    limit: int
    input_limit: int


@dataclass(frozen=True)
class Depthwise:
    """A 5×5 depthwise convolution, zero padding. weight: (25, C), row-major taps; otherwise like `Linear`."""

    weight: Ints
    bias: Ints
    shift: Ints
    limit: int
    input_limit: int


@dataclass(frozen=True)
class UnitNorm:
    """Layer norm without its affine part: deviations from the mean, divided by their Euclidean length.

    input_shift: the shift that narrows the stream to ±NORM_INPUT; fraction: (C,) fraction bits of the result, at most
    RSQRT_BITS; limit: largest magnitude of the result.
    """

    input_shift: int
    fraction: Ints
    limit: int


@dataclass(frozen=True)
class GatedFFN:
    """stream + project_out(round(GELU(a) · b / 2^gate_shift)), a and b the halves of project_in(norm(stream)).

    gelu: (4096,), entry a + 2048 is GELU(a); gate: narrows the products.
    """

    norm: UnitNorm
    project_in: Linear
    gelu: Ints
    gate: Narrow
    project_out: Linear


@dataclass(frozen=True)
class TransformBlock:
    """A depthwise mixer and a gated feed-forward network.

    Where the block keeps its width, the input is added to the mixer's output, rounded by 2^identity_shift; elsewhere
    identity_shift is None and `project` takes the input beside the depthwise convolution's output (its adaptor).
    """

    input: Narrow
    expand: Linear
    depthwise: Depthwise
    project: Linear
    identity_shift: int | None
    ffn: GatedFFN


@dataclass(frozen=True)
class AggregationBlock:
    """A linear mixer and a gated feed-forward network. input: None where the input is narrow already."""

    input: Narrow | None
    mixer: Linear
    ffn: GatedFFN


@dataclass(frozen=True)
class HyperSynthesis:
    """From z's symbols to the narrow hyper parameters. medians: (N,) with FRACTION_BITS; convolutions are 3×3, rows of
    a weight ordered (tap, input channel), columns of the first two (pixel-shuffle phase, output channel)."""

    medians: Ints
    input: Narrow
    up0: Linear
    blocks0: tuple[TransformBlock, ...]
    input1: Narrow
    up1: Linear
    blocks1: tuple[TransformBlock, ...]
    input2: Narrow
    output: Linear


@dataclass(frozen=True)
class Slice:
    """The passes of one slice of y.

    context, context_output: channel context from y_hat of the slices before, and its output's narrowing; None for the
    first. spatial_input, spatial: the masked 5×5 convolution, its weight's rows ordered (tap, channel) over the 12
    taps of odd row + column. anchor_mixer: the first block's mixer without the spatial context's rows. blocks: the
    parameter aggregation. thresholds: (63,) of the scale; mean_shift: left shift from the stream to FRACTION_BITS.
    """

    channels: int
    context: tuple[TransformBlock, ...]
    context_output: Narrow | None
    spatial_input: Narrow
    spatial: Linear
    anchor_mixer: Linear
    blocks: tuple[AggregationBlock, ...]
    thresholds: Ints
    mean_shift: int


@dataclass(frozen=True)
class IntegerNetwork:
    """Everything between z's symbols and the CDF indexes and means."""

    hyper_synthesis: HyperSynthesis
    slices: tuple[Slice, ...]
    rsqrt: Ints

    def parameters(self) -> dict[str, Ints]:
        """Return every integer of the network by its dotted name; the arithmetic's fingerprint is their hash."""
        return {f"network.{name}": np.atleast_1d(np.asarray(value, np.int64)) for name, value in _leaves(self)}

    @classmethod
    def from_parameters(cls, arrays: Mapping[str, npt.NDArray[np.integer[Any]]]) -> IntegerNetwork:
        """Build the network that has these `parameters`. Raises KeyError where one is missing."""
        network = _restore(cls, "network", {name: value.astype(np.int64) for name, value in arrays.items()})
        assert isinstance(network, cls)
        return network


def _restore(kind: Any, name: str, arrays: Mapping[str, Ints]) -> Any:
    """Build a value of an annotated type from the arrays under its dotted name."""
    if kind is int:
        return int(arrays[name].item())
    if kind == Ints:
        return arrays[name]
    if get_origin(kind) is UnionType:  # X | None
        present = any(key == name or key.startswith(f"{name}.") for key in arrays)
        return _restore(get_args(kind)[0], name, arrays) if present else None
    if get_origin(kind) is tuple:
        indices = {int(key[len(name) + 1 :].split(".")[0]) for key in arrays if key.startswith(f"{name}.")}
        return tuple(_restore(get_args(kind)[0], f"{name}.{i}", arrays) for i in sorted(indices))
    hints = get_type_hints(kind)
    return kind(**{field.name: _restore(hints[field.name], f"{name}.{field.name}", arrays) for field in fields(kind)})


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Ints | int]]:
    """Yield every integer parameter under a node with its dotted name, in order of declaration."""
    if is_dataclass(node):
        for field in fields(node):
            yield from _leaves(getattr(node, field.name), f"{prefix}.{field.name}" if prefix else field.name)
    elif isinstance(node, tuple):
        for i, child in enumerate(node):
            yield from _leaves(child, f"{prefix}.{i}")
    elif node is not None:
        yield prefix, node
