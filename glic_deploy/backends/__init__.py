"""Backends by name. Each needs a package of its own, imported only when that backend is asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator

from ..bundle import Bundle
from ..errors import EngineError
from .base import Backend, Precision

__all__ = ["Backend", "Precision", "installed", "open_backend", "require_precision"]


_Make = Callable[[Bundle, int | None, Precision | None], Backend]


def _onnxruntime(bundle: Bundle, threads: int | None, precision: Precision | None) -> Backend:
    from .onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(bundle, threads)


def _openvino(bundle: Bundle, threads: int | None, precision: Precision | None) -> Backend:
    from .openvino import OpenVinoBackend
    from .openvino_precision import fitting

    return OpenVinoBackend(bundle, threads, precision=precision or fitting(bundle, threads))


def _tensorrt(bundle: Bundle, threads: int | None, precision: Precision | None) -> Backend:
    from .tensorrt import TensorRTBackend

    return TensorRTBackend(bundle)


def _onnxruntime_cuda(bundle: Bundle, threads: int | None, precision: Precision | None) -> Backend:
    from .onnxruntime_cuda import OnnxRuntimeCudaBackend

    return OnnxRuntimeCudaBackend(bundle)


# Name: the module it needs, what to type where that is missing, and how to make one; the best backend first.
_BACKENDS: dict[str, tuple[str, str, _Make]] = {
    "tensorrt": ("cuda.bindings", "pip install 'glic-deploy[tensorrt]' on a machine with an NVIDIA GPU", _tensorrt),
    "onnxruntime-cuda": ("onnxruntime", "pip install 'glic-deploy[cuda]' on a machine with a GPU", _onnxruntime_cuda),
    "onnxruntime": ("onnxruntime", "pip install 'glic-deploy[cpu]'", _onnxruntime),
    "openvino": ("openvino", "pip install 'glic-deploy[openvino]', then build the library", _openvino),
}


def installed() -> list[str]:
    """Names of the backends whose packages are installed, the best first."""
    return [name for name, (module, _, _) in _BACKENDS.items() if _is_there(module)]


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package that it would be in
        return False


def open_backend(
    bundle: Bundle, name: str | None = None, threads: int | None = None, precision: Precision | None = None
) -> Backend:
    """The backend of that name, or the best one that works here; None as precision takes the backend's own.

    Raises EngineError when there is none, or none that runs the transforms in that precision.
    """
    if name is None:
        return _open_best(bundle, threads, precision)
    if name not in _BACKENDS:
        raise EngineError(f"no backend is called {name!r}; there are: {', '.join(_BACKENDS)}")
    if name not in installed():
        raise EngineError(f"backend {name} is not installed: {_BACKENDS[name][1]}")
    return _open(bundle, name, threads, precision)


def require_precision(backend: Backend, precision: Precision | None) -> None:
    """Raises EngineError unless the backend runs its transforms in that precision; None is any."""
    if precision not in (None, backend.precision):
        raise EngineError(
            f"backend {backend.name} runs this engine's transforms in {backend.precision}, precision {precision} was "
            f"asked for; take precision {backend.precision}, or another backend"
        )


def _open(bundle: Bundle, name: str, threads: int | None, precision: Precision | None) -> Backend:
    backend = _BACKENDS[name][2](bundle, threads, precision)
    try:
        require_precision(backend, precision)
    except EngineError:
        backend.close()
        raise
    return backend


def _open_best(bundle: Bundle, threads: int | None, precision: Precision | None) -> Backend:
    failure: EngineError | None = None
    for name, wanted in _candidates(bundle, threads, precision):
        try:
            return _open(bundle, name, threads, wanted)
        except EngineError as error:
            failure = error
    if failure:
        raise failure
    advice = "; or ".join(f"{remedy} for {key}" for key, (_, remedy, _) in _BACKENDS.items())
    raise EngineError(f"no backend is installed to run the engine with: {advice}")


def _candidates(
    bundle: Bundle, threads: int | None, precision: Precision | None
) -> Iterator[tuple[str, Precision | None]]:
    """Backends and the precision to ask each for, the best first. Whether OpenVINO gains is tried when it matters."""
    names = installed()
    for name in names:
        if name == "onnxruntime" and "openvino" in names and precision is None and _gains_by_openvino(bundle, threads):
            yield "openvino", "bf16"
        # TensorRT is not taken unasked where it would have to build plans first.
        if name != "tensorrt" or bundle.plans():
            yield name, precision


def _gains_by_openvino(bundle: Bundle, threads: int | None) -> bool:
    """Whether OpenVINO would run this bundle in bfloat16; in float32 onnxruntime is as fast, in less memory."""
    from .openvino_precision import fitting

    try:
        return fitting(bundle, threads) == "bf16"
    except EngineError:  # which OpenVINO itself will raise, should it be all that is left
        return False
