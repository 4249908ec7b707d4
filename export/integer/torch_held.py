"""Compute the arithmetic in PyTorch with integers held in float32: the float lowering, run eagerly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .bounds import float_parts
from .network import (
    FRACTION_BITS,
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


def _held(values: Ints | int | float) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def _round_shift(x: Tensor, shift: Ints | int) -> Tensor:
    return torch.round(x * _held(np.ldexp(1.0, -np.asarray(shift, dtype=np.int32))))


class TorchHeld:
    """Implement `Arithmetic` on float32 tensors. Sums beyond 2^24 are added in float64 from exact float32 parts."""

    def __init__(self, rsqrt: Ints) -> None:
        self.rsqrt = _held(rsqrt)

    def narrow(self, x: Tensor, narrow: Narrow) -> Tensor:
        return _round_shift(x, narrow.shift).clamp(-narrow.limit, narrow.limit)

    def linear(self, x: Tensor, linear: Linear) -> Tensor:
        weight = _held(linear.weight)
        parts = [x[..., start:stop] @ weight[start:stop] for start, stop in float_parts(linear)]
        sums = torch.stack(parts).double().sum(dim=0) + torch.from_numpy(linear.bias)
        rounded = torch.round(torch.ldexp(sums, torch.from_numpy(-linear.shift)))
        return rounded.clamp(-linear.limit, linear.limit).float()

    def leaky_relu(self, x: Tensor) -> Tensor:
        return torch.maximum(x, torch.round(x * (LEAKY_SLOPE / 4096)))

    def depthwise(self, x: Tensor, depthwise: Depthwise) -> Tensor:
        channels = depthwise.bias.size
        weight = _held(depthwise.weight).T.reshape(channels, 1, 5, 5)
        sums = F.conv2d(x.permute(2, 0, 1)[None], weight, _held(depthwise.bias), padding=2, groups=channels)
        return _round_shift(sums[0].permute(1, 2, 0), depthwise.shift).clamp(-depthwise.limit, depthwise.limit)

    def gated_ffn(self, stream: Tensor, ffn: GatedFFN) -> Tensor:
        a, b = self.linear(self.unit_norm(stream, ffn.norm), ffn.project_in).chunk(2, dim=-1)
        gated = self.narrow(_held(ffn.gelu)[a.long() + 2048] * b, ffn.gate)
        return (stream + self.linear(gated, ffn.project_out)).clamp(-WIDE, WIDE)

    def unit_norm(self, stream: Tensor, norm: UnitNorm) -> Tensor:
        channels = norm.fraction.size
        x = _round_shift(stream, norm.input_shift).clamp(-NORM_INPUT, NORM_INPUT)
        deviation = _round_shift(channels * x - x.sum(dim=-1, keepdim=True), (channels - 1).bit_length())
        deviation = deviation.clamp(-NORM_DEVIATION, NORM_DEVIATION)
        squares = deviation.double().square().sum(dim=-1, keepdim=True).clamp(min=1)
        exponent = (torch.frexp(squares).exponent - 1) // 2
        mantissa = torch.floor(torch.ldexp(squares, 10 - 2 * exponent)).long()
        scaled = torch.ldexp(deviation * self.rsqrt[mantissa - 1024], -(RSQRT_BITS + exponent))
        return torch.round(scaled * _held(np.ldexp(1.0, norm.fraction))).clamp(-norm.limit, norm.limit)

    def add_identity(self, x: Tensor, identity: Tensor, shift: int) -> Tensor:
        return (x + _round_shift(identity, shift)).clamp(-WIDE, WIDE)

    def concat(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts), dim=-1)

    def unfold(self, x: Tensor, taps: Taps) -> Tensor:
        h, w, _ = x.shape
        padded = F.pad(x, (0, 0, 2, 2, 2, 2))
        return self.concat([padded[2 + r : 2 + r + h, 2 + s : 2 + s + w] for r, s in taps])

    def unfold_nonanchors(self, x: Tensor, taps: Taps) -> Tensor:
        return self.pack(self.unfold(x, taps), 1)

    def pixel_shuffle(self, x: Tensor) -> Tensor:
        h, w, c = x.shape
        return x.reshape(h, w, 2, 2, c // 4).permute(0, 2, 1, 3, 4).reshape(2 * h, 2 * w, c // 4)

    def pack(self, x: Tensor, parity: int) -> Tensor:
        h, w, c = x.shape
        return torch.stack([x[0::2, parity::2], x[1::2, 1 - parity :: 2]], dim=1).reshape(h, w // 2, c)

    def add_medians(self, symbols: Tensor, medians: Ints) -> Tensor:
        return symbols * (1 << FRACTION_BITS) + _held(medians)

    def parameters(self, stream: Tensor, thresholds: Ints, mean_shift: int) -> tuple[Tensor, Tensor]:
        scales, means = stream.chunk(2, dim=-1)
        indexes = torch.bucketize(scales.contiguous(), _held(thresholds)).float()
        largest = 2.0 ** (11 + FRACTION_BITS)
        return indexes, (means * 2**mean_shift).clamp(-largest, largest)
