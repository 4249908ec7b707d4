"""Reads the versions of NVIDIA's libraries that this process has loaded; they choose the kernels of onnxruntime."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path

_LIBRARY = re.compile(r"(/\S*/lib(cudnn|cublasLt|cublas|cudart)\.so[.\d]*)$", re.MULTILINE)
_MAPS = Path("/proc/self/maps")


def loaded_versions() -> dict[str, str]:
    """Return the versions of cuDNN, cuBLAS and CUDA's runtime, such as {"cudnn": "91002"}; none for what is not loaded.

    Two versions of a library in one process are both named.
    """
    found: dict[str, set[str]] = {}
    for path, name in set(_LIBRARY.findall(_MAPS.read_text())):
        try:
            version = _READERS[name](ctypes.CDLL(path))
        except AttributeError:  # a library of this name that is not NVIDIA's
            version = f"unknown ({path})"
        found.setdefault(name, set()).add(version)
    return {name: " and ".join(sorted(versions)) for name, versions in sorted(found.items())}


def _cudnn(library: ctypes.CDLL) -> str:
    library.cudnnGetVersion.restype = ctypes.c_size_t
    return str(library.cudnnGetVersion())


def _property_reader(function: str) -> Callable[[ctypes.CDLL], str]:
    def read(library: ctypes.CDLL) -> str:
        numbers = []
        for part in range(3):  # major, minor and patch level
            number = ctypes.c_int()
            getattr(library, function)(part, ctypes.byref(number))
            numbers.append(str(number.value))
        return ".".join(numbers)

    return read


def _cudart(library: ctypes.CDLL) -> str:
    version = ctypes.c_int()
    library.cudaRuntimeGetVersion(ctypes.byref(version))
    return str(version.value)


_READERS: dict[str, Callable[[ctypes.CDLL], str]] = {
    "cudnn": _cudnn,
    "cublas": _property_reader("cublasGetProperty"),
    "cublasLt": _property_reader("cublasLtGetProperty"),
    "cudart": _cudart,
}
