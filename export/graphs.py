"""Declares which PyTorch module each graph of a bundle is; `glic_deploy.bundle.graph_ends` declares their ports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn

from glic_deploy.bundle import FUSED, NATIVE, PREVIEW, Port, graph_ends

from .checkpoint import Checkpoint
from .network import Analysis, HyperAnalysis, HyperSynthesis, SliceAnchors, SliceNonanchors, Synthesis
from .network.scope import Scope
from .schema import STAGE_BLOCKS, Config

# A side of the padded image is BLOCK times a natural number; a symbolic dimension is a fraction of one of its sides.
BLOCK = 128
SCALES = {"H": ("h", 1), "W": ("w", 1)} | {f"{s}/{d}": (s.lower(), d) for s in "HW" for d in (16, 32, 64)}

WINOGRAD_CHANNELS = 64
"""For an upsampling convolution with fewer output channels, Winograd's transformations cost more than they save."""


@dataclass(frozen=True)
class GraphSpec:
    """One graph to export.

    Attributes:
        name: the graph's name in the bundle.
        build: makes the module, whose forward maps `inputs` to `outputs`, in order.
        inputs, outputs: the graph's ports.
        native_ops: how many of each op the forms `native` and `fused` hold if all rewrites applied; empty: there are
            no such forms.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    native_ops: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def examples(self, rows: int, columns: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
        """Make pseudo-random inputs for an image of rows×columns blocks."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(_example(port, rows, columns, generator) for port in self.inputs)


def _example(port: Port, rows: int, columns: int, generator: torch.Generator) -> torch.Tensor:
    shape = port.at(rows * BLOCK, columns * BLOCK)
    if port.dtype == "uint8":
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    if port.dtype == "int16":
        return torch.randint(-8, 9, shape, dtype=torch.int16, generator=generator)
    return torch.randn(shape, generator=generator)


def transform_graphs(checkpoint: Checkpoint) -> Iterator[GraphSpec]:
    """Yield the floating-point graphs, whose results decide quality but not decodability and may differ slightly."""
    root = Scope(checkpoint.state)
    builds: dict[str, Callable[[], nn.Module]] = {
        "analysis": lambda: Analysis(root / "g_a"),
        "hyper_analysis": lambda: HyperAnalysis(root / "latent_codec" / "hyper"),
        "synthesis": lambda: Synthesis(root / "g_s"),
    }
    config = checkpoint.config
    return _specs(checkpoint, builds, {"analysis": _block_ops(config, "g_a"), "synthesis": _synthesis_ops(config)})


def preview_graph(checkpoint: Checkpoint, module: nn.Module) -> GraphSpec:
    """Return the graph of previews, which `export.previews` fits."""
    (spec,) = _specs(checkpoint, {PREVIEW: lambda: module})
    return spec


def _block_ops(config: Config, side: str) -> dict[str, dict[str, int]]:
    """Count the ops of the gated and graph blocks of one transform, `g_a` or `g_s`, in each form for our kernels."""
    depths = [graph.depth for graph in config.graphs if graph.name.startswith(side)]
    blocks = sum(depths)
    common = {
        "ComplexityMap": len(depths),
        "DynamicKnn": sum(min(depth, 2) for depth in depths),  # local and global, which the blocks of a stage share
        "ScatterAggregate": blocks,
        "Split": 0,  # products are parted instead
    }
    native = {
        "DepthwiseMix": STAGE_BLOCKS,
        "DepthwiseGate": blocks,
        "Gate": STAGE_BLOCKS,
        "Scan": STAGE_BLOCKS,  # over strips
        # Every norm follows a residual sum, but for the first one behind each resampling convolution.
        "ResidualNorm": STAGE_BLOCKS + 2 * blocks - len(depths),
    }
    fused = {
        "DepthwiseFeedForward": blocks,
        "GatedTransform": STAGE_BLOCKS,
        "NormQkv": blocks,
        "LayerNormalization": 0,
        "ResidualNorm": 0,
        "MatMul": 0,
        "Convolution": 2 * len(config.widths) + 2,
    }
    return {NATIVE: common | native, FUSED: common | fused}


def _synthesis_ops(config: Config) -> dict[str, dict[str, int]]:
    """Count the ops of the synthesis transform in each form for our kernels.

    The coarsest map is not upsampled by Winograd's transformations, and neither is a map with few output channels.
    """
    results = [4 * channels for channels in (*config.widths[::-1][1:], 3)]
    by_winograd = sum(channels >= WINOGRAD_CHANNELS for channels in results)
    forms = _block_ops(config, "g_s")
    forms[NATIVE] |= {
        "WinogradInput": by_winograd,
        "WinogradShuffle": by_winograd,
        "PixelShuffle": 2 * (1 + len(results)) - by_winograd,
    }
    forms[FUSED] |= {"PixelShuffle": 0}
    return forms


def entropy_graphs(checkpoint: Checkpoint) -> Iterator[GraphSpec]:
    """Yield the graphs of the entropy path in floating point, one for each decoding step."""
    latent_codec = Scope(checkpoint.state) / "latent_codec"
    builds: dict[str, Callable[[], nn.Module]] = {"hyper_synthesis": lambda: HyperSynthesis(latent_codec / "hyper")}
    for k in range(len(checkpoint.config.groups)):
        builds[f"slice{k}_anchors"] = partial(SliceAnchors, latent_codec / "y", k)
        builds[f"slice{k}_nonanchors"] = partial(SliceNonanchors, latent_codec / "y", k)
    return _specs(checkpoint, builds)


def _specs(
    checkpoint: Checkpoint,
    builds: Mapping[str, Callable[[], nn.Module]],
    native_ops: Mapping[str, Mapping[str, Mapping[str, int]]] | None = None,
) -> Iterator[GraphSpec]:
    config, ops = checkpoint.config, native_ops or {}
    ends = graph_ends(config.latent, config.hyper, config.groups, exact=False)
    for name, build in builds.items():
        yield GraphSpec(name, build, ends[name].inputs, ends[name].outputs, ops.get(name, {}))
