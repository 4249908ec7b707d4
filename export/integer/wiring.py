"""Connect the integer network's layers, once for every arithmetic that runs them.

An `Arithmetic` computes values, or writes ONNX nodes that compute them: the NumPy oracle, PyTorch with integers held in
float32, and the lowerings. The values are opaque to this module. Maps are channels-last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from .network import (
    AggregationBlock,
    Depthwise,
    GatedFFN,
    HyperSynthesis,
    Ints,
    Linear,
    Narrow,
    Slice,
    TransformBlock,
)

V = TypeVar("V")

Taps = Sequence[tuple[int, int]]  # (row, column) offsets
CONV3 = tuple((r, s) for r in (-1, 0, 1) for s in (-1, 0, 1))
# The taps of the spatial context, a 5×5 checkerboard, in the order of the rows of its weight.
SPATIAL = tuple((r, s) for r in range(-2, 3) for s in range(-2, 3) if (r + s) % 2)


class Arithmetic(Protocol[V]):
    """Declare the steps of the arithmetic, which `docs/arithmetic.md` defines."""

    def narrow(self, x: V, narrow: Narrow) -> V: ...

    def linear(self, x: V, linear: Linear) -> V: ...

    def leaky_relu(self, x: V) -> V: ...

    def depthwise(self, x: V, depthwise: Depthwise) -> V: ...

    def gated_ffn(self, stream: V, ffn: GatedFFN) -> V: ...

    def add_identity(self, x: V, identity: V, shift: int) -> V:
        """Return clamp(x + round(identity / 2^shift), ±WIDE)."""

    def concat(self, parts: Sequence[V]) -> V: ...

    def unfold(self, x: V, taps: Taps) -> V:
        """Gather the values at the taps of each position: (h, w, C) to (h, w, taps · C), zeros beyond the border."""

    def unfold_nonanchors(self, x: V, taps: Taps) -> V:
        """Return `pack(unfold(x, taps), 1)`; only the non-anchor positions are computed."""

    def pixel_shuffle(self, x: V) -> V:
        """Rearrange (h, w, 4 · C), with channels (phase row, phase column, C), to (2h, 2w, C)."""

    def pack(self, x: V, parity: int) -> V:
        """Select the positions with (row + column) % 2 == parity: (h, w, C) to (h, w/2, C)."""

    def add_medians(self, symbols: V, medians: Ints) -> V:
        """Return symbols · 2^FRACTION_BITS + medians."""

    def parameters(self, stream: V, thresholds: Ints, mean_shift: int) -> tuple[V, V]:
        """Compute CDF indexes and means from the two halves of the channels.

        An index is the number of thresholds that a value of the first half exceeds. A mean, with FRACTION_BITS, is
        clamp(x · 2^mean_shift, ±2^(11 + FRACTION_BITS)) for a value x of the second half.
        """


class Wiring(Generic[V]):
    """Run the passes of the entropy path in one arithmetic."""

    def __init__(self, arithmetic: Arithmetic[V]) -> None:
        self.do = arithmetic

    def hyper_synthesis(self, z_symbols: V, net: HyperSynthesis) -> V:
        """Compute the narrow hyper parameters (h, w, 2N) from z's symbols (h/4, w/4, N)."""
        do = self.do
        x = do.narrow(do.add_medians(z_symbols, net.medians), net.input)
        x = self._transforms(self._up(x, net.up0), net.blocks0)
        x = self._transforms(self._up(do.narrow(x, net.input1), net.up1), net.blocks1)
        return do.linear(do.unfold(do.narrow(x, net.input2), CONV3), net.output)

    def anchors(self, hyper: V, before: V | None, net: Slice) -> tuple[V, V, V]:
        """Compute the entropy parameters of a slice's anchors.

        Args:
            hyper: the hyper parameters, (h, w, 2N).
            before: y_hat of the earlier slices, (h, w, C), with FRACTION_BITS; None for the first slice.
            net: the slice.

        Returns the indexes and the means of the anchors, (h, w/2, C_k) each, and the narrow support of the non-anchors.
        """
        do = self.do
        support = hyper
        if before is not None:
            assert net.context_output is not None
            context = do.narrow(self._transforms(before, net.context), net.context_output)
            support = do.concat([context, hyper])
        indexes, means = self._estimate(do.linear(do.pack(support, 0), net.anchor_mixer), net)
        return indexes, means, do.pack(support, 1)

    def nonanchors(self, anchors: V, support: V, net: Slice) -> tuple[V, V]:
        """Compute the indexes and means of a slice's non-anchors, (h, w/2, C_k) each.

        Args:
            anchors: y_hat of the anchors, (h, w, C_k), with FRACTION_BITS and zeros at the non-anchors.
            support: the support that `anchors` returned.
            net: the slice.
        """
        do = self.do
        spatial = do.linear(do.unfold_nonanchors(do.narrow(anchors, net.spatial_input), SPATIAL), net.spatial)
        return self._estimate(do.linear(do.concat([spatial, support]), net.blocks[0].mixer), net)

    def _estimate(self, stream: V, net: Slice) -> tuple[V, V]:
        stream = self.do.gated_ffn(stream, net.blocks[0].ffn)
        for block in net.blocks[1:]:
            stream = self._aggregate(stream, block)
        return self.do.parameters(stream, net.thresholds, net.mean_shift)

    def _aggregate(self, stream: V, block: AggregationBlock) -> V:
        assert block.input is not None
        return self.do.gated_ffn(self.do.linear(self.do.narrow(stream, block.input), block.mixer), block.ffn)

    def _transforms(self, stream: V, blocks: Sequence[TransformBlock]) -> V:
        do = self.do
        for block in blocks:
            x = do.narrow(stream, block.input)
            mixed = do.depthwise(do.leaky_relu(do.linear(x, block.expand)), block.depthwise)
            if block.identity_shift is None:
                mixed = do.linear(do.concat([mixed, x]), block.project)
            else:
                mixed = do.add_identity(do.linear(mixed, block.project), stream, block.identity_shift)
            stream = do.gated_ffn(mixed, block.ffn)
        return stream

    def _up(self, x: V, conv: Linear) -> V:
        return self.do.pixel_shuffle(self.do.linear(self.do.unfold(x, CONV3), conv))
