"""What there is to know of each backend without importing it. Everything that lists or chooses backends reads this."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from ..errors import EngineError
from .base import Backend, Precision


@dataclass(frozen=True)
class Declaration:
    """One backend.

    Attributes:
        name: what users type.
        purpose: what it runs on, for people.
        module: the module of `glic_deploy.backends` that has its class.
        class_name: that class.
        package: the module that must be importable.
        distributions: packages of the index that can provide it.
        extra: the extra of glic-deploy that installs it.
        device: where it runs.
        precisions: what the transforms can run in, as far as a bundle and the machine have it.
        library: the native library with its ops; None: none of its own.
        library_remedy: what to type to get that library.
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
    library: str | None
    library_remedy: str = "make gpu-libraries"

    @property
    def remedy(self) -> str:
        """What to type where the package is missing."""
        return f"pip install 'glic-deploy[{self.extra}]'"

    def is_installed(self) -> bool:
        """Whether the package is there, without importing it."""
        try:
            return importlib.util.find_spec(self.package) is not None
        except ModuleNotFoundError:  # the package that it would be in
            return False

    def versions(self) -> dict[str, str]:
        """The installed ones of the distributions, with their versions."""
        found = {}
        for name in self.distributions:
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        return found

    def load(self) -> type[Backend]:
        """Import the backend's class. Raises EngineError where its package does not load."""
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
        library="glic_openvino",
        library_remedy="pip install openvino, then from a checkout: pip install --force-reinstall --no-deps .",
    ),
    Declaration(
        name="onnxruntime",
        purpose="any CPU",
        module="onnxruntime",
        class_name="OnnxRuntimeBackend",
        package="onnxruntime",
        distributions=("onnxruntime", "onnxruntime-gpu"),
        extra="cpu",
        device="cpu",
        precisions=("fp32",),
        library="glic_onnxruntime",
        library_remedy="from a checkout, with a C++17 compiler: pip install --force-reinstall --no-deps .",
    ),
)
"""All backends, the best first."""


def by_name(name: str) -> Declaration:
    """The backend of that name. Raises EngineError, which lists all names."""
    for declaration in BACKENDS:
        if declaration.name == name:
            return declaration
    raise EngineError(f"no backend is called {name!r}; expected one of {', '.join(names())}")


def names() -> list[str]:
    """Names of all backends, the best first."""
    return [declaration.name for declaration in BACKENDS]
