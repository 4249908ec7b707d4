"""Lower the integer arithmetic to ONNX: in two ways to plain ops, and in one way also to glic's own ops.

Between ops, integers are held in float32, and every value stays below 2^24 (`bounds`). Each step is therefore exact:
scaling by a power of two, Round (halves to even), Floor, Min and Max. The lowerings differ in their products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..ops.translation import PLUGIN
from .bounds import float_parts, largest_result
from .builder import CUSTOM_DOMAIN, GraphBuilder
from .network import (
    FRACTION_BITS,
    GATE_INPUT,
    LEAKY_SLOPE,
    NORM_DEVIATION,
    NORM_INPUT,
    RSQRT_BITS,
    WIDE,
    Depthwise,
    GatedFFN,
    Ints,
    Linear,
    Narrow,
    UnitNorm,
)
from .wiring import Taps

_SQUARE_BITS = 12  # squares are summed as quotients and remainders by 2^12
_LEAST = 2.0**-_SQUARE_BITS
_LOOK_UP_ROWS = 4  # every map has a multiple of four positions, since y has 4×4 positions for each position of z


def _scale(shift: Ints | int) -> np.ndarray:
    return np.ldexp(np.float32(1), -np.asarray(shift, dtype=np.int32))


def _halves(linear: Linear) -> tuple[Linear, Linear]:
    """Return a layer as two layers with half the outputs each."""
    middle = linear.bias.size // 2
    first, second = (
        replace(linear, weight=linear.weight[:, part], bias=linear.bias[part], shift=linear.shift[part])
        for part in (slice(middle), slice(middle, None))
    )
    return first, second


class FloatHeld:
    """Implement `Arithmetic` by writing ONNX nodes whose products are float32 matrix products, exact in any order.

    Maps are (h, w, C). Layers work on rows, (h·w, C), because a product of rows with a bias is one op (Gemm).
    """

    def __init__(self, graph: GraphBuilder, rsqrt: Ints) -> None:
        self.g = graph
        self.rsqrt = rsqrt
        self._reach: dict[str, int] = {}  # proven upper bounds of the magnitudes of values

    # Products

    def product(self, rows: str, weight: Ints, shift: Ints) -> str:
        """Return rows (P, K) · weight (K, N) / 2^shift, not rounded. No sum of magnitudes may reach 2^24."""
        return self.g.op("MatMul", rows, self._scaled_weight(weight, shift))

    def biased_product(self, rows: str, weight: Ints, shift: Ints, bias: Ints) -> str:
        """Return `product` plus bias / 2^shift; the bias counts in the sum of magnitudes."""
        return self.g.op("Gemm", rows, self._scaled_weight(weight, shift), self._scaled_bias(bias, shift))

    def _scaled_weight(self, weight: Ints, shift: Ints) -> str:
        """Add a weight as float16, which represents 8 bits exactly. Runtimes scale it once, as they fold constants."""
        held = self.g.op("Cast", self.g.constant(weight, np.float16), to=1)
        return self.g.op("Mul", held, self._float(_scale(shift)))

    def _scaled_bias(self, bias: Ints, shift: Ints) -> str:
        return self._float(np.ldexp(bias.astype(np.float64), -shift))

    # Steps of the arithmetic

    def narrow(self, x: str, narrow: Narrow) -> str:
        return self._clip(self._round_shift(x, narrow.shift), narrow.limit)

    def linear(self, x: str, linear: Linear) -> str:
        inputs, outputs = linear.weight.shape
        sides = self.g.op("Slice", self.g.op("Shape", x), self._shape(0), self._shape(2))
        shape = self.g.op("Concat", sides, self._shape(outputs), axis=0)
        return self._reshaped(self._linear(self._reshaped(x, self._shape(-1, inputs)), linear), shape)

    def _linear(self, rows: str, linear: Linear) -> str:
        return self._clip(self._rounded_sums(rows, linear), linear.limit)

    def _rounded_sums(self, rows: str, linear: Linear) -> str:
        g = self.g
        *others, (last, end) = float_parts(linear)
        remaining = self._channels(rows, last, end) if others else rows
        rest = self.biased_product(remaining, linear.weight[last:end], linear.shift, linear.bias)
        # The part 2 · floor(sum / 2) of each other sum is an even integer. To round the remaining sum therefore rounds
        # the whole sum, ties included.
        whole = None
        for start, stop in others:
            halved = self.product(self._channels(rows, start, stop), linear.weight[start:stop], linear.shift + 1)
            floor = g.op("Floor", halved)
            rest = g.op("Add", rest, self._twice(g.op("Sub", halved, floor)))
            whole = floor if whole is None else g.op("Add", whole, floor)
        rounded = g.op("Round", rest)
        if whole is not None:
            rounded = g.op("Add", self._twice(whole), rounded)
        return self._proven(rounded, largest_result(linear))

    def leaky_relu(self, x: str) -> str:
        scaled = self.g.op("Round", self.g.op("Mul", x, self._float(LEAKY_SLOPE / 4096)))
        return self.g.op("Max", x, scaled)

    def depthwise(self, x: str, depthwise: Depthwise) -> str:
        g = self.g
        channels = depthwise.bias.size
        weight = np.ldexp(depthwise.weight.astype(np.float64), -depthwise.shift).T.reshape(channels, 1, 5, 5)
        bias = np.ldexp(depthwise.bias.astype(np.float64), -depthwise.shift)
        planes = g.op("Unsqueeze", g.op("Transpose", x, perm=[2, 0, 1]), self._shape(0))
        sums = g.op("Conv", planes, self._float(weight), self._float(bias), group=channels, pads=[2, 2, 2, 2])
        narrowed = self._clip(g.op("Round", sums), depthwise.limit)
        return g.op("Transpose", g.op("Squeeze", narrowed, self._shape(0)), perm=[1, 2, 0])

    def gated_ffn(self, stream: str, ffn: GatedFFN) -> str:
        g = self.g
        rows = self._reshaped(stream, self._shape(-1, ffn.norm.fraction.size))
        unit = self._unit_norm(rows, ffn.norm)
        argument, factor = _halves(ffn.project_in)
        gated = self.narrow(g.op("Mul", self._gelu(unit, argument, ffn.gelu), self._linear(unit, factor)), ffn.gate)
        out = self._add(rows, self._linear(gated, ffn.project_out))
        return self._reshaped(self._clip(out, WIDE), g.op("Shape", stream))

    def _gelu(self, rows: str, argument: Linear, table: Ints) -> str:
        """Look up table[linear(rows) + 2048]. The layer's bias includes the offset if the sums have room for it."""
        offset = GATE_INPUT + 1  # even, so that ties round as they do without the offset
        index = replace(argument, bias=argument.bias + (offset << argument.shift))
        if len(float_parts(index)) > 1:
            return self._look_up(table, self.g.op("Add", self._linear(rows, argument), self._float(offset)))
        sums = self._rounded_sums(rows, index)
        return self._look_up(table, self.g.op("Clip", sums, self._float(1), self._float(2 * GATE_INPUT + 1)))

    def _unit_norm(self, rows: str, norm: UnitNorm) -> str:
        g = self.g
        channels = norm.fraction.size
        x = self._clip(self._round_shift(rows, norm.input_shift), NORM_INPUT)
        narrowing = _scale((channels - 1).bit_length())
        total = g.op("Mul", self._sum(x), self._float(narrowing))
        deviation = g.op("Sub", g.op("Mul", x, self._float(channels * narrowing)), total)
        deviation = self._clip(g.op("Round", deviation), NORM_DEVIATION)
        root = g.op("Mul", deviation, self._float(_scale(_SQUARE_BITS // 2)))
        squares = g.op("Mul", root, root)
        high = g.op("Floor", squares)
        low = g.op("Sub", squares, high)
        unit = g.op("Mul", deviation, self._reciprocal(self._sum(high), self._sum(low)))
        return self._clip(g.op("Round", g.op("Mul", unit, self._float(_scale(-norm.fraction)))), norm.limit)

    def _reciprocal(self, high: str, low: str) -> str:
        """Return the reciprocal square root of 2^12 · (high + low): the table's entry · 2^-(RSQRT_BITS + exponent).

        `high` is an integer.
        """
        g = self.g
        carry = g.op("Floor", low)
        high = g.op("Add", high, carry)
        low = g.op("Sub", low, carry)
        # Below 4^11 the sum itself is exact in float32; above, the mantissa's 12 bits lie in `high` alone.
        small = g.op("Less", high, self._float(4**11 >> _SQUARE_BITS))
        whole = g.op("Mul", g.op("Max", g.op("Add", high, low), self._float(_LEAST)), self._float(2**_SQUARE_BITS))
        value = g.op("Where", small, whole, high)
        powers = 4.0 ** np.arange(1, 12)
        above = g.op("Cast", g.op("GreaterOrEqual", value, self._float(powers)), to=1)
        # mantissa = floor(2^10 · value / 4^exponent). The factor is looked up by its exponent, since a runtime's Pow
        # may not be exact.
        exponent = g.op("Cast", self._sum(above), to=6)
        mantissa = g.op("Floor", g.op("Mul", value, self._pick(1024 / 4.0 ** np.arange(12), exponent)))
        entry = g.op("Cast", g.op("Sub", mantissa, self._float(1024)), to=6)
        scale = self._pick(_scale(RSQRT_BITS + np.arange(12)), exponent)
        halved = g.op("Mul", scale, self._float(_scale(_SQUARE_BITS // 2)))
        return g.op("Mul", self._pick(self.rsqrt, entry), g.op("Where", small, scale, halved))

    def add_identity(self, x: str, identity: str, shift: int) -> str:
        return self._clip(self._add(x, self._round_shift(identity, shift)), WIDE)

    def concat(self, parts: Sequence[str]) -> str:
        return self.g.op("Concat", *parts, axis=-1)

    def unfold(self, x: str, taps: Taps) -> str:
        padded = self._pad(x)
        size = self.g.op("Shape", x)
        h, w = self._dim(size, 0), self._dim(size, 1)
        return self.concat([self._window(padded, h, w, (2 + r, 2 + s), (1, 1)) for r, s in taps])

    def unfold_nonanchors(self, x: str, taps: Taps) -> str:
        padded = self._pad(x)
        size = self.g.op("Shape", x)
        h, w = self._dim(size, 0), self._dim(size, 1)
        rows = [
            self.concat([self._window(padded, h, w, (2 + r + i, 2 + s + 1 - i), (2, 2)) for r, s in taps])
            for i in (0, 1)
        ]
        return self._interleave(rows[0], rows[1])

    def pixel_shuffle(self, x: str) -> str:
        g = self.g
        size = g.op("Shape", x)
        h, w, channels = self._dim(size, 0), self._dim(size, 1), g.op("Div", self._dim(size, 2), self._shape(4))
        split = g.op("Concat", h, w, self._shape(2), self._shape(2), channels, axis=0)
        cells = g.op("Transpose", g.op("Reshape", x, split), perm=[0, 2, 1, 3, 4])
        two = self._shape(2)
        return g.op("Reshape", cells, g.op("Concat", g.op("Mul", h, two), g.op("Mul", w, two), channels, axis=0))

    def pack(self, x: str, parity: int) -> str:
        rows = [
            self.g.op(
                "Slice", x, self._shape(i, j), self._shape(*[2**31 - 1] * 2), self._shape(0, 1), self._shape(2, 2)
            )
            for i, j in ((0, parity), (1, 1 - parity))
        ]
        return self._interleave(rows[0], rows[1])

    def add_medians(self, symbols: str, medians: Ints) -> str:
        fixed = self.g.op("Mul", symbols, self._float(2**FRACTION_BITS))
        return self.g.op("Add", fixed, self._float(medians))

    def parameters(self, stream: str, thresholds: Ints, mean_shift: int) -> tuple[str, str]:
        g = self.g
        scales, means = g.halves(stream)
        # A cell of 2^bits values contains at most one threshold: the index at the cell's start and one comparison with
        # the next threshold give the index.
        bits = int(np.diff(thresholds).min()).bit_length() - 1
        cells = np.arange((int(thresholds[-1]) >> bits) + 2)
        first = np.searchsorted(thresholds, cells << bits, side="left")
        cell = g.op("Floor", g.op("Mul", scales, self._float(_scale(bits))))
        cell = g.op("Clip", cell, self._float(0), self._float(len(cells) - 1))
        index = self._look_up(first, cell)
        next_threshold = self._look_up(np.append(thresholds, WIDE)[first], cell)
        passed = g.op("Cast", g.op("Greater", scales, next_threshold), to=1)
        largest = 2 ** (11 + FRACTION_BITS)
        return g.op("Add", index, passed), self._clip(g.op("Mul", means, self._float(2**mean_shift)), largest)

    # Pieces

    def _float(self, value: npt.ArrayLike) -> str:
        return self.g.constant(value, np.float32)

    def _shape(self, *values: int) -> str:
        return self.g.constant(values, np.int64)

    def _dim(self, shape: str, axis: int) -> str:
        return self.g.op("Slice", shape, self._shape(axis), self._shape(axis + 1))

    def _proven(self, x: str, reach: int | None) -> str:
        """Record `reach`, if known, as a proven upper bound of x's magnitude, and return x."""
        if reach is not None:
            self._reach[x] = reach
        return x

    def _clip(self, x: str, limit: int) -> str:
        if self._reach.get(x, limit + 1) <= limit:
            return x
        return self._proven(self.g.op("Clip", x, self._float(-limit), self._float(limit)), limit)

    def _add(self, x: str, y: str) -> str:
        known = x in self._reach and y in self._reach
        return self._proven(self.g.op("Add", x, y), self._reach[x] + self._reach[y] if known else None)

    def _reshaped(self, x: str, shape: str) -> str:
        return self._proven(self.g.op("Reshape", x, shape), self._reach.get(x))

    def _twice(self, x: str) -> str:
        return self.g.op("Mul", x, self._float(2))

    def _look_up(self, table: np.ndarray, index: str) -> str:
        """Look up table[index] for a map of indices, whose number is a multiple of four.

        GatherElements is used because it gives each thread of onnxruntime a row; Gather takes five times as long.
        """
        g = self.g
        tables = g.op("Expand", self._float(table), self._shape(_LOOK_UP_ROWS, table.size))
        entries = g.op("Reshape", g.op("Cast", index, to=6), self._shape(_LOOK_UP_ROWS, -1))
        return g.op("Reshape", g.op("GatherElements", tables, entries, axis=1), g.op("Shape", index))

    def _pick(self, table: np.ndarray, column: str) -> str:
        """Look up table[column] for a column of int32 indices, (P, 1)."""
        return self.g.op("GatherElements", self._float(table[:, None]), column, axis=0)

    def _round_shift(self, x: str, shift: Ints | int) -> str:
        if not np.any(shift):
            return x
        rounded = self.g.op("Round", self.g.op("Mul", x, self._float(_scale(shift))))
        return self._proven(rounded, (self._reach[x] >> int(np.min(shift))) + 1 if x in self._reach else None)

    def _sum(self, x: str) -> str:
        return self.g.op("ReduceSum", x, self._shape(-1), keepdims=1)

    def _channels(self, rows: str, start: int, stop: int) -> str:
        return self.g.op("Slice", rows, self._shape(start), self._shape(stop), self._shape(1))

    def _pad(self, x: str) -> str:
        return self.g.op("Pad", x, self._shape(2, 2, 0, 2, 2, 0))

    def _window(self, padded: str, h: str, w: str, start: tuple[int, int], step: tuple[int, int]) -> str:
        """Select the positions of an (h, w) map, moved by `start` in the padded map; only every `step`-th of them."""
        offsets = self._shape(*(first - stride + 1 for first, stride in zip(start, step, strict=True)))
        last = self.g.op("Add", self.g.op("Concat", h, w, axis=0), offsets)
        return self.g.op("Slice", padded, self._shape(*start), last, self._shape(0, 1), self._shape(*step))

    def _interleave(self, even: str, odd: str) -> str:
        """Interleave the rows of two (h/2, w/2, C) maps to an (h, w/2, C) map."""
        g = self.g
        size = g.op("Shape", even)
        rows = g.op("Mul", self._dim(size, 0), self._shape(2))
        shape = g.op("Concat", rows, self._dim(size, 1), self._dim(size, 2), axis=0)
        return g.op("Reshape", g.op("Concat", even, odd, axis=1), shape)


class IntegerProducts(FloatHeld):
    """Write each product as two integer products of unsigned 8-bit activations and signed 8-bit weights.

    An activation of up to 14 bits is split into 128 · high + low, each of 7 bits. The sum of two products of 7 and
    8 bits fits 16 bits, so the result is also exact on processors that add pairs in saturating 16-bit arithmetic (AVX2
    without VNNI).
    """

    def product(self, rows: str, weight: Ints, shift: Ints) -> str:
        g = self.g
        held = g.constant(weight, np.int8)
        high = g.op("Floor", g.op("Mul", rows, self._float(1 / 128)))
        low = g.op("Sub", rows, g.op("Mul", high, self._float(128)))
        high_bytes = g.op("Cast", g.op("Add", high, self._float(64)), to=2)
        zero, middle = g.constant(0, np.uint8), g.constant(64, np.uint8)
        upper = g.op("MatMulInteger", high_bytes, held, middle)
        lower = g.op("MatMulInteger", g.op("Cast", low, to=2), held, zero)
        sums = g.op("Add", g.op("Mul", upper, g.constant(128, np.int32)), lower)
        return g.op("Mul", g.op("Cast", sums, to=1), self._float(_scale(shift)))

    def biased_product(self, rows: str, weight: Ints, shift: Ints, bias: Ints) -> str:
        return self.g.op("Add", self.product(rows, weight, shift), self._scaled_bias(bias, shift))


class NativeKernels(FloatHeld):
    """Write nodes of glic's own ops, which native kernels run, for all sums of products, and plain ops for the rest."""

    def linear(self, x: str, linear: Linear) -> str:
        return self._op("IntegerLinear", x, *self._layer(linear), limit=linear.limit)

    def depthwise(self, x: str, depthwise: Depthwise) -> str:
        return self._op("IntegerDepthwise", x, *self._layer(depthwise), limit=depthwise.limit)

    def gated_ffn(self, stream: str, ffn: GatedFFN) -> str:
        return self._op(
            "IntegerGatedFfn",
            stream,
            self._int32(ffn.norm.fraction),
            self._int32(self.rsqrt),
            *self._layer(ffn.project_in),
            self._int32(ffn.gelu),
            self._int32(ffn.gate.shift),
            *self._layer(ffn.project_out),
            norm_shift=ffn.norm.input_shift,
            norm_limit=ffn.norm.limit,
            gate_limit=ffn.gate.limit,
        )

    def _op(self, kind: str, *inputs: str, **attributes: int) -> str:
        return self.g.op(kind, *inputs, domain=CUSTOM_DOMAIN, **attributes, **PLUGIN)

    def _layer(self, linear: Linear | Depthwise) -> tuple[str, str, str]:
        return self.g.constant(linear.weight, np.int8), self._int32(linear.bias), self._int32(linear.shift)

    def _int32(self, values: Ints) -> str:
        return self.g.constant(values, np.int32)
