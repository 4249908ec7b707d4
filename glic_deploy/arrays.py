"""Arrays of other libraries (torch, CuPy, JAX, anything with DLPack or the buffer protocol) as numpy sees them.

On the CPU nothing is copied: numpy's array is a view of the same memory. What lies on another device is copied to the
host to be read; it cannot be written to.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import ImageError

# Device types of DLPack whose memory the host reads and writes: kDLCPU, kDLCUDAHost, kDLROCMHost.
_HOST = frozenset({1, 3, 11})
_BECAUSE = (BufferError, RuntimeError, TypeError, ValueError)


class DlpackArray(Protocol):
    """What an array of another library has."""

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any: ...

    def __dlpack_device__(self) -> tuple[int, int]: ...


def to_numpy(source: Any) -> NDArray[Any] | None:
    """A numpy array of the same memory, or a copy of it if that is not the host's; None if `source` is no array.

    Raises ImageError for an array that its library does not hand out, or in which elements are masked.
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


def writable(out: Any, height: int, width: int) -> NDArray[np.uint8]:
    """The memory of `out`, uint8 (height, width, 3) and contiguous, for writing.

    Raises ImageError for an array that is something else, is read-only, or is not in the host's memory.
    """
    if hasattr(out, "__dlpack_device__") and out.__dlpack_device__()[0] not in _HOST:
        raise ImageError(
            f"out is a {type(out).__name__} on device {_device(out)}, expected memory of the host; decode without out "
            "and copy: of torch, out.copy_(torch.from_numpy(codec.decode(data)))"
        )
    view = to_numpy(out)
    if view is not None and not view.flags.writeable:
        view = _writable_twin(out, view)
    if view is None:
        raise ImageError(
            f"out is a {type(out).__name__}, expected an array of numpy or of a library with DLPack; "
            "make one: numpy.empty((height, width, 3), numpy.uint8)"
        )
    if view.dtype != np.uint8 or view.shape != (height, width, 3):
        raise ImageError(
            f"out is {view.dtype} {view.shape}, expected uint8 {(height, width, 3)}; "
            "glic_deploy.container.parse_header(data) says a file's size"
        )
    if not view.flags.c_contiguous or not view.flags.writeable:
        state = "read-only" if view.flags.c_contiguous else "not contiguous"
        raise ImageError(f"out is {state}, expected a writable array, contiguous in C order; decode into a new one")
    return view


def _unmasked(source: np.ma.MaskedArray[Any, Any]) -> NDArray[Any]:
    """The array's elements if all of them are valid."""
    masked = np.count_nonzero(np.ma.getmaskarray(source))
    if masked:
        raise ImageError(
            f"{masked:,} of the array's {source.size:,} elements are masked, expected values for all; choose one for "
            "these: array.filled(0)"
        )
    return source.data


def _writable_twin(out: Any, view: NDArray[Any]) -> NDArray[Any]:
    """The array that the library itself makes of `out`, if that may be written to and is the same memory; else `view`.

    numpy before 2.1 has only read-only views of what comes through DLPack.
    """
    try:
        twin = np.asarray(out)
    except _BECAUSE:
        return view
    same = (twin.ctypes.data, twin.shape, twin.strides) == (view.ctypes.data, view.shape, view.strides)
    return twin if same and twin.dtype == view.dtype and twin.flags.writeable else view


def _from_dlpack(source: Any) -> NDArray[Any]:
    try:
        if source.__dlpack_device__()[0] in _HOST:
            return np.from_dlpack(source)
        return np.from_dlpack(source, device="cpu")  # numpy 2.1, and of the library DLPack 1.0
    except _BECAUSE as error:
        raise ImageError(
            f"the {type(source).__name__} on device {_device(source)} cannot be read through DLPack: {error}; "
            "convert it to uint8 (height, width, 3) in the host's memory first: of torch, tensor.detach().cpu()"
        ) from error


def _device(source: Any) -> str:
    return "{}:{}".format(*map(int, source.__dlpack_device__()))
