"""OpenVINO on the CPU, in bfloat16 on CPUs with matrix units for bfloat16."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from .. import __version__, cache, conformance, machine
from ..bundle import Bundle
from ..errors import EngineError
from .base import Backend, Offer, Precision
from .declarations import ON_THE_CPU, by_name
from .openvino_mixed import lower_products
from .precision_trial import fitting, require_bfloat16

if TYPE_CHECKING:
    from typing_extensions import Self

DECLARATION = by_name("openvino")
_INSTEAD = f"or use another backend: {ON_THE_CPU}"

_VERSION = ov.__version__.partition("-")[0]

_COMPILED_LIMIT = 1 << 30  # bytes of all compiled models, as exported
_DISK_LIMIT = 4 << 30  # bytes of the compiled models in the cache

_Arrays = Mapping[str, NDArray[Any]]
_Key = tuple[str, tuple[tuple[str, tuple[int, ...]], ...]]


def extension_path() -> str:
    """Return the path of the ops' library. Raises PluginError, with the remedy, if it is missing."""
    return str(DECLARATION.library_path())


class OpenVinoBackend(Backend):
    """Runs the graphs of one bundle. Each graph is compiled for every image size when that size first occurs.

    Args:
        bundle: the bundle.
        threads: the number of threads; None uses all physical cores.
        precision: the precision of the transforms; None: fp32.
        streams: the number of images that run concurrently, each with its share of the threads. `run` must be called
            from as many threads.
        forms: the forms of a graph to run, in order of preference; None reads them from the backend's declaration.
        emulate: whether to emulate bf16, slowly, on CPUs without it, to measure its noise.

    Raises EngineError if the CPU, the ops' library or the precision is not available.
    """

    name = DECLARATION.name

    def __init__(
        self,
        bundle: Bundle,
        threads: int | None = None,
        *,
        precision: Precision | None = None,
        streams: int = 1,
        forms: Sequence[str] | None = None,
        emulate: bool = False,
    ) -> None:
        _require_cpu()
        self._bundle = bundle
        self._image_graphs = frozenset(bundle.image_graphs())
        self._threads = threads
        self._streams = streams
        self._forms = tuple(forms or DECLARATION.forms)
        self._library = extension_path()
        self._core = _open_core(self._library)
        self.precision = precision or "fp32"
        if self.precision not in DECLARATION.precisions:
            known = " or ".join(DECLARATION.precisions)
            raise EngineError(f"OpenVINO runs the transforms in {known}, not in {precision}; {_INSTEAD}")
        if self.precision == "bf16":
            require_bfloat16(emulate)
        self._compiled: OrderedDict[_Key, _Compiled] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def check_machine(cls) -> str:
        _require_cpu()
        _open_core(extension_path())
        arithmetic = "fp32 and bf16" if machine.has_bfloat16() else "fp32, this CPU has no bf16"
        return f"OpenVINO {_VERSION} ({arithmetic})"

    @classmethod
    def offer(cls, bundle: Bundle, threads: int | None, precision: Precision | None) -> Offer:
        """Offer bf16 if a trial shows that it pays off. In fp32, onnxruntime is as fast and needs less memory."""
        wanted = precision or cls._fitting(bundle, threads)
        return Offer(wanted, last_resort=wanted != "bf16")

    @classmethod
    def open(cls, bundle: Bundle, threads: int | None, precision: Precision | None) -> Self:
        return cls(bundle, threads, precision=precision or cls._fitting(bundle, threads))

    @classmethod
    def _fitting(cls, bundle: Bundle, threads: int | None) -> Precision:
        return fitting(bundle, lambda precision: cls(bundle, threads, precision=precision))

    def run(self, graph: str, inputs: _Arrays) -> list[NDArray[Any]]:
        arrays = {name: np.require(array, requirements=["C", "W"]) for name, array in inputs.items()}
        try:
            compiled = self._acquire(graph, arrays)
            try:
                return compiled.run(arrays)
            finally:
                self._release(compiled)
        except EngineError:
            raise
        except Exception as error:  # OpenVINO raises RuntimeErrors, also for the errors of our ops
            shapes = ", ".join(f"{name} {value.dtype}{list(value.shape)}" for name, value in arrays.items())
            raise EngineError(
                f"OpenVINO {_VERSION} cannot run {graph} on {shapes}: {error}; "
                f"if memory ran out, free some or code a smaller image, {_INSTEAD}"
            ) from error

    def _acquire(self, graph: str, arrays: _Arrays) -> _Compiled:
        """Return the model for these inputs, compiled if necessary. Its memory is not freed until `_release`."""
        key = graph, tuple((name, array.shape) for name, array in arrays.items())
        with self._lock:
            compiled = self._compiled.get(key)
            if graph in self._image_graphs:
                for other in self._compiled.values():
                    if other.large and other is not compiled:
                        other.release_memory()
            if compiled is None:
                compiled = self._compiled[key] = self._compile(graph, arrays)
                self._evict()
            self._compiled.move_to_end(key)
            compiled.users += 1
            return compiled

    def _release(self, compiled: _Compiled) -> None:
        with self._lock:
            compiled.users -= 1

    def _evict(self) -> None:
        total = sum(compiled.size for compiled in self._compiled.values())
        for key, compiled in list(self._compiled.items())[:-1]:
            if total <= _COMPILED_LIMIT:
                return
            if not compiled.users:
                del self._compiled[key]
                total -= compiled.size

    def _compile(self, graph: str, arrays: _Arrays) -> _Compiled:
        """Return the model for these inputs from the disk, or compile it and keep it there."""
        path = self._bundle.graph(graph, self._forms)
        large = graph in self._image_graphs
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        entry = f"{DECLARATION.name}/{self._identity(graph, shapes)}"
        exported = cache.unsealed(cache.fetch(entry))
        if exported is not None:
            with contextlib.suppress(RuntimeError):
                return _Compiled(self._import(exported), len(exported), large)
        model = self._core.read_model(path)
        if large and self.precision == "bf16":
            lower_products(model)
        model.reshape(shapes)
        compiled = self._core.compile_model(model, "CPU", self._options())
        data = compiled.export_model().getvalue()
        cache.store(entry, cache.sealed(data), limit=_DISK_LIMIT)
        return _Compiled(compiled, len(data), large)

    def _import(self, exported: memoryview) -> ov.CompiledModel:
        return self._core.import_model(bytes(exported), "CPU", self._options())

    def _identity(self, graph: str, shapes: Mapping[str, Sequence[int]]) -> str:
        """Return a digest of everything that a compiled model depends on."""
        parts = {
            "run": conformance.identity(self._bundle, self),
            "versions": [ov.__version__, __version__],
            "graph": graph,
            "shapes": shapes,
            "options": self._options(),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            # The defaults select the fastest precision. On some CPUs that is bfloat16, which would break the entropy
            # path. `lower_products` writes bfloat16 into the transforms as types.
            "INFERENCE_PRECISION_HINT": "f32",
            "EXECUTION_MODE_HINT": "ACCURACY",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
            "NUM_STREAMS": self._streams,
            "ENABLE_CPU_PINNING": False,  # Two processes would pin their threads to the same cores.
        }
        if self._threads:
            options["INFERENCE_NUM_THREADS"] = self._threads
        return options

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": _VERSION,
            "threads": self._threads or "all cores",
            "precision": self.precision,
            "streams": self._streams,
            "custom_ops": self._library,
            "graphs": ", ".join(self._forms),
        }

    def trim(self) -> None:
        with self._lock:
            for key in [key for key, compiled in self._compiled.items() if not compiled.users]:
                del self._compiled[key]

    def close(self) -> None:
        with self._lock:
            self._compiled.clear()


class _Compiled:
    """A model compiled for one shape of each input, with its idle inference requests.

    size: its bytes as exported. large: whether its intermediate maps are so large that they are freed when
    another large model runs.
    """

    def __init__(self, model: ov.CompiledModel, size: int, large: bool) -> None:
        self._model = model
        self.size = size
        self.large = large
        self.users = 0
        self._idle: list[ov.InferRequest] = []

    def run(self, arrays: _Arrays) -> list[NDArray[Any]]:
        """Return the outputs of one inference. Inputs and outputs are not copied."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._model.create_infer_request()
        for name, array in arrays.items():
            request.set_tensor(name, ov.Tensor(array, shared_memory=True))
        outputs: list[NDArray[Any]] = []
        for number, port in enumerate(self._model.outputs):
            array = np.empty(list(port.shape), port.element_type.to_dtype())
            request.set_output_tensor(number, ov.Tensor(array, shared_memory=True))
            outputs.append(array)
        request.infer()
        self._idle.append(request)
        return outputs

    def release_memory(self) -> None:
        """Free the memory of the maps, unless they are in use. The next run allocates it again."""
        if not self.users:
            self._model.release_memory()


def _require_cpu() -> None:
    """Raise EngineError on a CPU where OpenVINO would be slower than any other backend."""
    found = machine.cpu()["instructions"]
    if "avx2" not in found and "asimd" not in found:
        raise EngineError(
            f"the OpenVINO backend needs a CPU with AVX2, this CPU has {' '.join(found) or 'nothing'}; {_INSTEAD}"
        )


def _open_core(library: str) -> ov.Core:
    """Return an OpenVINO core with the ops."""
    core = ov.Core()
    try:
        core.add_extension(library)
    except RuntimeError as error:
        raise EngineError(
            f"{library} does not fit OpenVINO {_VERSION}: {error}; {DECLARATION.library_remedy}; {_INSTEAD}"
        ) from error
    return core
