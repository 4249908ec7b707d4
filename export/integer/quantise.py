"""Quantise the trained float entropy network to the integer network, by the ranges of its activations.

A number of fraction bits describes every format, so that all rescaling is a shift. Each output channel of a weight has
the largest power-of-two scale with which its values fit their bits. The affine part of a layer norm is folded into the
next layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2, sqrt

import numpy as np
import numpy.typing as npt
import torch

from ..network.scope import Scope
from ..schema import CONTEXT_BLOCKS, Config
from ..tables import SCALE_TABLE
from .calibration import Ranges
from .network import (
    FRACTION_BITS,
    GATE_INPUT,
    GELU_OUTPUT,
    NORM_INPUT,
    RSQRT_BITS,
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
from .wiring import SPATIAL

Floats = npt.NDArray[np.float64]

_MAX_WEIGHT_FRACTION = 24
_MAX_BIAS = 2**22
_MAX_SHIFT = 18  # with larger shifts the remainders of parts would pass 2^24, and no rounded result would change


@dataclass(frozen=True)
class BitWidths:
    """Set the bits of each kind of value, sign included, and the headroom: the factor above the calibrated range."""

    weights: int = 8
    activations: int = 10
    latents: int = 12
    expanded: int = 12
    stream_headroom: float = 8.0
    headroom: float = 1.25
    latent_headroom: float = 2.0
    floor: float = 1 / 8  # smallest range of a channel, as a share of its tensor's range

    @property
    def weight_limit(self) -> int:
        """Largest magnitude of a weight."""
        return _limit(self.weights)


def _limit(bits: int) -> int:
    """Return the largest magnitude of a signed value of `bits` bits."""
    return (1 << bits - 1) - 1


def quantise(entropy: Scope, config: Config, ranges: Ranges, bits: BitWidths | None = None) -> IntegerNetwork:
    """Quantise the network whose tensors are `entropy`, the scope `latent_codec` of a checkpoint."""
    return _Quantiser(entropy, config, ranges, bits or BitWidths()).network()


def rsqrt_table() -> Ints:
    """Return the table (3072,) whose entry m − 1024 is round(2^RSQRT_BITS · sqrt(1024 / m)), for 1024 <= m < 4096."""
    mantissas = np.arange(1024, 4096, dtype=np.float64)
    entries: Ints = np.rint(2**RSQRT_BITS * np.sqrt(1024 / mantissas)).astype(np.int64)
    return entries


def gelu_table(fraction: int) -> Ints:
    """Return the table (4096,) whose entry a + 2048 is GELU(a / 2^fraction), clamped to ±GELU_OUTPUT.

    The entries have fraction + 1 fraction bits.
    """
    a = torch.arange(-2048, 2048, dtype=torch.float64) / 2.0**fraction
    values = torch.nn.functional.gelu(a).numpy() * 2.0 ** (fraction + 1)
    return np.clip(np.rint(values).astype(np.int64), -GELU_OUTPUT, GELU_OUTPUT)


def _fraction(limit: float, largest: float | Floats) -> Ints:
    """Return the largest number of fraction bits with which `largest` stays within `limit`."""
    return np.floor(np.log2(limit / np.maximum(largest, 1e-9))).astype(np.int64)


class _Quantiser:
    """Quantise one network, block by block, in the order of its data flow."""

    def __init__(self, entropy: Scope, config: Config, ranges: Ranges, bits: BitWidths) -> None:
        self.entropy, self.config, self.ranges, self.bits = entropy, config, ranges, bits

    def network(self) -> IntegerNetwork:
        hyper_synthesis, hyper_fraction = self._hyper_synthesis(self.entropy / "hyper")
        slices = tuple(self._slice(k, hyper_fraction) for k in range(len(self.config.groups)))
        return IntegerNetwork(hyper_synthesis, slices, rsqrt_table())

    # Formats

    def _channel_fraction(self, name: str, bits: int, headroom: float, least: float = 0.0) -> Ints:
        seen = self.ranges[name]
        largest = np.maximum(seen, max(least, seen.max() * self.bits.floor))
        return _fraction(_limit(bits), headroom * largest)

    def _activation_fraction(self, name: str) -> Ints:
        return self._channel_fraction(name, self.bits.activations, self.bits.headroom)

    def _latent_fraction(self, name: str) -> Ints:
        fraction = self._channel_fraction(name, self.bits.latents, self.bits.latent_headroom, least=4.0)
        return np.clip(fraction, 0, FRACTION_BITS)

    def _stream_fraction(self, name: str) -> int:
        return int(_fraction(WIDE, self.bits.stream_headroom * self.ranges[name].max()))

    def _narrow(self, wanted: Ints, available: int, bits: int) -> tuple[Narrow, Ints]:
        """Narrow a tensor from `available` to at most `wanted` fraction bits; also return the resulting number."""
        fraction = np.minimum(wanted, available)
        return Narrow(available - fraction, _limit(bits)), fraction

    # Layers

    def _weight_fraction(self, weight: Floats, bias: Floats) -> Ints:
        """Choose the fraction bits of the sums of each output channel. weight: (K, N), scaled for integer inputs."""
        fit = _fraction(self.bits.weight_limit + 0.49, np.abs(weight).max(axis=0))
        return np.minimum(np.minimum(fit, _fraction(_MAX_BIAS, np.abs(bias))), _MAX_WEIGHT_FRACTION)

    def _linear(
        self, weight: Floats, bias: Floats, input_fraction: Ints, input_limit: int, fraction: Ints, limit: int
    ) -> tuple[Linear, Ints]:
        """Quantise weight (K, N) and bias (N,), in real units, for at most `fraction` output fraction bits (N,).

        Also return the resulting output fraction bits.
        """
        weight = weight * 2.0 ** -input_fraction[:, None]
        sums = self._weight_fraction(weight, bias)
        fraction = np.minimum(fraction, self._available_fraction(weight, bias))
        sums = np.minimum(sums, fraction + _MAX_SHIFT)
        return Linear(
            weight=np.rint(weight * 2.0**sums).astype(np.int64),
            bias=np.rint(bias * 2.0**sums).astype(np.int64),
            shift=sums - fraction,
            limit=limit,
            input_limit=input_limit,
        ), fraction

    def _available_fraction(self, weight: Floats, bias: Floats) -> Ints:
        """Return the largest number of fraction bits to which the sums of each output channel can be rounded.

        Sums beyond 2^24 are added in parts, each with a quotient and a remainder. The shift must keep the sum of the
        quotients below 2^24.
        """
        sums = self._weight_fraction(weight, bias)
        largest = _limit(self.bits.latents) * np.abs(np.rint(weight * 2.0**sums)).sum(axis=0) + _MAX_BIAS
        available: Ints = sums - np.maximum(0, np.ceil(np.log2(largest)).astype(np.int64) - 23)
        return available

    def _common_fraction(self, weight: Floats, bias: Floats, input_fraction: Ints, wanted: int) -> int:
        """Return the largest number of fraction bits, at most `wanted`, that every output channel can have."""
        return int(min(wanted, self._available_fraction(weight * 2.0 ** -input_fraction[:, None], bias).min()))

    def _ffn(self, scope: Scope, name: str, stream: int) -> tuple[GatedFFN, int]:
        """Quantise a block's feed-forward network; also return the fraction bits of its stream, at most `stream`."""
        gamma, beta = _vector(scope / "norm2", "weight"), _vector(scope / "norm2", "bias")
        channels = gamma.size
        activation_limit = _limit(self.bits.activations)
        unit_fraction = np.minimum(self._activation_fraction(f"{name}.unit"), RSQRT_BITS)
        w_in = _matrix(scope / "mlp" / "project_in")
        w_out = _matrix(scope / "mlp" / "project_out")
        hidden = w_out.shape[0]
        bias_in = beta @ w_in
        w_in = w_in * (gamma * sqrt(channels))[:, None]

        a_wanted = int(_fraction(GATE_INPUT, self.bits.headroom * self.ranges[f"{name}.a"].max()))
        b_wanted = int(_fraction(GATE_INPUT, self.bits.headroom * self.ranges[f"{name}.b"].max()))
        a = self._common_fraction(w_in[:, :hidden], bias_in[:hidden], unit_fraction, a_wanted)
        b = self._common_fraction(w_in[:, hidden:], bias_in[hidden:], unit_fraction, b_wanted)
        halves = np.repeat([a, b], hidden)
        project_in, _ = self._linear(w_in, bias_in, unit_fraction, activation_limit, halves, GATE_INPUT)

        gate, gate_fraction = self._narrow(
            self._activation_fraction(f"{name}.gate"), (a + 1) + b, self.bits.activations
        )
        no_bias = np.zeros(channels)
        stream = self._common_fraction(w_out, no_bias, gate_fraction, stream)
        project_out, _ = self._linear(w_out, no_bias, gate_fraction, activation_limit, np.full(channels, stream), WIDE)
        largest = 2 * self.ranges[f"{name}.stream"].max() * 2.0**stream
        norm = UnitNorm(max(0, int(np.ceil(log2(largest / NORM_INPUT)))), unit_fraction, activation_limit)
        return GatedFFN(norm, project_in, gelu_table(a), gate, project_out), stream

    # Blocks

    def _transform(
        self, scope: Scope, name: str, available: int, input_bits: int, input_fraction: Ints | None = None
    ) -> tuple[TransformBlock, int]:
        """Quantise a block; also return its stream's fraction bits. available: fraction bits of the incoming stream."""
        mixer = scope / "mixer"
        wanted = self._activation_fraction(f"{name}.input") if input_fraction is None else input_fraction
        narrow, fraction = self._narrow(wanted, available, input_bits)
        wide_bits = self.bits.expanded
        expand, expanded = self._linear(
            _matrix(mixer / "conv1" / 0),
            _vector(mixer / "conv1" / 0, "bias"),
            fraction,
            narrow.limit,
            self._channel_fraction(f"{name}.expand", wide_bits, self.bits.headroom),
            _limit(wide_bits),
        )
        depthwise, mixed = self._depthwise(mixer / "depth_conv", name, expanded)
        w, b = _matrix(mixer / "conv2"), _vector(mixer / "conv2", "bias")
        limit = _limit(self.bits.activations)
        if "adaptor.weight" in mixer:
            w = np.concatenate([w, _matrix(mixer / "adaptor")])
            b = b + _vector(mixer / "adaptor", "bias")
            mixed = np.concatenate([mixed, fraction])
            limit = max(limit, narrow.limit)
            most = self._stream_fraction(f"{name}.stream")
        else:
            most = min(self._stream_fraction(f"{name}.stream"), available)
        ffn, stream = self._ffn(scope, name, self._common_fraction(w, b, mixed, most))
        project, _ = self._linear(w, b, mixed, limit, np.full(w.shape[1], stream), WIDE)
        identity_shift = None if "adaptor.weight" in mixer else available - stream
        return TransformBlock(narrow, expand, depthwise, project, identity_shift, ffn), stream

    def _depthwise(self, scope: Scope, name: str, input_fraction: Ints) -> tuple[Depthwise, Ints]:
        weight = scope["weight"].double().numpy().reshape(input_fraction.size, 25).T * 2.0**-input_fraction
        bias = _vector(scope, "bias")
        sums = self._weight_fraction(weight, bias)
        fraction = np.minimum(self._activation_fraction(f"{name}.depthwise"), sums)
        return Depthwise(
            weight=np.rint(weight * 2.0**sums).astype(np.int64),
            bias=np.rint(bias * 2.0**sums).astype(np.int64),
            shift=sums - fraction,
            limit=_limit(self.bits.activations),
            input_limit=_limit(self.bits.expanded),
        ), fraction

    def _transforms(
        self, scopes: list[Scope], names: list[str], available: int
    ) -> tuple[tuple[TransformBlock, ...], int]:
        """Quantise blocks in sequence; also return the fraction bits of the last block's stream."""
        blocks = []
        for scope, name in zip(scopes, names, strict=True):
            block, available = self._transform(scope, name, available, self.bits.activations)
            blocks.append(block)
        return tuple(blocks), available

    # Passes

    def _hyper_synthesis(self, hyper: Scope) -> tuple[HyperSynthesis, Ints]:
        h_s = hyper / "h_s"
        medians = (hyper / "entropy_bottleneck")["quantiles"][:, 0, 1].double().numpy()
        narrow, fraction = self._narrow(self._latent_fraction("z_hat"), FRACTION_BITS, self.bits.latents)
        up0, stream = self._up(h_s / 0 / 0, fraction, narrow.limit, "h_s.layers.1.input")
        blocks0, stream = self._transforms([h_s / 1, h_s / 2], ["h_s.layers.1", "h_s.layers.2"], stream)
        narrow1, fraction = self._narrow(
            self._activation_fraction("h_s.layers.2.output"), stream, self.bits.activations
        )
        up1, stream = self._up(h_s / 3 / 0, fraction, narrow1.limit, "h_s.layers.4.input")
        blocks1, stream = self._transforms([h_s / 4, h_s / 5], ["h_s.layers.4", "h_s.layers.5"], stream)
        narrow2, fraction = self._narrow(
            self._activation_fraction("h_s.layers.5.output"), stream, self.bits.activations
        )
        weight, bias = _taps(h_s / 6), _vector(h_s / 6, "bias")
        output, hyper_fraction = self._linear(
            weight,
            bias,
            np.tile(fraction, 9),
            narrow2.limit,
            self._activation_fraction("hyper"),
            _limit(self.bits.activations),
        )
        fixed = np.rint(medians * 2.0**FRACTION_BITS).astype(np.int64)
        return HyperSynthesis(fixed, narrow, up0, blocks0, narrow1, up1, blocks1, narrow2, output), hyper_fraction

    def _up(self, scope: Scope, fraction: Ints, input_limit: int, output: str) -> tuple[Linear, int]:
        """Quantise a subpel convolution, and reorder its output channels from (channel, phase) to (phase, channel).

        Also return the fraction bits of the result.
        """
        weight, bias = _taps(scope), _vector(scope, "bias")
        channels = bias.size // 4
        order = np.arange(bias.size).reshape(channels, 4).T.ravel()
        weight, bias, fraction = weight[:, order], bias[order], np.tile(fraction, 9)
        stream = self._common_fraction(weight, bias, fraction, self._stream_fraction(output))
        linear, _ = self._linear(weight, bias, fraction, input_limit, np.full(bias.size, stream), WIDE)
        return linear, stream

    def _slice(self, k: int, hyper_fraction: Ints) -> Slice:
        group = self.config.groups[k]
        own = self.entropy / "y" / "latent_codec" / f"y{k}"
        bits = self.bits.activations
        context: tuple[TransformBlock, ...] = ()
        context_output, support_fraction = None, hyper_fraction
        if k:
            blocks = []
            available = FRACTION_BITS
            for i, scope in enumerate((self.entropy / "y" / "channel_context" / f"y{k}").children()):
                first = i == 0
                before = np.concatenate([self._latent_fraction(f"y{j}.y_hat") for j in range(k)]) if first else None
                block, available = self._transform(
                    scope, f"y{k}.context.{i}", available, self.bits.latents if first else bits, before
                )
                blocks.append(block)
            context = tuple(blocks)
            context_output, fraction = self._narrow(self._activation_fraction(f"y{k}.context"), available, bits)
            support_fraction = np.concatenate([fraction, hyper_fraction])

        spatial_input, fraction = self._narrow(self._latent_fraction(f"y{k}.y_hat"), FRACTION_BITS, self.bits.latents)
        conv = own / "context_prediction"
        by_tap = conv["weight"].double().numpy().transpose(2, 3, 1, 0)
        weight = np.concatenate([by_tap[2 + r, 2 + s] for r, s in SPATIAL])
        spatial, spatial_fraction = self._linear(
            weight,
            _vector(conv, "bias"),
            np.tile(fraction, len(SPATIAL)),
            spatial_input.limit,
            self._activation_fraction(f"y{k}.spatial"),
            _limit(bits),
        )

        input_fraction = np.concatenate([spatial_fraction, support_fraction])
        blocks_out = []
        anchor_mixer = None
        stream = 0
        for i, scope in enumerate((own / "entropy_parameters").children()):
            name = f"y{k}.estimate.{i}"
            narrow = None
            if i:
                narrow, input_fraction = self._narrow(
                    self._activation_fraction(f"y{k}.estimate.{i - 1}.output"), stream, bits
                )
            w, b = _matrix(scope / "mixer"), _vector(scope / "mixer", "bias")
            most = self._stream_fraction(f"{name}.stream")
            if i == CONTEXT_BLOCKS - 1:
                most = min(most, FRACTION_BITS)
            ffn, stream = self._ffn(scope, name, self._common_fraction(w, b, input_fraction, most))
            mixer, _ = self._linear(w, b, input_fraction, _limit(bits), np.full(b.size, stream), WIDE)
            if anchor_mixer is None:
                anchor_mixer = Linear(
                    mixer.weight[spatial_fraction.size :], mixer.bias, mixer.shift, mixer.limit, mixer.input_limit
                )
            blocks_out.append(AggregationBlock(narrow, mixer, ffn))
        assert anchor_mixer is not None
        thresholds = np.floor(SCALE_TABLE[:-1].astype(np.float64) * 2.0**stream).astype(np.int64)
        return Slice(
            group,
            context,
            context_output,
            spatial_input,
            spatial,
            anchor_mixer,
            tuple(blocks_out),
            thresholds,
            FRACTION_BITS - stream,
        )


def _matrix(scope: Scope) -> Floats:
    """Return the weight of a linear layer or 1×1 convolution as (inputs, outputs)."""
    return scope["weight"].double().flatten(1).numpy().T


def _vector(scope: Scope, name: str) -> Floats:
    return scope[name].double().numpy()


def _taps(scope: Scope) -> Floats:
    """Return the weight of a convolution as (tap · inputs, outputs)."""
    weight = scope["weight"].double().numpy()
    return weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0])
