"""What a backend is: something that runs a bundle's graphs on arrays and says what it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..values import Value

Precision = Literal["fp32", "bf16", "fp16"]


class Backend(ABC):
    """Runs the graphs of one bundle. Safe to use from several threads at once.

    precision: of the transforms; the entropy path is exact whatever this says.
    """

    name: str
    precision: Precision = "fp32"

    @abstractmethod
    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Outputs of a graph, in the manifest's order. Raises EngineError when the graph cannot be run."""

    def start(self, graph: str, inputs: Mapping[str, Value]) -> Sequence[Value]:
        """As `run`, but only the first output need be there: the others may be on their way, or stay where they are.

        What one graph gave so, the next one takes as it is. The default has everything at once.
        """
        return self.run(graph, {name: np.asarray(value) for name, value in inputs.items()})

    def trim(self) -> None:  # noqa: B027 - most backends have nothing of the kind
        """Free what is kept for the sizes of pictures that came so far; it is made again when they come again."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Name, versions, threads and devices, for people and for JSON."""

    @abstractmethod
    def close(self) -> None:
        """Free what the backend holds. It cannot be used afterwards."""
