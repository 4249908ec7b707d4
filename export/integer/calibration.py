"""Observe the largest magnitude of every activation of the float entropy network on calibration latents.

The result decides only how many fraction bits each tensor gets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glic_deploy.entropy.passes import MAX_SYMBOL
from glic_deploy.errors import CheckpointError

from ..network.blocks import DepthwiseMixer, FeedForward
from ..network.entropy import HyperSynthesis, SliceAnchors, SliceNonanchors, pack
from ..network.scope import Scope

Latents = tuple[Tensor, Tensor]  # y float32 (1, M, h, w) and z's symbols int16 (1, N, h/4, w/4)


class Ranges:
    """Hold the largest magnitude seen in each channel of a tensor, by the tensor's name."""

    def __init__(self) -> None:
        self._largest: dict[str, npt.NDArray[np.float64]] = {}

    def observe(self, name: str, x: Tensor, channel_axis: int) -> None:
        """Add a tensor's magnitudes. Raises CheckpointError if a value is infinite or not a number."""
        channels = x.detach().movedim(channel_axis, -1).flatten(0, -2).abs().amax(dim=0).double().numpy()
        if not np.isfinite(channels).all():
            raise CheckpointError(
                f"on the calibration images, the entropy network's activations at {name} are infinite or not numbers, "
                "expected finite numbers: the checkpoint's weights are damaged or its training diverged; "
                "download it again, or export another checkpoint"
            )
        seen = self._largest.get(name)
        self._largest[name] = channels if seen is None else np.maximum(seen, channels)

    def __getitem__(self, name: str) -> npt.NDArray[np.float64]:
        return self._largest[name]


def observe_ranges(entropy: Scope, slices: int, latents: Iterable[Latents]) -> Ranges:
    """Run the float entropy network over latents, as an encoder does, and return the observed ranges.

    Args:
        entropy: the scope `latent_codec` of a checkpoint.
        slices: number of slices of y.
        latents: y and the symbols of z of each calibration image.

    The ranges have these names:

    - `h_s.layers.<i>.*` for blocks of the hyper synthesis, `y<k>.context.<i>.*` for blocks of channel contexts,
      `y<k>.estimate.<i>.*` for blocks of the parameter aggregation. In place of `*` stands the tensor in the block:
      `input`, `expand`, `depthwise`, `stream`, `unit`, `a`, `b`, `gate`, `output`.
    - `z_hat`, `hyper`, `y<k>.y_hat`, `y<k>.spatial`, `y<k>.context` for the other tensors.

    Raises CheckpointError if an activation is infinite or not a number.
    """
    ranges = Ranges()
    hyper_synthesis = HyperSynthesis(entropy / "hyper")
    passes = [(SliceAnchors(entropy / "y", k), SliceNonanchors(entropy / "y", k)) for k in range(slices)]
    _watch(hyper_synthesis.layers, "h_s.layers", ranges)
    for k, (anchors, nonanchors) in enumerate(passes):
        if anchors.context is not None:
            _watch(anchors.context, f"y{k}.context", ranges)
            anchors.context.register_forward_hook(_observer(ranges, f"y{k}.context", channel_axis=1))
        for estimate in (anchors.estimate, nonanchors.estimate):
            _watch(estimate.layers, f"y{k}.estimate", ranges)
        nonanchors.spatial.register_forward_hook(_observer(ranges, f"y{k}.spatial", channel_axis=1))
    with torch.inference_mode():
        for y, z_symbols in latents:
            ranges.observe("z_hat", z_symbols.float() + hyper_synthesis.medians, 1)
            hyper = hyper_synthesis(z_symbols)
            ranges.observe("hyper", hyper, 1)
            code_float(y, hyper, passes, lambda k, y_hat: ranges.observe(f"y{k}.y_hat", y_hat, 1))
    return ranges


def code_float(
    y: Tensor,
    hyper: Tensor,
    passes: list[tuple[SliceAnchors, SliceNonanchors]],
    on_slice: Callable[[int, Tensor], None],
) -> Tensor:
    """Quantise y (1, M, h, w) slice by slice with the float network, and return y_hat of the same shape."""
    coded: list[Tensor] = []
    start = 0
    for k, (anchors, nonanchors) in enumerate(passes):
        channels = nonanchors.spatial.weight.shape[1]
        y_slice = y[:, start : start + channels]
        start += channels
        _, means, support = anchors(hyper, torch.cat(coded, dim=1)) if coded else anchors(hyper)
        y_hat = _spread(_quantise(y_slice, means, 0), 0)
        _, means = nonanchors(y_hat, support)
        y_hat = y_hat + _spread(_quantise(y_slice, means, 1), 1)
        on_slice(k, y_hat)
        coded.append(y_hat)
    return torch.cat(coded, dim=1)


def _quantise(y: Tensor, means: Tensor, parity: int) -> Tensor:
    return torch.round(pack(y, parity) - means).clamp(-MAX_SYMBOL, MAX_SYMBOL) + means


def _spread(packed: Tensor, parity: int) -> Tensor:
    """Invert `pack`: put a packed map (N, C, h, w/2) at its positions of the whole map, with zeros elsewhere."""
    n, c, h, half = packed.shape
    cells = packed.new_zeros(n, c, h // 2, 2, half, 2)
    rows = packed.reshape(n, c, h // 2, 2, half)
    cells[:, :, :, 0, :, parity] = rows[:, :, :, 0]
    cells[:, :, :, 1, :, 1 - parity] = rows[:, :, :, 1]
    return cells.reshape(n, c, h, 2 * half)


def _observer(ranges: Ranges, name: str, channel_axis: int) -> Callable[..., None]:
    return lambda module, inputs, output: ranges.observe(name, output, channel_axis)


def _watch(blocks: nn.Sequential, prefix: str, ranges: Ranges) -> None:
    for i, block in enumerate(blocks):
        for module in block.modules():
            if isinstance(module, DepthwiseMixer):
                _watch_mixer(module, f"{prefix}.{i}", ranges)
            elif isinstance(module, FeedForward):
                _watch_feed_forward(module, f"{prefix}.{i}", ranges)


def _watch_mixer(mixer: DepthwiseMixer, prefix: str, ranges: Ranges) -> None:
    mixer.register_forward_pre_hook(lambda module, inputs: ranges.observe(f"{prefix}.input", inputs[0], 1))
    mixer.expand.register_forward_hook(_observer(ranges, f"{prefix}.expand", 1))
    mixer.depthwise.register_forward_hook(_observer(ranges, f"{prefix}.depthwise", 1))


def _watch_feed_forward(block: FeedForward, prefix: str, ranges: Ranges) -> None:
    def observe(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        stream = inputs[0]
        ranges.observe(f"{prefix}.stream", stream, -1)
        centred = stream - stream.mean(dim=-1, keepdim=True)
        ranges.observe(f"{prefix}.unit", F.normalize(centred, dim=-1), -1)
        ranges.observe(f"{prefix}.output", output, -1)

    def observe_halves(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        a, b = output.chunk(2, dim=-1)
        ranges.observe(f"{prefix}.a", a, -1)
        ranges.observe(f"{prefix}.b", b, -1)

    block.register_forward_hook(observe)
    block.ffn.project_in.register_forward_hook(observe_halves)
    block.ffn.project_out.register_forward_pre_hook(
        lambda module, inputs: ranges.observe(f"{prefix}.gate", inputs[0], -1)
    )
