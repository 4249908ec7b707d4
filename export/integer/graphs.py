"""The integer entropy path as ONNX graphs, one a decoding step, with the ends of the float path's graphs.

Latents are float32 and channels-first, as there; what passes between the graphs alone (`hyper`, `support`) is
channels-last and holds integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto

from ..graphs import Port
from .builder import GraphBuilder
from .lowerings import FloatHeld, IntegerProducts, NativeKernels
from .network import FRACTION_BITS, IntegerNetwork
from .wiring import Wiring

# By the name of the graph variant in a bundle: "base" is what every runtime can run.
LOWERINGS: dict[str, type[FloatHeld]] = {"base": FloatHeld, "integer": IntegerProducts, "native": NativeKernels}


@dataclass(frozen=True)
class LoweredGraph:
    """One graph of the entropy path with its ends."""

    name: str
    model: ModelProto
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def lower(network: IntegerNetwork, lowering: str) -> Iterator[LoweredGraph]:
    """Every graph of the entropy path in one of LOWERINGS."""
    writer = _Writer(network, LOWERINGS[lowering])
    yield writer.hyper_synthesis()
    for k in range(len(network.slices)):
        yield writer.anchors(k)
        yield writer.nonanchors(k)


class _Writer:
    def __init__(self, network: IntegerNetwork, arithmetic: type[FloatHeld]) -> None:
        self.network, self.arithmetic = network, arithmetic
        self.hyper = Port("hyper", "float32", ("H/16", "W/16", network.hyper_synthesis.output.bias.size))

    def hyper_synthesis(self) -> LoweredGraph:
        net = self.network.hyper_synthesis
        symbols = Port("z_symbols", "int16", (1, net.medians.size, "H/64", "W/64"))
        ends, wiring = self._start()
        hyper = wiring.hyper_synthesis(ends.channels_last(ends.cast(symbols.name, TensorProto.FLOAT)), net)
        return ends.finish("hyper_synthesis", {symbols: None, self.hyper: hyper})

    def anchors(self, k: int) -> LoweredGraph:
        net = self.network.slices[k]
        before = sum(previous.channels for previous in self.network.slices[:k])
        y_hat = Port("y_hat", "float32", (1, before, "H/16", "W/16"))
        ends, wiring = self._start()
        coded = ends.fixed_point(y_hat.name) if k else None
        indexes, means, support = wiring.anchors(self.hyper.name, coded, net)
        inputs = {self.hyper: None, y_hat: None} if k else {self.hyper: None}
        outputs = {**ends.parameters(net.channels, indexes, means), self._support(k): support}
        return ends.finish(f"slice{k}_anchors", {**inputs, **outputs})

    def nonanchors(self, k: int) -> LoweredGraph:
        net = self.network.slices[k]
        anchors = Port("anchors", "float32", (1, net.channels, "H/16", "W/16"))
        support = self._support(k)
        ends, wiring = self._start()
        indexes, means = wiring.nonanchors(ends.fixed_point(anchors.name), support.name, net)
        outputs = ends.parameters(net.channels, indexes, means)
        return ends.finish(f"slice{k}_nonanchors", {anchors: None, support: None, **outputs})

    def _support(self, k: int) -> Port:
        return Port("support", "float32", ("H/16", "W/32", self.network.slices[k].anchor_mixer.weight.shape[0]))

    def _start(self) -> tuple[_Ends, Wiring[str]]:
        graph = GraphBuilder()
        return _Ends(graph), Wiring(self.arithmetic(graph, self.network.rsqrt))


class _Ends:
    """What lies between a graph's ends and the arithmetic's channels-last integers."""

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

    def parameters(self, channels: int, indexes: str, means: str) -> dict[Port, str]:
        shape = (1, channels, "H/16", "W/32")
        return {
            Port("indexes", "uint8", shape): self.cast(self.channels_first(indexes), TensorProto.UINT8),
            Port("means", "float32", shape): self.channels_first(self._times(means, 2.0**-FRACTION_BITS)),
        }

    def finish(self, name: str, ports: dict[Port, str | None]) -> LoweredGraph:
        """The graph whose inputs are the ports without a value and whose outputs are those with one."""
        inputs = tuple(port for port, value in ports.items() if value is None)
        outputs = tuple(port for port, value in ports.items() if value is not None)
        for port in outputs:
            self.graph.output(str(ports[port]), port)
        return LoweredGraph(name, self.graph.model(name, inputs, outputs), inputs, outputs)

    def _times(self, x: str, factor: float) -> str:
        return self.graph.op("Mul", x, self.graph.constant(factor, np.float32))
