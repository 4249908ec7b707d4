"""Make Polygraphy runners of a bundle's graphs: every form on onnxruntime, our backends, and TensorRT's plans."""

from __future__ import annotations

import functools
import importlib.util
import os
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import onnxruntime as ort
from numpy.typing import NDArray
from polygraphy import config as polygraphy_config
from polygraphy.backend.base import BaseRunner
from polygraphy.backend.onnxrt import OnnxrtRunner
from polygraphy.common import TensorMetadata
from polygraphy.logger import G_LOGGER

from glic_deploy.backends import Backend, Precision, open_backend
from glic_deploy.backends.onnxruntime import custom_ops_library, open_session
from glic_deploy.bundle import BASE, NATIVE, TENSORRT, Bundle
from glic_deploy.errors import EngineError

Arrays = Mapping[str, NDArray[Any]]


def silence() -> AbstractContextManager[Any]:
    """Keep Polygraphy from writing to the terminal: its exceptions contain the same texts."""
    silenced: AbstractContextManager[Any] = G_LOGGER.verbosity(G_LOGGER.CRITICAL + 1)
    return silenced


_HALVES: tuple[Precision, ...] = ("fp16", "bf16")


@dataclass(frozen=True)
class Configuration:
    """Describe one way to run the graphs of a bundle.

    Attributes:
        name: the name for `--runners`.
        precision: precision of the transforms; the entropy path is exact in any precision.
        runner: function that makes the Polygraphy runner of a graph, or returns None if there is no such graph.
        close: function that frees the resources that the runners share.
    """

    name: str
    precision: Precision
    runner: Callable[[str], BaseRunner | None]
    close: Callable[[], None] = lambda: None


class BackendRunner(BaseRunner):
    """Run a graph on one of our backends, as `Codec` does."""

    def __init__(self, backend: Backend, bundle: Bundle, graph: str, name: str) -> None:
        super().__init__(name=name)
        self._backend, self._bundle, self._graph = backend, bundle, graph

    def get_input_metadata_impl(self) -> TensorMetadata:
        metadata = TensorMetadata()
        for port in self._bundle.ports(self._graph)[0]:
            metadata.add(port.name, dtype=port.dtype, shape=port.shape)
        return metadata

    def infer_impl(self, feed_dict: Arrays) -> dict[str, NDArray[Any]]:
        start = time.perf_counter()
        outputs = self._backend.run(self._graph, feed_dict)
        self.inference_time = time.perf_counter() - start
        return dict(zip(self._bundle.outputs(self._graph), outputs, strict=True))

    def deactivate_impl(self) -> None:
        self._backend.trim()


def of_backend(backend: Backend, bundle: Bundle, name: str) -> Configuration:
    """Return a configuration that runs all graphs on one of our backends and closes the backend at the end."""

    def runner(graph: str) -> BaseRunner:
        return BackendRunner(backend, bundle, graph, name)

    return Configuration(name, backend.precision, runner, backend.close)


Open = Callable[[], Configuration]


def known(bundle: Bundle, threads: int | None) -> dict[str, Open]:
    """Return functions that open the configurations of a bundle, by name, the reference first.

    A function raises EngineError if its configuration does not work here.
    """
    found = {form: None for graph in bundle.graphs() for form in bundle.manifest.graphs[graph].forms}
    openers: dict[str, Open] = {
        _form_name(form): functools.partial(_of_form, bundle, form, threads or 0)
        for form in sorted(found, key=lambda form: form != BASE)
    }
    backends: list[tuple[str, Precision | None]] = [("openvino", "fp32"), ("openvino", "bf16")]
    for name, precision in [*backends, ("onnxruntime-cuda", None)]:
        shown = f"{name}-{precision}" if precision == "bf16" else name
        openers[shown] = functools.partial(_of_named, bundle, name, threads, precision, shown)
    # Both configurations share one backend, because opening it may build the plans.
    tensorrt = functools.cache(lambda: open_backend(bundle, "tensorrt"))
    openers["tensorrt"] = lambda: of_backend(tensorrt(), bundle, "tensorrt")
    openers["tensorrt-plan"] = lambda: of_plans(tensorrt())
    return openers


def _of_named(bundle: Bundle, name: str, threads: int | None, precision: Precision | None, shown: str) -> Configuration:
    return of_backend(open_backend(bundle, name, threads, precision), bundle, shown)


def open_all(
    bundle: Bundle, threads: int | None = None, names: Sequence[str] | None = None
) -> tuple[list[Configuration], dict[str, str]]:
    """Open the configurations with these names, or all configurations that work here.

    Returns the configurations, and the reason for each configuration that does not work. Raises EngineError if a given
    name is unknown or does not work here.
    """
    openers = known(bundle, threads)
    for name in names or ():
        if name not in openers:
            raise EngineError(f"no runner of {bundle.path} is called {name!r}; there are: {', '.join(openers)}")
    opened: list[Configuration] = []
    missing: dict[str, str] = {}
    for name in dict.fromkeys(names or openers):
        try:
            opened.append(openers[name]())
        except EngineError as error:
            if names:
                close_all(opened)
                raise EngineError(f"runner {name} does not work here: {error}") from None
            missing[name] = str(error)
    return opened, missing


def close_all(configurations: Sequence[Configuration]) -> None:
    """Close all configurations."""
    for configuration in configurations:
        configuration.close()


def _form_name(form: str) -> str:
    """Return the runner's name of a form. The name `tensorrt` belongs to the backend."""
    return "tensorrt-graph" if form == TENSORRT else form


def _of_form(bundle: Bundle, form: str, threads: int) -> Configuration:
    """Return the configuration of one form on onnxruntime's CPU provider, with our library in each session."""
    name = _form_name(form)
    forms = {name: graph.forms for name, graph in bundle.manifest.graphs.items()}
    paths = {graph: bundle.graph(graph, [form]) for graph, entry in forms.items() if form in entry}
    if form == NATIVE and custom_ops_library() is None:
        raise EngineError(
            "its graphs need the native library glic_onnxruntime; install a C++17 compiler, then glic-deploy again"
        )
    precision = _precision(bundle, form)
    if precision != "fp32":
        _require_precision(next(iter(paths.values())), threads, precision)

    def runner(graph: str) -> BaseRunner | None:
        if graph not in paths:
            return None
        return OnnxrtRunner(lambda: open_session(paths[graph], threads), name=name)

    return Configuration(name, precision, runner)


def _precision(bundle: Bundle, form: str) -> Precision:
    if form == TENSORRT:
        stated = bundle.precision([TENSORRT])
        return next((known for known in get_args(Precision) if known == stated), "fp32")
    return next((half for half in _HALVES if half == form), "fp32")


def _require_precision(path: Path, threads: int, precision: Precision) -> None:
    try:
        open_session(path, threads)
    except Exception as error:  # onnxruntime has a type for each error code
        raise EngineError(
            f"onnxruntime {ort.__version__} runs no {precision} graphs on the CPU: {in_short(error)}"
        ) from None


def of_plans(backend: Any) -> Configuration:
    """Return the configuration of Polygraphy's TrtRunner on the engines that our TensorRT backend deserialised."""
    # Polygraphy chooses between TensorRT and TensorRT-RTX when it imports one of them.
    polygraphy_config.USE_TENSORRT_RTX = backend.flavour.name == "rtx"
    from polygraphy.backend.trt import TrtRunner

    require_cuda_runtime()

    def runner(graph: str) -> BaseRunner:
        return TrtRunner(lambda: backend.cuda_engine(graph), name="tensorrt-plan")

    return Configuration("tensorrt-plan", backend.precision, runner, backend.close)


def require_cuda_runtime() -> None:
    """Load the CUDA runtime library that TrtRunner calls. Raises EngineError if there is none.

    Polygraphy searches the folders of LD_LIBRARY_PATH, of CUDA and of NVIDIA's wheels for CUDA 12. This function adds
    the folder of the wheels for CUDA 13.
    """
    from polygraphy import cuda

    paths = os.environ.get("LD_LIBRARY_PATH")
    os.environ["LD_LIBRARY_PATH"] = os.pathsep.join([*_cuda_13_folders(), *([paths] if paths else [])])
    try:
        with silence():
            cuda.wrapper()
    except Exception as error:  # OSError, or Polygraphy's own
        raise EngineError(f"Polygraphy finds no CUDA runtime ({error}): pip install nvidia-cuda-runtime") from None
    finally:
        del os.environ["LD_LIBRARY_PATH"]
        if paths is not None:
            os.environ["LD_LIBRARY_PATH"] = paths


def _cuda_13_folders() -> list[str]:
    spec = importlib.util.find_spec("nvidia.cu13") if _is_installed("nvidia") else None
    return [os.path.join(folder, "lib") for folder in (spec and spec.submodule_search_locations) or ()]


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package is missing
        return False


def in_short(error: Exception) -> str:
    """Return an error's message on one line of at most 160 characters."""
    return textwrap.shorten(str(error), 160, placeholder=" ...") or type(error).__name__
