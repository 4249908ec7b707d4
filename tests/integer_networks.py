"""Integer entropy networks of random parameters, small and of every form that the exporter makes."""

from __future__ import annotations

import numpy as np

from export.integer.network import (
    WIDE,
    AggregationBlock,
    Depthwise,
    GatedFFN,
    HyperSynthesis,
    IntegerNetwork,
    Ints,
    Linear,
    Narrow,
    Slice,
    TransformBlock,
    UnitNorm,
)
from export.integer.quantise import gelu_table, rsqrt_table

NARROW = 511
LATENT = 2047


class RandomNetworks:
    """Draws parameters at random over their whole ranges; wide enough for products that float32 needs in parts."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def network(self, hyper: int = 6, groups: tuple[int, ...] = (3, 5), hidden: int = 700) -> IntegerNetwork:
        slices = tuple(self.slice(k, groups, 2 * hyper, hidden) for k in range(len(groups)))
        return IntegerNetwork(self.hyper_synthesis(hyper), slices, rsqrt_table())

    def hyper_synthesis(self, n: int) -> HyperSynthesis:
        return HyperSynthesis(
            medians=self.rng.integers(-4096, 4096, n),
            input=self.narrow(n, LATENT, 6),
            up0=self.linear(9 * n, 4 * n, LATENT, WIDE, 4),
            blocks0=(self.transform(n, n), self.transform(n, n)),
            input1=self.narrow(n, NARROW, 10),
            up1=self.linear(9 * n, 4 * n, NARROW, WIDE, 4),
            blocks1=(self.transform(n, n), self.transform(n, n)),
            input2=self.narrow(n, NARROW, 10),
            output=self.linear(9 * n, 2 * n, NARROW, NARROW, 12),
        )

    def slice(self, k: int, groups: tuple[int, ...], hyper: int, hidden: int) -> Slice:
        group, before = groups[k], sum(groups[:k])
        context: tuple[TransformBlock, ...] = ()
        if k:
            context = (self.transform(before, 7, LATENT), self.transform(7, 7), self.transform(7, 2 * group))
        support = hyper + (2 * group if k else 0)
        mixer = self.linear(2 * group + support, 9, NARROW, WIDE, 4)
        anchor_mixer = Linear(mixer.weight[2 * group :], mixer.bias, mixer.shift, mixer.limit, mixer.input_limit)
        blocks = (
            AggregationBlock(None, mixer, self.ffn(9, hidden)),
            AggregationBlock(self.narrow(9, NARROW, 8), self.linear(9, 9, NARROW, WIDE, 4), self.ffn(9, hidden)),
            AggregationBlock(
                self.narrow(9, NARROW, 8), self.linear(9, 2 * group, NARROW, WIDE, 4), self.ffn(2 * group, hidden)
            ),
        )
        return Slice(
            channels=group,
            context=context,
            context_output=self.narrow(2 * group, NARROW, 10) if k else None,
            spatial_input=self.narrow(group, LATENT, 6),
            spatial=self.linear(12 * group, 2 * group, LATENT, NARROW, 10),
            anchor_mixer=anchor_mixer,
            blocks=blocks,
            thresholds=np.cumsum(self.rng.integers(5, 500, 63)),
            mean_shift=int(self.rng.integers(0, 4)),
        )

    def transform(self, inputs: int, outputs: int, input_limit: int = NARROW) -> TransformBlock:
        adaptor = inputs != outputs
        return TransformBlock(
            input=self.narrow(inputs, input_limit, 10),
            expand=self.linear(inputs, inputs, input_limit, LATENT, 6),
            depthwise=Depthwise(
                self.rng.integers(-127, 128, (25, inputs)), *self._bias_and_shift(inputs, 10), NARROW, LATENT
            ),
            project=self.linear(inputs * (1 + adaptor), outputs, max(NARROW, input_limit), WIDE, 2),
            identity_shift=None if adaptor else int(self.rng.integers(0, 4)),
            ffn=self.ffn(outputs, 11),
        )

    def ffn(self, channels: int, hidden: int) -> GatedFFN:
        return GatedFFN(
            norm=UnitNorm(int(self.rng.integers(0, 10)), self.rng.integers(5, 12, channels), NARROW),
            project_in=self.linear(channels, 2 * hidden, NARROW, 2047, 7),
            gelu=gelu_table(8),
            gate=self.narrow(hidden, NARROW, 12),
            project_out=self.linear(hidden, channels, NARROW, WIDE, 4),
        )

    def narrow(self, channels: int, limit: int, shift: int) -> Narrow:
        return Narrow(self.rng.integers(0, 2 * shift, channels), limit)

    def linear(self, inputs: int, outputs: int, input_limit: int, limit: int, shift: int) -> Linear:
        weight = self.rng.integers(-127, 128, (inputs, outputs))
        weight[:, self.rng.random(outputs) < 0.05] = 0  # a silent channel
        return Linear(weight, *self._bias_and_shift(outputs, shift), limit, input_limit)

    def _bias_and_shift(self, outputs: int, shift: int) -> tuple[Ints, Ints]:
        return self.rng.integers(-(2**20), 2**20, outputs), self.rng.integers(shift, shift + 4, outputs)
