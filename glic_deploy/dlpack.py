"""DLPack's structures in Python: reads the capsules of other libraries, and makes capsules for them.

See https://dmlc.github.io/dlpack/latest/. Capsules are unversioned, which every consumer accepts.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

CPU, CUDA, CUDA_MANAGED = 1, 2, 13
"""DLPack's numbers of the kinds of memory: kDLCPU, kDLCUDA, kDLCUDAManaged."""

_UNSIGNED = 1  # kDLUInt
_NAME = b"dltensor"


class _Tensor(ctypes.Structure):
    """Mirror the C struct DLTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    """Mirror the C struct DLManagedTensor."""

    _fields_ = (("tensor", _Tensor), ("manager", ctypes.c_void_p), ("deleter", _Deleter))


class Bytes(NamedTuple):
    """The elements of an array, each a byte.

    Attributes:
        address: of the first element.
        shape: the sides.
        strides: the bytes between neighbours, along each side.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of an array of bytes in C order."""
    strides, step = [], 1
    for side in reversed(shape):
        strides.append(step)
        step *= side
    return tuple(reversed(strides))


def read(capsule: Any) -> Bytes | None:
    """Return where the elements of a library's array are, valid while the capsule exists; None unless they are uint8.

    The capsule is not consumed: it frees what it holds when it is deleted.
    """
    tensor = _Managed.from_address(_get_pointer(capsule, _NAME)).tensor
    if (tensor.code, tensor.bits, tensor.lanes) != (_UNSIGNED, 8, 1):
        return None
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else contiguous(shape)
    return Bytes((tensor.data or 0) + tensor.byte_offset, shape, strides)


def capsule(owner: object, address: int, shape: tuple[int, ...], device: tuple[int, int]) -> Any:
    """Return a capsule of a contiguous array of uint8, which keeps `owner` alive until its consumer frees it.

    Args:
        owner: owns the memory.
        address: of the first element.
        shape: the sides.
        device: the kind of memory, and the number of the device.
    """
    sides = (ctypes.c_int64 * len(shape))(*shape)
    steps = (ctypes.c_int64 * len(shape))(*contiguous(shape))
    tensor = _Tensor(address, *device, len(shape), _UNSIGNED, 8, 1, sides, steps, 0)
    managed = _Managed(tensor, None, _release)
    pointer = ctypes.addressof(managed)
    _held[pointer] = owner, managed, sides, steps
    return _new_capsule(pointer, _NAME, ctypes.cast(_destroy, ctypes.c_void_p))


_held: dict[int, tuple[object, ...]] = {}
"""What capsules and their consumers hold, by the address of the structure."""

# Prototypes of our own, because those of `ctypes.pythonapi` are shared with everyone in the process.
_get_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_pointer_of_dying = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_has_name = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_new_capsule = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", ctypes.pythonapi)
)


# Consumers may call these while Python ends, when the names of this module are gone: all that they need is an argument.
def _forget(pointer: int, held: dict[int, tuple[object, ...]] = _held) -> None:
    held.pop(pointer, None)


def _forget_unconsumed(
    dying: int,
    held: dict[int, tuple[object, ...]] = _held,
    name: bytes = _NAME,
    has_name: Any = _has_name,
    pointer_of: Any = _pointer_of_dying,
) -> None:
    if has_name(dying, name):  # a consumer renames the capsule, and calls the deleter itself
        held.pop(pointer_of(dying, name), None)


_release, _destroy = _Deleter(_forget), _Deleter(_forget_unconsumed)
for _function in (_release, _destroy):
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_function))  # never freed, for the same reason
