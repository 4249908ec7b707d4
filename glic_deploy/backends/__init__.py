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
    "tensorrt": ("cuda.bindings", "pip install 'glic-deploy[tensorrt]' on a machine with an NVIDIA GPU", _tensorrt),
    "onnxruntime-cuda": ("onnxruntime", "pip install 'glic-deploy[cuda]' on a machine with a GPU", _onnxruntime_cuda),
    "onnxruntime": ("onnxruntime", "pip install 'glic-deploy[cpu]'", _onnxruntime),
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
    """The backend of that name, or the best one that works here. Raises EngineError when there is none."""
    if name is None:
        return _open_best(bundle, threads)
    if name not in _BACKENDS:
        raise EngineError(f"no backend is called {name!r}; there are: {', '.join(_BACKENDS)}")
    _, remedy, make = _BACKENDS[name]
    if name not in installed():
        raise EngineError(f"backend {name} is not installed: {remedy}")
    return make(bundle, threads)


def _open_best(bundle: Bundle, threads: int | None) -> Backend:
    # TensorRT is not taken unasked where it would have to build plans first.
    candidates = [name for name in installed() if name != "tensorrt" or bundle.plans()]
    for name in candidates:
        try:
            return _BACKENDS[name][2](bundle, threads)
        except EngineError:
            if name == candidates[-1]:
                raise
    advice = "; or ".join(f"{remedy} for {key}" for key, (_, remedy, _) in _BACKENDS.items())
    raise EngineError(f"no backend is installed to run the engine with: {advice}")
