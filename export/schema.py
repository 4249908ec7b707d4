"""Describe a GLIC checkpoint: its configuration, read from tensor shapes, and every key with its shape.

Source: the published network (CVPR 2026, arXiv 2603.25316); `docs/network.md` describes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import accumulate, pairwise

import numpy as np

from glic_deploy import bundle
from glic_deploy.bundle import GraphAggregation

Shape = tuple[int, ...]

STAGE_BLOCKS = 3  # GatedTransformCNN blocks of the half-scale stages
CONTEXT_BLOCKS = 3  # blocks of a channel context and of a parameter aggregation network
FFN_RATIO = 4
HYPER_RATIO = 2
GFA_RATIOS = {"g_a.g2": 4, "g_a.g3": 2, "g_s.g1": 2, "g_s.g2": 4}
COORDS_HIDDEN = 512  # width of the network that makes the relative position bias
MAX_CHANNELS = 1 << 16  # far above any network's; a file that claims more is damaged

# Ends of the names of constants and entropy tables. The export computes them from the weights: nothing reads these
# tensors, some files omit them, and they are no part of a model's fingerprint.
UNREAD = ("_offset", "_quantized_cdf", "_cdf_length", "scale_table", "bound", "target")
INDEX = "relative_position_index"  # the end of the name of every integer tensor that is read


class Config(bundle.Config):
    """Hold a network's dimensions, which are read from the checkpoint's shapes, and derive further widths."""

    def graph(self, name: str) -> GraphAggregation:
        return next(g for g in self.graphs if g.name == name)

    def context_widths(self, k: int) -> list[int]:
        """Return the channels along the channel context of slice k >= 1: input, inner widths, output."""
        return _ramp(self._starts[k], 2 * self.groups[k], self.hyper)

    def parameter_widths(self, k: int) -> list[int]:
        """Return the channels along the parameter aggregation of slice k: input, inner widths, output."""
        spatial_and_channel = 2 * self.groups[k] * (1 + (k > 0))
        return _ramp(spatial_and_channel + 2 * self.hyper, 2 * self.groups[k], 2 * self.hyper)

    @cached_property
    def _starts(self) -> tuple[int, ...]:
        """First channel of each slice."""
        return (0, *accumulate(self.groups))


def _ramp(first: int, last: int, floor: int) -> list[int]:
    inner = np.linspace(first, last, CONTEXT_BLOCKS + 1).astype(int).tolist()
    return [first, *(max(width, floor) for width in inner[1:-1]), last]


def read_config(shapes: Mapping[str, Shape]) -> Config:
    """Read the configuration from a checkpoint's shapes, in time linear in their number.

    Raises ValueError if a tensor is missing or its shape fits no GLIC network; the message is a part of a sentence.
    """
    groups: list[int] = []
    while (key := f"latent_codec.y.latent_codec.y{len(groups)}.context_prediction.weight") in shapes:
        groups.append(_dims(shapes, key, 4)[1])
    nodes, candidates = _dims(shapes, f"g_a.g2.residual_group.blocks.0.grapher.{INDEX}", 2)
    config = Config(
        widths=(_outputs(shapes, "g_a.down0"), _outputs(shapes, "g_a.down1"), _outputs(shapes, "g_a.down2")),
        latent=_outputs(shapes, "g_a.down3"),
        hyper=_outputs(shapes, "latent_codec.hyper.h_a.0"),
        groups=tuple(groups),
        graphs=tuple(_read_graph(shapes, name) for name in GFA_RATIOS),
        window=round(nodes**0.5),
        sample=round(candidates**0.5),
    )
    _check(config)
    return config


def _read_graph(shapes: Mapping[str, Shape], name: str) -> GraphAggregation:
    blocks = f"{name}.residual_group.blocks"
    (channels,) = _dims(shapes, f"{blocks}.0.norm1.weight", 1)
    heads = _dims(shapes, f"{blocks}.0.grapher.logit_scale", 3)[0]
    depth = 1
    while f"{blocks}.{depth}.norm1.weight" in shapes:
        depth += 1
    return GraphAggregation(name, channels, depth, heads)


def _outputs(shapes: Mapping[str, Shape], convolution: str) -> int:
    return _dims(shapes, f"{convolution}.weight", 4)[0]


def _dims(shapes: Mapping[str, Shape], key: str, rank: int) -> Shape:
    """Return the shape of a tensor. Raises ValueError if it is missing or does not have `rank` dimensions."""
    if key not in shapes:
        raise ValueError(f"{key} is missing")
    shape = shapes[key]
    if len(shape) != rank or not all(1 <= size <= MAX_CHANNELS for size in shape):
        raise ValueError(f"{key} is {shape_text(shape)}, expected {rank} dimensions of 1 to {MAX_CHANNELS}")
    return shape


def shape_text(shape: Shape) -> str:
    """Format a shape for an error message."""
    return str(list(shape)) if len(shape) <= 8 else f"of {len(shape)} dimensions"


def _check(config: Config) -> None:
    """Raise ValueError if dimensions contradict each other."""
    if sum(config.groups) != config.latent:
        raise ValueError(
            f"its {len(config.groups)} slices have {sum(config.groups)} channels, expected the {config.latent} of y"
        )
    if config.window > config.sample:
        raise ValueError(f"its windows of {config.window} exceed the {config.sample} of their candidates")
    stages = {"g_a.g2": 1, "g_a.g3": 2, "g_s.g1": 2, "g_s.g2": 1}
    for graph in config.graphs:
        expected = config.widths[stages[graph.name]]
        if graph.channels != expected or expected % graph.heads:
            raise ValueError(
                f"{graph.name} has {graph.channels} channels and {graph.heads} heads, expected {expected} channels "
                "and heads that divide them"
            )


def expected_shapes(config: Config) -> dict[str, Shape | None]:
    """Return every key of a checkpoint of this configuration with its shape; None for entropy tables of any size."""
    return dict(_network(config))


Entries = Iterator[tuple[str, Shape | None]]


def _under(prefix: str, entries: Entries) -> Entries:
    for name, shape in entries:
        yield f"{prefix}.{name}", shape


def _weighted(shape: Shape, bias: bool = True) -> Entries:
    yield "weight", shape
    if bias:
        yield "bias", shape[:1]


def _conv(prefix: str, inputs: int, outputs: int, kernel: int, bias: bool = True) -> Entries:
    return _under(prefix, _weighted((outputs, inputs, kernel, kernel), bias))


def _norm(prefix: str, channels: int) -> Entries:
    return _under(prefix, _weighted((channels,)))


def _ffn(prefix: str, channels: int, ratio: int) -> Entries:
    yield from _conv(f"{prefix}.project_in", channels, 2 * channels * ratio, 1, bias=False)
    yield from _conv(f"{prefix}.project_out", channels * ratio, channels, 1, bias=False)


def _gated_transform(prefix: str, inputs: int, outputs: int, ratio: int) -> Entries:
    yield from _norm(f"{prefix}.norm2", outputs)
    yield from _conv(f"{prefix}.mixer.conv1.0", inputs, inputs, 1)
    yield from _conv(f"{prefix}.mixer.depth_conv", 1, inputs, 5)
    yield from _conv(f"{prefix}.mixer.conv2", inputs, outputs, 1)
    if inputs != outputs:
        yield from _conv(f"{prefix}.mixer.adaptor", inputs, outputs, 1)
    yield from _ffn(f"{prefix}.mlp", outputs, ratio)


def _parameter_aggregation(prefix: str, inputs: int, outputs: int) -> Entries:
    yield from _norm(f"{prefix}.norm2", outputs)
    yield from _conv(f"{prefix}.mixer", inputs, outputs, 1)
    yield from _ffn(f"{prefix}.mlp", outputs, FFN_RATIO)


def _graph_block(config: Config, graph: GraphAggregation, ratio: int) -> Entries:
    c, hidden = graph.channels, graph.channels * ratio
    reach = config.window + config.sample - 1
    yield from _norm("norm1", c)
    yield "grapher.logit_scale", (graph.heads, 1, 1)
    yield "grapher.relative_coords_table", (1, reach, reach, 2)
    yield "grapher.relative_position_index", (config.window**2, config.sample**2)
    yield from _under("grapher.proj_group", _weighted((c, c)))
    yield from _under("grapher.proj_sample", _weighted((2 * c, c)))
    yield from _under("grapher.proj", _weighted((c, c)))
    yield from _under("grapher.cpb_mlp.0", _weighted((COORDS_HIDDEN, 2)))
    yield from _under("grapher.cpb_mlp.2", _weighted((graph.heads, COORDS_HIDDEN), bias=False))
    yield from _norm("norm2", c)
    yield from _conv("mlp.project_in", c, 2 * hidden, 1, bias=False)
    yield from _conv("mlp.conv", 1, 2 * hidden, 3, bias=False)
    yield from _conv("mlp.project_out", hidden, c, 1, bias=False)


def _analysis(config: Config) -> Entries:
    chain = [3, *config.widths, config.latent]
    for i, (inputs, outputs) in enumerate(pairwise(chain)):
        yield from _conv(f"down{i}", inputs, outputs, 3)
        yield f"AuxT_enc.{i}.scaling_factors", (1, 1, 4 * inputs)
        for band in ("ll", "lh", "hl", "hh"):
            yield f"AuxT_enc.{i}.dwt.w_{band}", (1, 1, 2, 2)
        yield from _under(f"AuxT_enc.{i}.OLP.linear", _weighted((outputs, 4 * inputs)))
    for i in range(STAGE_BLOCKS):
        yield from _gated_transform(f"g1.{i}", config.widths[0], config.widths[0], FFN_RATIO)


def _synthesis(config: Config) -> Entries:
    chain = [config.latent, *config.widths[::-1], 3]
    for i, (inputs, outputs) in enumerate(pairwise(chain)):
        yield from _conv(f"up{i}.0", inputs, 4 * outputs, 3)
        yield f"AuxT_dec.{i}.scaling_factors", (1, 1, 4 * outputs)
        yield f"AuxT_dec.{i}.idwt.filters", (4, 1, 2, 2)
        yield from _under(f"AuxT_dec.{i}.OLP.linear", _weighted((4 * outputs, inputs)))
    for i in range(STAGE_BLOCKS):
        yield from _gated_transform(f"g3.{i}", config.widths[0], config.widths[0], FFN_RATIO)


def _hyper(config: Config) -> Entries:
    m, n = config.latent, config.hyper
    yield from _conv("h_a.0", m, n, 3)
    yield from _conv("h_a.3", n, n, 3)
    yield from _conv("h_a.6", n, n, 3)
    yield from _conv("h_s.0.0", n, 4 * n, 3)
    yield from _conv("h_s.3.0", n, 4 * n, 3)
    yield from _conv("h_s.6", n, 2 * n, 3)
    for side in ("h_a", "h_s"):
        for i in (1, 2, 4, 5):
            yield from _gated_transform(f"{side}.{i}", n, n, HYPER_RATIO)
    widths = (1, 3, 3, 3, 3, 1)
    yield "entropy_bottleneck.quantiles", (n, 1, 3)
    yield "entropy_bottleneck.target", (3,)
    yield "entropy_bottleneck.likelihood_lower_bound.bound", (1,)
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        yield f"entropy_bottleneck.matrices.{i}", (n, outputs, inputs)
        yield f"entropy_bottleneck.biases.{i}", (n, outputs, 1)
        if i < 4:
            yield f"entropy_bottleneck.factors.{i}", (n, outputs, 1)
    yield from _tables("entropy_bottleneck")


def _tables(prefix: str) -> Entries:
    for name in ("_offset", "_quantized_cdf", "_cdf_length"):
        yield f"{prefix}.{name}", None


def _slice(config: Config, k: int) -> Entries:
    group = config.groups[k]
    gaussian = f"latent_codec.y{k}.y.gaussian_conditional"
    yield from _conv(f"latent_codec.y{k}.context_prediction", group, 2 * group, 5)
    yield f"latent_codec.y{k}.context_prediction.mask", (2 * group, group, 5, 5)
    widths = config.parameter_widths(k)
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        yield from _parameter_aggregation(f"latent_codec.y{k}.entropy_parameters.{2 * i}", inputs, outputs)
    for name in ("scale_bound", "likelihood_lower_bound.bound", "lower_bound_scale.bound"):
        yield f"{gaussian}.{name}", (1,)
    yield f"{gaussian}.scale_table", None
    yield from _tables(gaussian)
    if k > 0:
        widths = config.context_widths(k)
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            yield from _gated_transform(f"channel_context.y{k}.{2 * i}", inputs, outputs, FFN_RATIO)


def _network(config: Config) -> Entries:
    yield from _under("g_a", _analysis(config))
    yield from _under("g_s", _synthesis(config))
    for graph in config.graphs:
        for i in range(graph.depth):
            block = _graph_block(config, graph, GFA_RATIOS[graph.name])
            yield from _under(f"{graph.name}.residual_group.blocks.{i}", block)
    yield from _under("latent_codec.hyper", _hyper(config))
    for k in range(len(config.groups)):
        yield from _under("latent_codec.y", _slice(config, k))
