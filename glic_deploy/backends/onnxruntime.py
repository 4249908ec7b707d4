"""onnxruntime on the CPU, the backend that runs anywhere."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime as ort
from numpy.typing import NDArray

from ..bundle import Bundle
from ..errors import EngineError, PluginError
from ..forms import FUSED
from .base import Backend, Offer, Precision
from .declarations import by_name
from .mapped_files import forget_pages
from .precision_trial import fitting, require_bfloat16

if TYPE_CHECKING:
    from typing_extensions import Self

DECLARATION = by_name("onnxruntime")
_FATAL_ONLY = 4


def custom_ops_library() -> str | None:
    """Return the path of the native kernels; None if onnxruntime cannot load them and runs the function bodies."""
    try:
        path = str(DECLARATION.library_path())
    except PluginError:
        return None
    return None if _loading_problem(path) else path


def custom_ops_problem() -> str | None:
    """Return why onnxruntime does not use the native kernels, with the remedy; None if it uses them."""
    try:
        path = str(DECLARATION.library_path())
    except PluginError as error:
        return str(error)
    problem = _loading_problem(path)
    return problem and (
        f"native library {path} does not load into onnxruntime {ort.__version__}: {problem}; "
        f"{DECLARATION.library_remedy}"
    )


@functools.cache
def _loading_problem(path: str) -> str | None:
    try:
        ort.SessionOptions().register_custom_ops_library(path)
    except Exception as error:  # onnxruntime raises a type of its own for every error code
        return str(error)
    return None


def session_options(threads: int, *, optimize: bool = True, products: Precision = "fp32") -> ort.SessionOptions:
    """Return the options of a CPU session, with the native kernels.

    Args:
        threads: the number of threads; 0: onnxruntime uses all cores.
        optimize: False disables onnxruntime's graph optimizations.
        products: the precision in which the ops of whole blocks multiply, fp32 or bf16.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Every graph would have an arena that never shrinks. The native library's pool for maps serves all graphs instead.
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.use_env_allocators", "1")
    # Each session has its own threads. The threads of an idle session must not spin while the next session runs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("glic.products", products)  # read by the native library below
    library = custom_ops_library()
    if library is not None:
        options.register_custom_ops_library(library)
    return options


def open_session(
    path: Path, threads: int, *, optimize: bool = True, products: Precision = "fp32"
) -> ort.InferenceSession:
    """Open a CPU session of one graph file, with these `session_options`."""
    options = session_options(threads, optimize=optimize, products=products)
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class OnnxRuntimeBackend(Backend):
    """Runs the graphs of one bundle in sessions that are opened when a graph is first run.

    Args:
        bundle: the bundle.
        threads: threads of each session; None uses all cores.
        precision: the precision of the transforms; None: fp32.
        forms: the forms of a graph to run, in order of preference; None reads them from the backend's declaration.
        optimize: False disables onnxruntime's graph optimizations, for comparison.
        emulate: whether to emulate bf16, slowly, on CPUs without it, to measure its noise.

    Raises EngineError if the CPU, the native kernels or the bundle lack the precision.
    """

    name = DECLARATION.name

    def __init__(
        self,
        bundle: Bundle,
        threads: int | None = None,
        *,
        precision: Precision | None = None,
        forms: Sequence[str] | None = None,
        optimize: bool = True,
        emulate: bool = False,
    ) -> None:
        self._bundle = bundle
        self.precision = precision or "fp32"
        problem = custom_ops_problem()
        if problem and forms is None:
            self.notices.add(f"onnxruntime runs the graphs without the native kernels, many times slower: {problem}")
        self._forms = tuple(forms or (DECLARATION.forms_without_library if problem else DECLARATION.forms))
        if self.precision != "fp32":
            self._require_products(problem, emulate)
        self._optimize = optimize
        self._threads = threads or 0
        self._sessions: dict[str, ort.InferenceSession] = {}
        self._lock = threading.Lock()

    @classmethod
    def check_machine(cls) -> str:
        providers = ", ".join(name.removesuffix("ExecutionProvider") for name in ort.get_available_providers())
        installed = DECLARATION.versions()
        if len(installed) > 1:
            raise EngineError(
                f"{' and '.join(installed)} are both installed and overwrite each other's files; remove both and "
                f"install one: pip uninstall -y {' '.join(installed)}; {DECLARATION.remedy}"
            )
        return f"onnxruntime {ort.__version__} ({providers})"

    def _require_products(self, problem: str | None, emulate: bool) -> None:
        """Raise EngineError unless the CPU, the kernels and the bundle allow products in `precision`."""
        if self.precision not in DECLARATION.precisions:
            known = " or ".join(DECLARATION.precisions)
            raise EngineError(f"onnxruntime runs the transforms in {known}, not in {self.precision} on a CPU")
        require_bfloat16(emulate)
        if problem:
            raise EngineError(f"precision {self.precision} needs the native kernels: {problem}")
        if not self._has_products():
            raise EngineError(
                f"this bundle's transforms have no form {FUSED}, which precision {self.precision} needs; export the "
                "checkpoint again, or use precision fp32"
            )

    def _has_products(self) -> bool:
        """Return whether the transforms run as ops of ours that multiply."""
        return FUSED in self._forms and self._bundle.has_form("analysis", FUSED)

    @classmethod
    def offer(cls, bundle: Bundle, threads: int | None, precision: Precision | None) -> Offer:
        return Offer(precision)

    @classmethod
    def open(cls, bundle: Bundle, threads: int | None, precision: Precision | None) -> Self:
        plain = cls(bundle, threads)
        if precision is None and custom_ops_library() is not None and plain._has_products():
            precision = fitting(bundle, lambda wanted: cls(bundle, threads, precision=wanted))
        return plain if precision in (None, "fp32") else cls(bundle, threads, precision=precision)

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        session = self._session(graph)
        try:
            outputs: list[NDArray[Any]] = session.run(None, dict(inputs))
        except Exception as error:  # onnxruntime raises a type of its own for every error code
            shapes = ", ".join(f"{name} {value.dtype}{list(value.shape)}" for name, value in inputs.items())
            raise EngineError(
                f"onnxruntime cannot run {graph} on {shapes}: {error}; "
                "if memory ran out, free some or code a smaller image, else run: glic doctor --engine DIR"
            ) from error
        return outputs

    def _session(self, graph: str) -> ort.InferenceSession:
        with self._lock:
            if graph not in self._sessions:
                path = self._bundle.graph(graph, self._forms_of(graph))
                try:
                    self._sessions[graph] = self._open(graph, path)
                except EngineError:
                    raise
                except Exception as error:
                    raise EngineError(f"onnxruntime {ort.__version__} cannot open {path}: {error}") from error
            return self._sessions[graph]

    def _forms_of(self, graph: str) -> Sequence[str]:
        """Return the forms in which to run a graph, in order of preference."""
        return self._forms

    def _open(self, graph: str, path: Path) -> ort.InferenceSession:
        session = open_session(path, self._threads, optimize=self._optimize, products=self.precision)
        forget_pages(path.parent)  # the session has packed copies of most weights, and reads the rest again
        return session

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": ort.__version__,
            "threads": self._threads or "all cores",
            "precision": self.precision,
            "custom_ops": custom_ops_library(),
            "graphs": ", ".join(self._forms) + ("" if self._optimize else ", not optimized"),
        }

    def close(self) -> None:
        with self._lock:
            self._sessions.clear()
