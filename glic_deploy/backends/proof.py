"""Compares graphs of the entropy path on a GPU with the CPU, at their first run at each shape.

The libraries that multiply matrices on a GPU choose their kernels by shape. So the conformance vectors, which have one
shape, do not prove the kernels that an image of another size runs. A wrong bit at any shape is an error before a file
is written or an image is returned.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import conformance
from ..bundle import Bundle, Shape
from ..errors import EngineError
from ..values import Value
from .base import Backend, UnusableError
from .declarations import BACKENDS

_CPU = BACKENDS[-1]

Key = tuple[str, tuple[tuple[str, Shape], ...]]


def require_own_sums(bundle: Bundle, *forms: str) -> None:
    """Raise UnusableError if a graph of the exact entropy path leaves a sum to a library of the runtime.

    Each graph is judged in the first of these forms that the bundle has. Only our own kernels compute the same sums at
    every shape, on every GPU and with every version of a runtime.
    """
    for graph in bundle.exact_graphs():
        form = next((form for form in forms if bundle.has_form(graph, form)), forms[-1])
        if bundle.form(graph, form).library_sums != 0:
            raise UnusableError(
                f"{bundle.path} leaves sums of the exact entropy path, in graph {graph}, to a runtime's libraries, "
                "which do not compute the same on every GPU",
                "export the checkpoint again: python -m export.to_onnx --checkpoint C.pth --output DIR",
            )


class Proof:
    """Checks the first run of each exact graph of a bundle at each shape. The cache remembers what has passed.

    Args:
        bundle: the bundle.
        backend: the backend whose runs are checked.
    """

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self._bundle, self._backend = bundle, backend
        self._exact = frozenset(bundle.exact_graphs())
        self._proven: set[Key] = set()
        self._on_the_cpu: Backend | None = None
        self._lock = threading.Lock()

    def is_due(self, graph: str, inputs: Mapping[str, Value]) -> bool:
        """Return whether a run of this graph on inputs of these shapes must be checked."""
        if graph not in self._exact:
            return False
        key = _key(graph, inputs)
        if key in self._proven:
            return False
        if conformance.has_passed(self._bundle, self._backend, key):
            self._proven.add(key)
            return False
        return True

    def check(self, graph: str, inputs: Mapping[str, Value], results: Sequence[NDArray[Any]]) -> None:
        """Raise EngineError unless the CPU computes the same results."""
        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        expected = self._reference().run(graph, arrays)
        for name, got, want in zip(self._bundle.outputs(graph), results, expected, strict=True):
            if wrong := int((got != want).sum()):
                shapes = ", ".join(f"{key} {list(value.shape)}" for key, value in arrays.items())
                raise conformance.inexact(self._bundle, self._backend, wrong, got.size, name, f"{graph} at {shapes}")
        key = _key(graph, inputs)
        conformance.remember(self._bundle, self._backend, key)
        self._proven.add(key)

    def _reference(self) -> Backend:
        with self._lock:
            if self._on_the_cpu is None:
                if not _CPU.is_installed():
                    raise EngineError(
                        f"backend {self._backend.name} may code only what it has computed like the CPU, and backend "
                        f"{_CPU.name}, which computes that, is not installed: {_CPU.remedy}"
                    )
                self._on_the_cpu = _CPU.load().open(self._bundle, None, None)
            return self._on_the_cpu

    def close(self) -> None:
        """Free the sessions on the CPU."""
        with self._lock:
            if self._on_the_cpu is not None:
                self._on_the_cpu.close()
            self._on_the_cpu = None


def _key(graph: str, inputs: Mapping[str, Value]) -> Key:
    return graph, tuple((name, tuple(value.shape)) for name, value in sorted(inputs.items()))
