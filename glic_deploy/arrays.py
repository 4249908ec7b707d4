"""Convert arrays of other libraries (torch, CuPy, JAX, any with DLPack or the buffer protocol) to numpy arrays.

On the CPU nothing is copied: the numpy array is a view of the same memory. Arrays on other devices are copied to the
host for reading and cannot be written to.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import ImageError

# The device types of DLPack whose memory the host can access: kDLCPU, kDLCUDAHost, kDLROCMHost.
_HOST = frozenset({1, 3, 11})
EXPORT_ERRORS = (BufferError, RuntimeError, TypeError, ValueError)
"""The errors of libraries that do not export an array."""


class DlpackArray(Protocol):
    """Declare the DLPack protocol, which arrays of other libraries implement."""

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any: ...

    def __dlpack_device__(self) -> tuple[int, int]: ...


def to_numpy(source: Any) -> NDArray[Any] | None:
    """Return a numpy view of an array, a copy if it is on another device; None if `source` is not an array.

    Raises ImageError if the library does not export the array, or if elements are masked.
    """
    if isinstance(source, np.ma.MaskedArray):
        return _unmasked(source)
    if isinstance(source, np.ndarray):
        return source
    if hasattr(source, "__dlpack__"):
        return _from_dlpack(source)
    try:
        view = memoryview(source)
    except TypeError:
        return None
    return np.asarray(view) if view.ndim > 1 else None


def writable(out: Any, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return a writable view of `out`.

    Raises ImageError unless `out` is writable, C-contiguous uint8 of shape `shape` in host memory.
    """
    if hasattr(out, "__dlpack_device__") and out.__dlpack_device__()[0] not in _HOST:
        raise ImageError(
            f"out is a {type(out).__name__} on device {_device(out)}, expected host memory; decode without out "
            "and copy the result, for torch: out.copy_(torch.from_numpy(codec.decode(data)))"
        )
    view = to_numpy(out)
    if view is not None and not view.flags.writeable:
        view = _writable_twin(out, view)
    if view is None:
        raise ImageError(
            f"out is a {type(out).__name__}, expected an array of numpy or of a library with DLPack; "
            f"make one: numpy.empty({shape}, numpy.uint8)"
        )
    if view.dtype != np.uint8 or view.shape != shape:
        raise ImageError(
            f"out is {view.dtype} {view.shape}, expected uint8 {shape}; "
            "glic_deploy.container.parse_header(data) says a file's size and channels"
        )
    if not view.flags.c_contiguous or not view.flags.writeable:
        state = "read-only" if view.flags.c_contiguous else "not contiguous"
        raise ImageError(f"out is {state}, expected a writable array, contiguous in C order; decode into a new one")
    return view


def _unmasked(source: np.ma.MaskedArray[Any, Any]) -> NDArray[Any]:
    """Return the elements of a masked array if none is masked. Raises ImageError otherwise."""
    masked = np.count_nonzero(np.ma.getmaskarray(source))
    if masked:
        raise ImageError(
            f"{masked:,} of the array's {source.size:,} elements are masked, expected values for all; fill the masked "
            "elements: array.filled(0)"
        )
    return source.data


def _writable_twin(out: Any, view: NDArray[Any]) -> NDArray[Any]:
    """Return the library's own numpy array of `out` if it is a writable view of the same memory, else `view`.

    Before numpy 2.1, views through DLPack are read-only.
    """
    try:
        twin = np.asarray(out)
    except EXPORT_ERRORS:
        return view
    same = (twin.ctypes.data, twin.shape, twin.strides) == (view.ctypes.data, view.shape, view.strides)
    return twin if same and twin.dtype == view.dtype and twin.flags.writeable else view


def _from_dlpack(source: Any) -> NDArray[Any]:
    try:
        if source.__dlpack_device__()[0] in _HOST:
            return np.from_dlpack(source)
        return np.from_dlpack(source, device="cpu")  # needs numpy 2.1, and DLPack 1.0 in the library
    except EXPORT_ERRORS as error:
        raise ImageError(
            f"the {type(source).__name__} on device {_device(source)} cannot be read through DLPack: {error}; "
            "convert it to uint8 (height, width, 3) in host memory first, for torch: tensor.detach().cpu()"
        ) from error


def _device(source: Any) -> str:
    return "{}:{}".format(*map(int, source.__dlpack_device__()))
