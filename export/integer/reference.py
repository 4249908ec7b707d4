"""Run the integer network without ONNX, as backends: in the NumPy oracle, and in PyTorch with integers in float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from glic_deploy.backends.base import Backend

from .network import FRACTION_BITS, IntegerNetwork
from .oracle import Oracle
from .torch_held import TorchHeld
from .wiring import Wiring

Array = NDArray[Any]


class ReferenceBackend(Backend):
    """Run the entropy path's graphs in one arithmetic, and all other graphs on the backend `transforms`."""

    def __init__(
        self,
        name: str,
        network: IntegerNetwork,
        wiring: Wiring[Any],
        to_value: Callable[[Array], Any],
        to_array: Callable[[Any], Array],
        transforms: Backend | None = None,
    ) -> None:
        self.name = name
        self._network, self._wiring, self._transforms = network, wiring, transforms
        self._to_value, self._to_array = to_value, to_array

    def run(self, graph: str, inputs: Mapping[str, Array]) -> list[Array]:
        if graph == "hyper_synthesis":
            symbols = self._to_value(_channels_last(inputs["z_symbols"]))
            hyper = self._wiring.hyper_synthesis(symbols, self._network.hyper_synthesis)
            return [self._held(hyper)]
        if not graph.startswith("slice"):
            if self._transforms is None:
                raise KeyError(graph)
            return self._transforms.run(graph, inputs)
        slice_name, part = graph.split("_")
        net = self._network.slices[int(slice_name.removeprefix("slice"))]
        if part == "anchors":
            before = self._fixed_point(inputs["y_hat"]) if "y_hat" in inputs else None
            indexes, means, support = self._wiring.anchors(self._to_value(inputs["hyper"]), before, net)
            return [*self._parameters(indexes, means), self._held(support)]
        anchors, support = self._fixed_point(inputs["anchors"]), self._to_value(inputs["support"])
        return self._parameters(*self._wiring.nonanchors(anchors, support, net))

    def _fixed_point(self, latent: Array) -> Any:
        return self._to_value(np.rint(_channels_last(latent).astype(np.float64) * 2**FRACTION_BITS))

    def _parameters(self, indexes: Any, means: Any) -> list[Array]:
        mean = self._to_array(means).astype(np.float64) * 2.0**-FRACTION_BITS
        return [
            _channels_first(self._to_array(indexes)).astype(np.uint8),
            _channels_first(mean).astype(np.float32),
        ]

    def _held(self, value: Any) -> Array:
        return self._to_array(value).astype(np.float32)

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}

    def close(self) -> None:
        if self._transforms is not None:
            self._transforms.close()


def oracle_backend(network: IntegerNetwork, transforms: Backend | None = None) -> ReferenceBackend:
    """Return a backend that runs the NumPy int64 oracle."""
    wiring = Wiring(Oracle(network.rsqrt))
    return ReferenceBackend("oracle", network, wiring, lambda x: x.astype(np.int64), np.asarray, transforms)


def torch_backend(network: IntegerNetwork, transforms: Backend | None = None) -> ReferenceBackend:
    """Return a backend that runs PyTorch eagerly, with integers held in float32."""
    wiring = Wiring(TorchHeld(network.rsqrt))

    def to_tensor(x: Array) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))

    return ReferenceBackend("torch", network, wiring, to_tensor, lambda x: x.numpy(), transforms)


def _channels_last(x: Array) -> Array:
    return np.moveaxis(x[0], 0, -1)


def _channels_first(x: Array) -> Array:
    return np.ascontiguousarray(x.transpose(2, 0, 1))[None]
