"""Hold the integer entropy network as data: the parameters that `docs/arithmetic.md` defines, and no computation.

All values are integers. Maps are channels-last: (rows, columns, channels). A *narrow* map contains factors of products
(10 to 12 bits). A *wide* map contains the residual stream, |x| <= WIDE.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

FRACTION_BITS = 12  # fraction bits of means, y_hat and z_hat
WIDE = 2**23 - 1  # largest magnitude of a wide value; the sum of two stays below 2^24
LEAKY_SLOPE = 41  # slope of LeakyReLU(0.01), in 1/4096
NORM_INPUT = 8191  # largest magnitude of a layer norm's input
NORM_DEVIATION = 4095  # largest magnitude of a deviation from the mean inside a layer norm
NORM_CHANNELS = 1024  # widest layer norm whose sums stay below 2^24
GATE_INPUT = 2047  # largest magnitude of a GELU's argument, and of the factor that its result multiplies
GELU_OUTPUT = 4095  # largest magnitude of a GELU's result
RSQRT_BITS = 11  # fraction bits of an entry of the reciprocal square root table


@dataclass(frozen=True)
class Narrow:
    """Define the step clamp(round(x / 2^shift), ±limit). shift: (C,), at least 0."""

    shift: Ints
    limit: int


@dataclass(frozen=True)
class Linear:
    """Define the layer clamp(round((x · weight + bias) / 2^shift), ±limit) at every position.

    Attributes:
        weight: (K, N), in ±127.
        bias: (N,).
        shift: (N,), at least 0.
        limit: largest magnitude of the result.
        input_limit: largest magnitude of x.
    """

    weight: Ints
    bias: Ints
    shift: Ints
    limit: int
    input_limit: int


@dataclass(frozen=True)
class Depthwise:
    """Define a 5×5 depthwise convolution with zero padding.

    The weight is (25, C), with taps in row-major order. The other attributes are those of `Linear`.
    """

    weight: Ints
    bias: Ints
    shift: Ints
    limit: int
    input_limit: int


@dataclass(frozen=True)
class UnitNorm:
    """Define a layer norm without its affine part: deviations from the mean, divided by their Euclidean length.

    Attributes:
        input_shift: the shift that narrows the stream to ±NORM_INPUT.
        fraction: (C,), the fraction bits of the result, at most RSQRT_BITS.
        limit: largest magnitude of the result.
    """

    input_shift: int
    fraction: Ints
    limit: int


@dataclass(frozen=True)
class GatedFFN:
    """Define stream + project_out(narrowed(GELU(a) · b)), where a and b are the halves of project_in(norm(stream)).

    Attributes:
        norm, project_in, project_out: the layers.
        gelu: (4096,), the table of GELU; entry a + 2048 is GELU(a).
        gate: the narrowing of the products.
    """

    norm: UnitNorm
    project_in: Linear
    gelu: Ints
    gate: Narrow
    project_out: Linear


@dataclass(frozen=True)
class TransformBlock:
    """Define a depthwise mixer and a gated feed-forward network.

    If the block keeps its width, the input, divided by 2^identity_shift and rounded, is added to the mixer's output.
    Otherwise `identity_shift` is None, and `project` also has the block's input as an input (the adaptor).
    """

    input: Narrow
    expand: Linear
    depthwise: Depthwise
    project: Linear
    identity_shift: int | None
    ffn: GatedFFN


@dataclass(frozen=True)
class AggregationBlock:
    """Define a linear mixer and a gated feed-forward network. input: None if the block's input is already narrow."""

    input: Narrow | None
    mixer: Linear
    ffn: GatedFFN


@dataclass(frozen=True)
class HyperSynthesis:
    """Define the network from z's symbols to the narrow hyper parameters.

    `medians` is (N,) with FRACTION_BITS. The convolutions `up0`, `up1` and `output` are 3×3. The rows of their weights
    are in the order (tap, input channel), and the columns of `up0` and `up1` in the order (pixel-shuffle phase, output
    channel).
    """

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
    """Define the passes of one slice of y.

    Attributes:
        channels: number of channels of the slice.
        context: channel context from y_hat of the earlier slices; empty for the first slice.
        context_output: narrowing of the context's output; None for the first slice.
        spatial_input: narrowing of the input of `spatial`.
        spatial: the masked 5×5 convolution; the rows of its weight are in the order (tap, channel), over the 12 taps
            with odd row + column.
        anchor_mixer: mixer of the first block without the rows of the spatial context.
        blocks: the parameter aggregation.
        thresholds: (63,), the bounds of the scales.
        mean_shift: left shift from the stream to FRACTION_BITS.
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
    """Define the whole network from z's symbols to the CDF indexes and means."""

    hyper_synthesis: HyperSynthesis
    slices: tuple[Slice, ...]
    rsqrt: Ints

    def parameters(self) -> dict[str, Ints]:
        """Return all integers of the network by dotted name; the fingerprint of the arithmetic is their hash."""
        return {f"network.{name}": np.atleast_1d(np.asarray(value, np.int64)) for name, value in _leaves(self)}

    @classmethod
    def from_parameters(cls, arrays: Mapping[str, npt.NDArray[np.integer[Any]]]) -> IntegerNetwork:
        """Build the network that has these `parameters`. Raises KeyError if a parameter is missing."""
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
