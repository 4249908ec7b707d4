"""GFA, the graph feature aggregation: attention over neighbourhoods that adapt to the image (channels-last)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops import GLOBAL, LOCAL, complexity_map, dynamic_knn, scatter_aggregate
from .blocks import Conv, LayerNorm, Linear, channels_first, channels_last
from .scope import Scope

MAX_LOGIT_SCALE = 4.6052


class Aggregation(nn.Module):
    """Attention of every node over its edges in the graph; the relative position bias is folded to a constant."""

    bias: Tensor
    scale: Tensor

    def __init__(self, scope: Scope, sampling: int) -> None:
        super().__init__()
        group, sample = scope / "proj_group", scope / "proj_sample"
        self.project_in = Linear(
            torch.cat([group["weight"], sample["weight"]]), torch.cat([group["bias"], sample["bias"]])
        )
        self.project_out = Linear((scope / "proj")["weight"], (scope / "proj")["bias"])
        self.register_buffer("bias", _relative_position_bias(scope))
        self.register_buffer("scale", scope["logit_scale"].flatten().clamp(max=MAX_LOGIT_SCALE).exp())
        self.channels = group["weight"].shape[0]
        self.sampling = sampling
        nodes, candidates = scope["relative_position_index"].shape
        self.window, self.sample = round(nodes**0.5), round(candidates**0.5)

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        q, kv = self.project_in(x).split([self.channels, 2 * self.channels], dim=-1)
        out = scatter_aggregate(q, kv, graph, self.bias, self.scale, self.sampling, self.window, self.sample)
        projected: Tensor = self.project_out(out)
        return projected


def _relative_position_bias(scope: Scope) -> Tensor:
    """Compute 16·sigmoid of a small network over coordinates, float32 heads×nodes×candidates."""
    mlp = scope / "cpb_mlp"
    hidden = F.linear(scope["relative_coords_table"].flatten(0, 2), (mlp / 0)["weight"], (mlp / 0)["bias"]).relu()
    table = F.linear(hidden, (mlp / 2)["weight"])
    index = scope["relative_position_index"] % table.shape[0]  # negative entries count from the end
    return (16 * torch.sigmoid(table[index])).permute(2, 0, 1).contiguous()


class GraphFFN(nn.Module):
    """GDFN: a gated feed-forward network with a 3×3 depthwise convolution before the gate; channels-first.

    The two halves are convolved separately, so that no wide map has to be split by copying.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        halves = [Scope(_half(scope, i)) for i in (0, 1)]
        self.expand = nn.ModuleList(Conv(half / "project_in") for half in halves)
        self.depthwise = nn.ModuleList(Conv(half / "conv", depthwise=True) for half in halves)
        self.project_out = Conv(scope / "project_out")

    def forward(self, x: Tensor) -> Tensor:
        a, b = (depthwise(expand(x)) for expand, depthwise in zip(self.expand, self.depthwise, strict=True))
        projected: Tensor = self.project_out(F.gelu(a) * b)
        return projected


def _half(scope: Scope, i: int) -> dict[str, Tensor]:
    names = ("project_in.weight", "conv.weight")
    return {name: scope[name].chunk(2)[i] for name in names}


class GraphBlock(nn.Module):
    """x + aggregation(norm1(x)), then x + GDFN(norm2(x)); channels-last."""

    def __init__(self, scope: Scope, sampling: int) -> None:
        super().__init__()
        self.norm1 = LayerNorm(scope / "norm1", eps=1e-5)
        self.aggregation = Aggregation(scope / "grapher", sampling)
        self.norm2 = LayerNorm(scope / "norm2", eps=1e-5)
        self.ffn = GraphFFN(scope / "mlp")

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        x = x + self.aggregation(self.norm1(x), graph)
        return x + channels_last(self.ffn(channels_first(self.norm2(x))))


class GraphAggregation(nn.Module):
    """A GFA: builds the local and the global graph from its input, then alternates local and global blocks.

    Inputs and outputs are channels-first maps whose sides are multiples of 16.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        blocks = (scope / "residual_group" / "blocks").children()
        self.blocks = nn.ModuleList(GraphBlock(block, (LOCAL, GLOBAL)[i % 2]) for i, block in enumerate(blocks))

    def graphs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Build the local and the global graph of a channels-first map: int32 (N, groups, 64, 8) bit masks each."""
        nodes = channels_last(x)
        complexity = complexity_map(nodes)
        first: Aggregation = self.blocks[0].aggregation  # type: ignore[assignment]
        local, far = (dynamic_knn(nodes, complexity, s, first.window, first.sample) for s in (LOCAL, GLOBAL))
        return local, far

    def forward(self, x: Tensor, graphs: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Run the blocks. graphs: edges that replace those of the input (for comparisons)."""
        graphs = graphs or self.graphs(x)
        x = channels_last(x)
        for i, block in enumerate(self.blocks):
            x = block(x, graphs[i % 2])
        return channels_first(x)
