"""Declares every backend without importing it. Whatever lists or selects backends reads these declarations."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from ..errors import EngineError, PluginError
from ..forms import BASE, BF16, CUDA, FP16, FUSED, NATIVE, TENSORRT
from ..native import library_path
from .base import Backend, Precision

GPU_LIBRARIES = "pip install glic-deploy-cuda, or from a checkout: make gpu-libraries"
"""How to install the native libraries of the GPU backends."""


@dataclass(frozen=True)
class Declaration:
    """Declares one backend.

    Attributes:
        name: the name that users type.
        purpose: the hardware that it runs on, for people.
        module: the module of `glic_deploy.backends` with its class.
        class_name: the name of the class.
        package: the Python module that must be importable.
        distributions: the packages of the index that can provide that module.
        extra: the extra of glic-deploy that installs one of them.
        device: the device that it runs on.
        precisions: the precisions that the transforms can run in, if the bundle and the machine have them.
        forms: the forms of a graph that it runs, in order of preference.
        exact_forms: the same, of a graph of the exact entropy path; empty: `forms`.
        library: the name of the native library with its ops; None if it needs none.
        library_remedy: the command that installs that library.
        forms_without_library: the forms that it can also run without that library, likewise.
    """

    name: str
    purpose: str
    module: str
    class_name: str
    package: str
    distributions: tuple[str, ...]
    extra: str
    device: Literal["cpu", "gpu"]
    precisions: tuple[Precision, ...]
    forms: tuple[str, ...]
    exact_forms: tuple[str, ...] = ()
    library: str | None = None
    library_remedy: str = GPU_LIBRARIES
    forms_without_library: tuple[str, ...] = ()

    @property
    def remedy(self) -> str:
        """The command that installs the package, and the one for the library if the backend needs it and lacks it."""
        package = f"pip install 'glic-deploy[{self.extra}]'"
        if self.library is None or self.forms_without_library:
            return package
        try:
            self.library_path()
        except PluginError:
            return f"{package}, then {self.library_remedy}"
        return package

    def is_installed(self) -> bool:
        """Return whether the package is installed, without importing it."""
        try:
            return importlib.util.find_spec(self.package) is not None
        except ModuleNotFoundError:  # the parent package is missing
            return False

    def versions(self) -> dict[str, str]:
        """Return the versions of the distributions that are installed, by name."""
        found = {}
        for name in self.distributions:
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        return found

    def library_path(self) -> Path:
        """Return the path of the native library. Raises PluginError, with the remedy, if it is missing."""
        if self.library is None:
            raise EngineError(f"backend {self.name} declares no native library; set `library` in its declaration")
        return library_path(self.library, self.library_remedy)

    def load(self) -> type[Backend]:
        """Import the backend's class. Raises EngineError if its package cannot be imported."""
        try:
            module = importlib.import_module(f".{self.module}", __package__)
        except (ImportError, OSError) as error:
            raise EngineError(
                f"backend {self.name} does not load: {error}; reinstall its package: {self.remedy}"
            ) from error
        loaded: type[Backend] = getattr(module, self.class_name)
        return loaded


BACKENDS = (
    Declaration(
        name="tensorrt",
        purpose="NVIDIA GPUs, with TensorRT or TensorRT-RTX",
        module="tensorrt",
        class_name="TensorRTBackend",
        package="cuda.bindings",
        distributions=("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "tensorrt-rtx"),
        extra="tensorrt",
        device="gpu",
        precisions=("fp16", "bf16", "fp32"),
        forms=(TENSORRT,),
        library="glic_tensorrt",
    ),
    Declaration(
        name="onnxruntime-cuda",
        purpose="NVIDIA GPUs, without TensorRT",
        module="onnxruntime_cuda",
        class_name="OnnxRuntimeCudaBackend",
        package="onnxruntime",
        distributions=("onnxruntime-gpu",),
        extra="cuda",
        device="gpu",
        precisions=("fp16", "bf16", "fp32"),
        forms=(FP16, BF16, CUDA, BASE),
        exact_forms=(CUDA, NATIVE),
        library="glic_onnxruntime_cuda",
    ),
    Declaration(
        name="openvino",
        purpose="CPUs, in bf16 if the CPU has it",
        module="openvino",
        class_name="OpenVinoBackend",
        package="openvino",
        distributions=("openvino",),
        extra="openvino",
        device="cpu",
        precisions=("fp32", "bf16"),
        forms=(NATIVE, BASE),
        library="glic_openvino",
        library_remedy="from a checkout: pip install --force-reinstall --no-deps .",
    ),
    Declaration(
        name="onnxruntime",
        purpose="any CPU, in bf16 if the CPU has it",
        module="onnxruntime",
        class_name="OnnxRuntimeBackend",
        package="onnxruntime",
        distributions=("onnxruntime", "onnxruntime-gpu"),
        extra="cpu",
        device="cpu",
        precisions=("fp32", "bf16"),
        forms=(FUSED, NATIVE, BASE),
        forms_without_library=(BASE,),
        library="glic_onnxruntime",
        library_remedy="from a checkout, with a C++17 compiler: pip install --force-reinstall --no-deps .",
    ),
)
"""All backends, the best first; the last runs anywhere."""

ON_THE_CPU = f"--backend {BACKENDS[-1].name}, or Codec(engine, backend='{BACKENDS[-1].name}')"
"""How to select the backend that runs anywhere, on the command line and in Python."""


def by_name(name: str) -> Declaration:
    """Return the backend of that name. Raises EngineError, which lists all names."""
    for declaration in BACKENDS:
        if declaration.name == name:
            return declaration
    raise EngineError(f"no backend is called {name!r}; expected one of {', '.join(names())}")


def names() -> list[str]:
    """Return the names of all backends, the best first."""
    return [declaration.name for declaration in BACKENDS]
