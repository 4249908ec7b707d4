"""Write the integer entropy path as ONNX graphs, one for each decoding step.

The graphs have the inputs and outputs of the float path's graphs: latents are float32 and channels-first. Only the
tensors that pass from one of these graphs to another (`hyper`, `support`) are channels-last and hold integers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto

from glic_deploy.bundle import Ends, graph_ends

from .builder import GraphBuilder
from .lowerings import FloatHeld, IntegerProducts, NativeKernels
from .network import FRACTION_BITS, IntegerNetwork
from .wiring import Wiring

# The lowering of each form of the graphs in a bundle.
LOWERINGS: dict[str, type[FloatHeld]] = {"base": FloatHeld, "integer": IntegerProducts, "native": NativeKernels}


@dataclass(frozen=True)
class LoweredGraph:
    """Hold the name and the ONNX model of one graph of the entropy path."""

    name: str
    model: ModelProto


def lower(network: IntegerNetwork, lowering: str) -> Iterator[LoweredGraph]:
    """Yield every graph of the entropy path; lowering: a key of LOWERINGS."""
    writer = _Writer(network, LOWERINGS[lowering])
    yield writer.hyper_synthesis()
    for k in range(len(network.slices)):
        yield writer.anchors(k)
        yield writer.nonanchors(k)


class _Writer:
    def __init__(self, network: IntegerNetwork, arithmetic: type[FloatHeld]) -> None:
        self.network, self.arithmetic = network, arithmetic
        groups = tuple(net.channels for net in network.slices)
        self.ports = graph_ends(sum(groups), network.hyper_synthesis.medians.size, groups, exact=True)

    def hyper_synthesis(self) -> LoweredGraph:
        name = "hyper_synthesis"
        (symbols,) = self.ports[name].inputs
        ends, wiring = self._start()
        z = ends.channels_last(ends.cast(symbols.name, TensorProto.FLOAT))
        return ends.finish(name, self.ports[name], [wiring.hyper_synthesis(z, self.network.hyper_synthesis)])

    def anchors(self, k: int) -> LoweredGraph:
        name = f"slice{k}_anchors"
        hyper, *before = self.ports[name].inputs
        ends, wiring = self._start()
        coded = ends.fixed_point(before[0].name) if before else None
        indexes, means, support = wiring.anchors(hyper.name, coded, self.network.slices[k])
        return ends.finish(name, self.ports[name], [*ends.parameters(indexes, means), support])

    def nonanchors(self, k: int) -> LoweredGraph:
        name = f"slice{k}_nonanchors"
        anchors, support = self.ports[name].inputs
        ends, wiring = self._start()
        indexes, means = wiring.nonanchors(ends.fixed_point(anchors.name), support.name, self.network.slices[k])
        return ends.finish(name, self.ports[name], ends.parameters(indexes, means))

    def _start(self) -> tuple[_Ends, Wiring[str]]:
        graph = GraphBuilder()
        return _Ends(graph), Wiring(self.arithmetic(graph, self.network.rsqrt))


class _Ends:
    """Convert between a graph's inputs and outputs and the arithmetic's channels-last integers."""

    def __init__(self, graph: GraphBuilder) -> None:
        self.graph = graph
        self._batch = graph.constant([0], np.int64)

    def cast(self, x: str, to: int) -> str:
        return self.graph.op("Cast", x, to=to)

    def channels_last(self, x: str) -> str:
        return self.graph.op("Transpose", self.graph.op("Squeeze", x, self._batch), perm=[1, 2, 0])

    def channels_first(self, x: str) -> str:
        return self.graph.op("Unsqueeze", self.graph.op("Transpose", x, perm=[2, 0, 1]), self._batch)

    def fixed_point(self, latent: str) -> str:
        return self._times(self.channels_last(latent), 2.0**FRACTION_BITS)

    def parameters(self, indexes: str, means: str) -> list[str]:
        return [
            self.cast(self.channels_first(indexes), TensorProto.UINT8),
            self.channels_first(self._times(means, 2.0**-FRACTION_BITS)),
        ]

    def finish(self, name: str, ports: Ends, outputs: Sequence[str]) -> LoweredGraph:
        """Return the graph with the inputs and outputs `ports`; `outputs` are the values of the outputs, in order."""
        for value, port in zip(outputs, ports.outputs, strict=True):
            self.graph.output(value, port)
        return LoweredGraph(name, self.graph.model(name, ports.inputs, ports.outputs))

    def _times(self, x: str, factor: float) -> str:
        return self.graph.op("Mul", x, self.graph.constant(factor, np.float32))
