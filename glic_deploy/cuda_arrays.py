"""Images in the memory of a GPU: those of callers, which an encoder reads there, and those that a decoder returns."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import dlpack
from .arrays import EXPORT_ERRORS, DlpackArray, to_numpy
from .errors import ImageError
from .image import Handling
from .limits import Limits
from .metadata import Metadata
from .values import converted

if TYPE_CHECKING:
    from .backends.cuda import Device

_UINT8 = np.dtype(np.uint8)


class CudaArray:
    """An image in the memory of a GPU, uint8 and contiguous, which owns this memory. It is complete.

    Libraries take it without a copy: `torch.from_dlpack(image)`, `cupy.from_dlpack(image)`, and through
    `__cuda_array_interface__` also `torch.as_tensor` and Numba. `numpy.asarray(image)` copies it to the host. The
    memory is freed when neither this object nor an array of a library uses it, also after the codec was closed.

    Attributes:
        shape: (H, W, 3); (H, W) for grey, (H, W, 4) or (H, W, 2) with alpha.
        dtype: uint8.
        device: the number of the GPU.
        address: of the first element.
    """

    dtype = _UINT8

    def __init__(self, device: Device, shape: tuple[int, ...]) -> None:
        self.shape, self.device = shape, device.number
        self._on = device
        self.address = device.allocate(self.nbytes)
        # Libraries may use the memory until the process ends, which frees it.
        weakref.finalize(self, device.gate.outside, device.free, self.address).atexit = False

    @property
    def nbytes(self) -> int:
        """The number of bytes."""
        return int(np.prod(self.shape))

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Numba's protocol, version 3. No stream: the image is complete."""
        return {"shape": self.shape, "typestr": "|u1", "data": (self.address, False), "version": 3, "stream": None}

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CUDA, self.device

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Return a capsule. Every `stream` may use the image at once, because it is complete."""
        if copy or (dl_device is not None and tuple(map(int, dl_device)) != self.__dlpack_device__()):
            raise BufferError(
                f"the image is on GPU {self.device} and is exported without a copy, got dl_device={dl_device}, "
                f"copy={copy}; leave them out and copy the result, or use numpy.asarray(image) for the host"
            )
        return dlpack.capsule(self, self.address, self.shape, self.__dlpack_device__())

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError(f"the image is on GPU {self.device}, so that NumPy needs a copy; leave out copy=False")
        self._on.activate()
        pinned = self._on.pinned(self.shape, self.dtype)
        try:
            self._on.download(pinned, self.address)
            self._on.synchronize()
            return converted(pinned.copy(), dtype)
        finally:
            self._on.free_pinned(pinned)

    def __repr__(self) -> str:
        return f"<CudaArray {self.shape} uint8 on GPU {self.device}>"


class _InterfaceArray(Protocol):
    """Declare an array with Numba's protocol."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...


class Pixels(NamedTuple):
    """The pixels of an image in the memory of a GPU.

    Attributes:
        elements: where they are: (H, W) for grey, or (H, W, 3).
        stream: the stream whose work must be done before they are read; None: no other than that of `pixels`.
        keep: must exist until all that reads the pixels is on the device's stream.
    """

    elements: dlpack.Bytes
    stream: int | None
    keep: object


class CudaImage:
    """An image of a caller, in the memory of a GPU.

    Attributes:
        shape: (H, W) for grey, or (H, W, 3).
        dtype: uint8.
        address: of the first element.
    """

    dtype = _UINT8

    def __init__(self, source: DlpackArray | _InterfaceArray, elements: dlpack.Bytes) -> None:
        self._source, self._elements = source, elements
        self.shape, self.address = elements.shape, elements.address
        self._on_host: NDArray[Any] | None = None

    @classmethod
    def of(cls, source: Any) -> CudaImage | None:
        """Return an array in the memory of a GPU as an image; None unless it is uint8 (H, W), (H, W, 1) or (H, W, 3).

        None also if its library does not export it.
        """
        try:
            found = _pixels(source, None)
        except ImageError:
            return None
        return None if found is None else cls(source, found.elements)

    def pixels(self, stream: int) -> Pixels:
        """Return the pixels, which the array's library makes ready for a stream. Raises ImageError."""
        found = _pixels(self._source, stream)
        if found is None or found.elements != self._elements:
            raise ImageError(
                f"the array on the GPU, uint8 {self.shape}, has got other memory or another shape meanwhile; encode a "
                "copy of it"
            )
        return found

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if self._on_host is not None:
            return converted(self._on_host, dtype)
        array = to_numpy(self._source)
        if array is None:
            name = type(self._source).__name__
            raise ImageError(
                f"the {name} on the GPU must be copied to the host here, and a library without DLPack cannot be asked "
                "to; pass an array of NumPy, torch or CuPy, for Numba: array.copy_to_host()"
            )
        self._on_host = array.reshape(self.shape)
        return converted(self._on_host, dtype)


@dataclass(frozen=True)
class CudaSource:
    """An image to encode, like `glic_deploy.image.SourceImage`, in the memory of a GPU."""

    pixels: CudaImage
    metadata: Metadata
    profiled: bool = False

    @classmethod
    def of(cls, source: Any, handling: Handling, limits: Limits) -> CudaSource | None:
        """Return an array in the memory of a GPU whose pixels can be coded as they are; None for all other sources.

        Raises LimitError if the image is too large.
        """
        described = handling.metadata if isinstance(handling.metadata, Metadata) else Metadata()
        image = None if described.icc else CudaImage.of(source)
        if image is None:
            return None
        height, width = image.shape[:2]
        limits.check_image(width, height)
        return cls(image, described)


def _pixels(source: Any, stream: int | None) -> Pixels | None:
    """Return the pixels of an array on a GPU, ready for a stream; None if it is none of the right form."""
    waits_for = None
    if hasattr(source, "__dlpack_device__"):
        try:
            if source.__dlpack_device__()[0] not in (dlpack.CUDA, dlpack.CUDA_MANAGED):
                return None
            keep = source.__dlpack__() if stream is None else source.__dlpack__(stream=stream)
        except EXPORT_ERRORS as error:
            raise ImageError(
                f"the {type(source).__name__} on the GPU cannot be read through DLPack: {error}; convert it to uint8 "
                "(height, width, 3) first, for torch: tensor.detach()"
            ) from error
        elements = dlpack.read(keep)
    elif isinstance(interface := getattr(source, "__cuda_array_interface__", None), dict):
        keep, waits_for = source, interface.get("stream")
        elements = _by_interface(interface)
    else:
        return None
    if elements is not None and len(elements.shape) == 3 and elements.shape[2] == 1:
        elements = dlpack.Bytes(elements.address, elements.shape[:2], elements.strides[:2])
    if elements is None or not all(elements.shape) or len(elements.shape) not in (2, 3):
        return None
    return Pixels(elements, waits_for, keep) if elements.shape[2:] in ((), (3,)) else None


def _by_interface(interface: dict[str, Any]) -> dlpack.Bytes | None:
    """Return where the elements of an array with `__cuda_array_interface__` are; None unless they are uint8."""
    if interface["typestr"][1:] != "u1" or interface.get("mask") is not None:
        return None
    shape = tuple(interface["shape"])
    return dlpack.Bytes(interface["data"][0], shape, interface.get("strides") or dlpack.contiguous(shape))
