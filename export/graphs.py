"""The graphs of a bundle: which module each one is, and the names, types and symbolic shapes at its ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from .checkpoint import Checkpoint
from .network import Analysis, HyperAnalysis, HyperSynthesis, SliceAnchors, SliceNonanchors, Synthesis
from .network.scope import Scope
from .schema import STAGE_BLOCKS, Config

# A side of the padded picture is BLOCK times a natural number; a symbolic dimension is a fraction of one of its sides.
BLOCK = 128
SCALES = {"H": ("h", 1), "W": ("w", 1)} | {f"{s}/{d}": (s.lower(), d) for s in "HW" for d in (16, 32, 64)}

WINOGRAD_CHANNELS = 64
"""An upsampling convolution to fewer results does not repay Winograd's transformations."""

Dim = int | str


@dataclass(frozen=True)
class Port:
    """One input or output of a graph. dtype: NumPy's name; shape: numbers and keys of SCALES."""

    name: str
    dtype: str
    shape: tuple[Dim, ...]

    def example_shape(self, rows: int, columns: int) -> tuple[int, ...]:
        """The shape for a picture of rows×columns blocks."""
        blocks = {"h": rows * BLOCK, "w": columns * BLOCK}
        return tuple(d if isinstance(d, int) else blocks[SCALES[d][0]] // SCALES[d][1] for d in self.shape)


@dataclass(frozen=True)
class GraphSpec:
    """One graph to export.

    Attributes:
        name: in the bundle.
        build: makes the module whose forward takes `inputs` and gives `outputs`, in order.
        inputs, outputs: its ports.
        native_ops: how many of each op its form for the kernels holds if all rewrites applied; empty: no such form.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    native_ops: Mapping[str, int] = field(default_factory=dict)

    def examples(self, rows: int, columns: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
        """Pseudo-random inputs for a picture of rows×columns blocks."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(_example(port, rows, columns, generator) for port in self.inputs)


def _example(port: Port, rows: int, columns: int, generator: torch.Generator) -> torch.Tensor:
    shape = port.example_shape(rows, columns)
    if port.dtype == "uint8":
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    if port.dtype == "int16":
        return torch.randint(-8, 9, shape, dtype=torch.int16, generator=generator)
    return torch.randn(shape, generator=generator)


def transform_graphs(checkpoint: Checkpoint) -> Iterator[GraphSpec]:
    """Graphs in floating point whose results need not be reproducible: they decide quality, not decodability."""
    root, m, n = Scope(checkpoint.state), checkpoint.config.latent, checkpoint.config.hyper
    picture = Port("image", "uint8", ("H", "W", 3))
    y = Port("y", "float32", (1, m, "H/16", "W/16"))
    y_hat = Port("y_hat", "float32", (1, m, "H/16", "W/16"))
    z = Port("z_symbols", "int16", (1, n, "H/64", "W/64"))
    analysis_ops, synthesis_ops = _analysis_ops(checkpoint.config), _synthesis_ops(checkpoint.config)
    yield GraphSpec("analysis", lambda: Analysis(root / "g_a"), (picture,), (y,), analysis_ops)
    yield GraphSpec("hyper_analysis", lambda: HyperAnalysis(root / "latent_codec" / "hyper"), (y,), (z,))
    yield GraphSpec("synthesis", lambda: Synthesis(root / "g_s"), (y_hat,), (picture,), synthesis_ops)


def _block_ops(config: Config, side: str) -> dict[str, int]:
    """Ops that the gated and graph blocks of one transform, `g_a` or `g_s`, become."""
    depths = [graph.depth for graph in config.graphs if graph.name.startswith(side)]
    blocks = sum(depths)
    return {
        "DynamicKnn": blocks,
        "ScatterAggregate": blocks,
        "DepthwiseGate": blocks,
        "DepthwiseMix": STAGE_BLOCKS,
        "Gate": STAGE_BLOCKS,
        "Scan": STAGE_BLOCKS,  # over strips
        "Split": 0,  # products are parted instead
        # Every norm follows a residual sum, but for the first one behind each resampling convolution.
        "ResidualNorm": STAGE_BLOCKS + 2 * blocks - len(depths),
    }


def _analysis_ops(config: Config) -> dict[str, int]:
    return _block_ops(config, "g_a")


def _synthesis_ops(config: Config) -> dict[str, int]:
    """The coarsest map is not upsampled by Winograd's transformations, nor is one to few channels."""
    results = [4 * channels for channels in (*config.widths[::-1][1:], 3)]
    by_winograd = sum(channels >= WINOGRAD_CHANNELS for channels in results)
    shuffles = 2 * (1 + len(results)) - by_winograd
    return _block_ops(config, "g_s") | {
        "WinogradInput": by_winograd,
        "WinogradShuffle": by_winograd,
        "PixelShuffle": shuffles,
    }


def entropy_graphs(checkpoint: Checkpoint) -> Iterator[GraphSpec]:
    """The entropy path in floating point, one graph a decoding step."""
    config = checkpoint.config
    latent_codec = Scope(checkpoint.state) / "latent_codec"
    z = Port("z_symbols", "int16", (1, config.hyper, "H/64", "W/64"))
    hyper = Port("hyper", "float32", (1, 2 * config.hyper, "H/16", "W/16"))
    yield GraphSpec("hyper_synthesis", lambda: HyperSynthesis(latent_codec / "hyper"), (z,), (hyper,))
    for k, group in enumerate(config.groups):
        before = sum(config.groups[:k])
        width = 2 * config.hyper + (2 * group if k else 0)
        support = Port("support", "float32", (1, width, "H/16", "W/32"))
        packed = (1, group, "H/16", "W/32")
        parameters = (Port("indexes", "uint8", packed), Port("means", "float32", packed))
        y_hat = (Port("y_hat", "float32", (1, before, "H/16", "W/16")),) if k else ()
        anchors = Port("anchors", "float32", (1, group, "H/16", "W/16"))
        yield GraphSpec(
            f"slice{k}_anchors",
            lambda k=k: SliceAnchors(latent_codec / "y", k),
            (hyper, *y_hat),
            (*parameters, support),
        )
        yield GraphSpec(
            f"slice{k}_nonanchors",
            lambda k=k: SliceNonanchors(latent_codec / "y", k),
            (anchors, support),
            parameters,
        )
