"""The steps between the graphs of the entropy path on a GPU, in kernels of ours (plugins_cpp/passes).

The symbols, the slices of y_hat and everything that they are computed from stay on the GPU. An encoder waits once, for
the symbols and indexes of all passes; a decoder sends the symbols of a pass and waits for the indexes of the next.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..steps import CostTables, Pass, Weigher
from ..values import Part, Settled, Slices, Value
from .cuda import Device
from .device_memory import TensorSpec
from .device_runs import DeviceRunner

_INDEXES = 256
"""The number of rows of the tables on the device, so that no index is outside of them."""

_TABLES = 1 << 20
"""More bytes than these tables take."""


class _Size(ctypes.Structure):
    """Mirror the C struct glic_pass_size."""

    _fields_ = (*((name, ctypes.c_int64) for name in ("channels", "height", "width")), ("parity", ctypes.c_int32))


class _Weighing(ctypes.Structure):
    """Mirror the C struct glic_pass_weighing."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("gains", "expected", "weights")),
        *((name, ctypes.c_double) for name in ("strength", "usual", "most_strength")),
        ("detail_share", ctypes.c_float),
        ("levels", ctypes.c_int32),
    )


def step_memory(latents: int) -> int:
    """Return the most bytes of device memory that the steps of an image with so many latents take.

    That is, for each latent: 10 for symbols and slices, and 23 for all inputs if they come from the host, as when a
    graph is compared with the CPU.
    """
    return 33 * latents + _TABLES


class DeviceSteps:
    """Computes the steps between the graphs of one image; see `glic_deploy.steps.Steps`.

    Args:
        runner: runs the graphs.
        device: its device.
        channels, height, width: those of y_hat.
    """

    def __init__(self, runner: DeviceRunner, device: Device, channels: int, height: int, width: int) -> None:
        self._runner, self._device = runner, device
        self._y_hat = Slices((1, channels, height, width))
        self._weights: Value | None = None
        self._expected: Value | None = None

    def first(self, channels: int) -> Value:
        return Settled(self._y_hat, channels)

    def quantize(self, part: Pass, y: Value, means: Value, indexes: Value, weigher: Weigher | None) -> Value:
        inputs = {"y": Part(y, part.start, part.stop), "means": means, "indexes": indexes}
        scalars = None
        if weigher is not None:
            scalars = self._weigh(part, indexes, weigher, inputs)

        def kernel(at: Mapping[str, int]) -> None:
            weighing = None
            if scalars is not None and weigher is not None:
                gains = self._runner.constant("gains", lambda: _rows(weigher.costs.gains))
                weighing = ctypes.byref(_Weighing(gains, at.get("expected"), at["weights"], *scalars))
            arrays = (_at(at, name) for name in ("y", "means", "indexes"))
            self._device.call("glic_pass_quantize_cuda", self._size(part), *arrays, weighing, _at(at, "symbols"))

        return self._launch(part, "quantize", inputs, (means.shape, np.dtype(np.int16)), "symbols", kernel)

    def _weigh(
        self, part: Pass, indexes: Value, weigher: Weigher, inputs: dict[str, Value]
    ) -> tuple[float, float, float, float, int]:
        """Add the inputs that weigh bits against error; return the numbers that go with them."""
        if self._weights is None:
            self._weights = self._runner.send("weights", weigher.weights)
        inputs["weights"] = self._weights
        usual = weigher.usual_units(int(np.prod(indexes.shape)))
        if usual:
            inputs["expected"] = self._expected = self._expect(part, indexes, weigher.costs)
        return weigher.strength, usual, weigher.most_strength, weigher.detail_share, weigher.costs.gains.shape[1]

    def _expect(self, part: Pass, indexes: Value, costs: CostTables) -> Value:
        """Return the expected bits of all symbols up to this pass, in COST_UNITs."""
        inputs = {"indexes": indexes} | ({} if self._expected is None else {"before": self._expected})

        def kernel(at: Mapping[str, int]) -> None:
            units = ctypes.c_void_p(self._runner.constant("units", lambda: _rows(costs.expected)))
            arrays = (_at(at, "indexes"), units, _at(at, "before"), _at(at, "expected"))
            self._device.call("glic_pass_expect_cuda", self._size(part), *arrays)

        return self._launch(part, "expect", inputs, ((1,), np.dtype(np.uint64)), "expected", kernel)

    def place(self, part: Pass, symbols: Value, means: Value, anchors: Value | None) -> Value:
        inputs = {"symbols": symbols, "means": means} | ({} if anchors is None else {"anchors": anchors})

        def kernel(at: Mapping[str, int]) -> None:
            arrays = (_at(at, name) for name in ("symbols", "means", "anchors", "slice"))
            self._device.call("glic_pass_place_cuda", self._size(part), *arrays)

        shape = (1, part.stop - part.start, *self._y_hat.shape[2:])
        completed = self._launch(part, "place", inputs, (shape, np.dtype(np.float32)), "slice", kernel)
        if anchors is not None:
            self._y_hat.known.append(completed)
        return completed

    def _launch(
        self, part: Pass, step: str, inputs: Mapping[str, Value], spec: TensorSpec, output: str, kernel: Any
    ) -> Value:
        return self._runner.launch(f"{part.graph}.{step}", inputs, {output: spec}, kernel)[0]

    def _size(self, part: Pass) -> Any:
        _, _, height, width = self._y_hat.shape
        return ctypes.byref(_Size(part.stop - part.start, height, width, part.parity))


def _at(addresses: Mapping[str, int], name: str) -> ctypes.c_void_p:
    return ctypes.c_void_p(addresses.get(name))


def _rows(table: NDArray[Any]) -> NDArray[Any]:
    """Return a table by index with zeros for the indexes that it lacks."""
    padded = np.zeros((_INDEXES, *table.shape[1:]), table.dtype)
    padded[: len(table)] = table
    return padded
