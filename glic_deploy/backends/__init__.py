"""Backends by name. Each needs a package of its own, imported only when that backend is asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from ..bundle import Bundle
from ..errors import EngineError
from .base import Backend

__all__ = ["Backend", "installed", "open_backend"]


def _onnxruntime(bundle: Bundle, threads: int | None) -> Backend:
    from .onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(bundle, threads)


def _tensorrt(bundle: Bundle, threads: int | None) -> Backend:
    from .tensorrt import TensorRTBackend

    return TensorRTBackend(bundle)


def _onnxruntime_cuda(bundle: Bundle, threads: int | None) -> Backend:
    from .onnxruntime_cuda import OnnxRuntimeCudaBackend

    return OnnxRuntimeCudaBackend(bundle)


# Name: the module it needs, what to type where that is missing, and how to make one; the best backend first.
_BACKENDS: dict[str, tuple[str, str, Callable[[Bundle, int | None], Backend]]] = {
    "onnxruntime": ("onnxruntime", "pip install 'glic-deploy[cpu]'", _onnxruntime),
    "onnxruntime-cuda": ("onnxruntime", "pip install 'glic-deploy[cuda]' on a machine with a GPU", _onnxruntime_cuda),
    "tensorrt": ("cuda.bindings", "pip install 'glic-deploy[tensorrt]' on a machine with an NVIDIA GPU", _tensorrt),
}


def installed() -> list[str]:
    """Names of the backends whose packages are installed, the best first."""
    return [name for name, (module, _, _) in _BACKENDS.items() if _is_there(module)]


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package that it would be in
        return False


def open_backend(bundle: Bundle, name: str | None = None, threads: int | None = None) -> Backend:
    """The backend of that name, or the best one installed. Raises EngineError when there is none."""
    if name is not None and name not in _BACKENDS:
        raise EngineError(f"no backend is called {name!r}; there are: {', '.join(_BACKENDS)}")
    available = installed()
    if name is None and not available:
        advice = "; or ".join(f"{remedy} for {key}" for key, (_, remedy, _) in _BACKENDS.items())
        raise EngineError(f"no backend is installed to run the engine with: {advice}")
    chosen = name or available[0]
    _, remedy, make = _BACKENDS[chosen]
    if chosen not in available:
        raise EngineError(f"backend {chosen} is not installed: {remedy}")
    return make(bundle, threads)
