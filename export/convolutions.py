"""Rewrite the convolutions of a transform as `glic::Convolution`, on maps whose channels are last.

A pixel shuffle behind a convolution becomes part of the op. Sums and limits between two convolutions move from maps
with the channels first to maps with the channels last, so that no map is transposed on the way.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, helper

from glic_deploy.ops import DOMAIN

from .graphs import WINOGRAD_CHANNELS
from .rewriting import TO_FIRST, TO_LAST, Graph, cancel_transpositions, is_transposition

_ELEMENTWISE = ("Add", "Clip")


def convolve_channels_last(model: ModelProto) -> None:
    """Rewrite a graph's convolutions in place.

    Convolutions with groups stay as they are, and so do those that another size of padding surrounds.
    """
    graph = Graph(model)
    for node in list(model.graph.node):
        if node.op_type == "Conv":
            _name_convolution(graph, node)
    graph.finish()
    while cancel_transpositions(model) or _sink_transpositions(model):
        pass


def takes_winograd(graph: Graph, conv: NodeProto) -> bool:
    """Return whether Winograd's minimal filtering pays for a convolution with stride 1.

    Two kinds of 3×3 convolutions are excluded. The first one, of the coarsest map, would lose more time by reading the
    matrices, which are four times as large as the filters, than the products save. For a convolution with fewer than
    WINOGRAD_CHANNELS outputs, the transformations cost more than the products save.
    """
    outputs, _, *sides = graph.array(conv.input[1]).shape
    return conv.input[0] in graph.makers and sides == [3, 3] and outputs >= WINOGRAD_CHANNELS


def by_phase(channels: int) -> np.ndarray:
    """Return the order of a pixel shuffle's channels 4c + p that goes by phases p, then by c."""
    return np.arange(channels).reshape(-1, 4).T.ravel()


def _name_convolution(graph: Graph, conv: NodeProto) -> None:
    """Rewrite a convolution, and the pixel shuffle that follows, as `glic::Convolution` between transpositions."""
    attributes = {a.name: helper.get_attribute_value(a) for a in conv.attribute}
    filters = graph.array(conv.input[1])
    side, stride = filters.shape[-1], attributes["strides"][0]
    plain = {"group": 1, "dilations": [1, 1], "strides": [stride] * 2, "pads": [(side - 1) // 2] * 4}
    if any(attributes.get(name, value) != value for name, value in plain.items()) or stride > side:
        return
    shuffle = graph.after(conv, "PixelShuffle")
    bias = graph.array(conv.input[2]) if len(conv.input) > 2 else np.zeros(len(filters), np.float32)
    order = by_phase(len(filters)) if shuffle else np.arange(len(filters))
    name = (shuffle or conv).output[0]
    weight = graph.constant(f"{conv.input[1]}_channels_last", filters[order].transpose(2, 3, 1, 0))
    bias_name = graph.constant(f"{name}_bias", bias[order])
    x, convolved = f"{name}_convolved_map", f"{name}_convolved"
    convolution = helper.make_node(
        "Convolution",
        [x, weight, bias_name],
        [convolved],
        domain=DOMAIN,
        stride=stride,
        shuffle=2 if shuffle else 1,
        winograd=int(stride == 1 and takes_winograd(graph, conv)),
    )
    new = [
        helper.make_node("Transpose", [conv.input[0]], [x], perm=TO_LAST),
        convolution,
        helper.make_node("Transpose", [convolved], [name], perm=TO_FIRST),
    ]
    graph.replace([conv, shuffle] if shuffle else [conv], new)


def _sink_transpositions(model: ModelProto) -> bool:
    """Compute an elementwise step of maps before their channels are moved first; return whether there was one."""
    graph = Graph(model)
    for node in model.graph.node:
        makers = {name: graph.makers[name] for name in node.input if name in graph.makers}
        moved = {name: maker.input[0] for name, maker in makers.items() if is_transposition(maker, TO_FIRST)}
        others = [name for name in node.input if name not in moved]
        # Constants of several values would need another order too.
        single = all(name in graph.constants and graph.array(name).size == 1 for name in others)
        if node.op_type not in _ELEMENTWISE or not moved or not single:
            continue
        name = node.output[0]
        last = NodeProto()
        last.CopyFrom(node)
        last.input[:] = [moved.get(value, value) for value in node.input]
        last.output[0] = f"{name}_last"
        graph.replace([node], [last, helper.make_node("Transpose", last.output, [name], perm=TO_FIRST)])
        graph.finish()
        return True
    return False
