"""Images that stay in the memory of a GPU: those of callers before the analysis, and those after the synthesis."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..cuda_arrays import CudaArray, CudaImage
from ..values import Value, converted
from .cuda import Device, DeviceMemoryError
from .device_memory import Shape
from .device_runs import DeviceRunner

_CHANNELS = 3


class _Size(ctypes.Structure):
    """Mirror the C struct glic_image_place_size."""

    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in ("height", "width", "source_height", "source_width", "row", "column", "channel")
    )


class DeviceImages:
    """Reads and writes images in the memory of a backend's GPU.

    Args:
        runner: runs the graphs.
        device: its device.
    """

    def __init__(self, runner: DeviceRunner, device: Device) -> None:
        self._runner, self._device = runner, device

    def owns(self, image: CudaImage) -> bool:
        """Return whether an image of a caller is in the memory of this GPU."""
        return self._device.owns(image.address)

    def place(self, image: CudaImage, height: int, width: int) -> Value:
        """Return an image of a caller in the memory of this GPU, padded to these sides: uint8 (height, width, 3)."""
        return _Placed(self._runner, self._device, image, (height, width, _CHANNELS))

    def crop(self, padded: Value, x: int, y: int, width: int, height: int) -> CudaArray:
        """Return a part of an image (H, W, 3), in memory of its own. Waits until it is complete."""
        row = padded.shape[1] * _CHANNELS
        size = _Size(height, width, height, width, row, _CHANNELS, 1)
        first = y * row + x * _CHANNELS
        return self._written(
            padded, (height, width, _CHANNELS), lambda at, to: _copy(self._device, size, at + first, to)
        )

    def upload(self, image: NDArray[np.uint8]) -> CudaArray:
        """Return a copy of an image of the host, of any channels."""
        return self._written(image, image.shape, lambda at, to: self._device.copy(to, at, image.nbytes))

    def _written(self, source: Value, shape: Shape, write: Callable[[int, int], None]) -> CudaArray:
        """Return an array of this shape, which `write` fills from the address of `source`."""
        with self._runner.on_device():
            try:
                array = CudaArray(self._device, shape)
            except DeviceMemoryError:
                self._runner.trim()  # the memory of other sizes may suffice
                array = CudaArray(self._device, shape)
            self._runner.launch("image.crop", {"image": source}, {}, lambda at: write(at["image"], array.address))
            done = self._device.event()
            self._device.record(done)
        try:
            self._device.wait(done)
        finally:
            self._device.free_event(done)
        return array


class _Placed:
    """The padded copy of a caller's image. The copy is made anew for each reader, so that none of them keeps it."""

    dtype = np.dtype(np.uint8)

    def __init__(self, runner: DeviceRunner, device: Device, image: CudaImage, shape: Shape) -> None:
        self._runner, self._device, self._image, self.shape = runner, device, image, shape

    def place(self) -> Value:
        """Put the copy on the stream and return it. Raises ImageError if the library does not export the image."""
        with self._runner.on_device():
            (address, sides, strides), stream, _keep = self._image.pixels(self._device.stream)
            if stream is not None:
                self._device.follow(stream)
            channel = strides[2] if len(sides) == _CHANNELS else 0
            size = _Size(*self.shape[:2], *sides[:2], *strides[:2], channel)
            (copy,) = self._runner.launch(
                "image.place",
                {},
                {"image": (self.shape, self.dtype)},
                lambda at: _copy(self._device, size, address, at["image"]),
            )
            return copy

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return converted(np.asarray(self.place()), dtype)


def _copy(device: Device, size: _Size, source: int, target: int) -> None:
    device.call("glic_image_place_cuda", ctypes.byref(size), ctypes.c_void_p(source), ctypes.c_void_p(target))
