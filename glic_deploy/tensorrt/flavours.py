"""TensorRT 10 and 11 and TensorRT-RTX: one Python face, loaded with the plugin library in place."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import threading
from dataclasses import dataclass
from typing import Any

from ..backends import declarations
from ..errors import EngineError
from ..native import load as load_native

NAMESPACE = "glic"
_RTX_ALIAS = "glic_rtx_alias"
DECLARATION = declarations.by_name("tensorrt")

Capability = tuple[int, int]

RTX_CAPABILITIES: tuple[Capability, ...] = ((8, 0), (8, 6), (8, 9), (12, 0), (12, 1))
"""What both TensorRT-RTX and our kernels serve, in one plan. Data-centre GPUs such as 9.0 need TensorRT itself."""


def shown(*capabilities: Capability) -> str:
    """Compute capabilities as NVIDIA writes them, such as `8.6, 8.9`."""
    return ", ".join(f"{major}.{minor}" for major, minor in capabilities)


FLAVOURS = {"tensorrt": "tensorrt", "rtx": "tensorrt_rtx"}
"""Flavours and their Python modules."""

INSTALL = {"tensorrt": "pip install tensorrt", "rtx": "pip install tensorrt-rtx"}

_lock = threading.Lock()
_loaded: dict[str, Flavour] = {}


@dataclass(frozen=True)
class Flavour:
    """A flavour that is loaded, with the ops registered.

    Attributes:
        name: a key of FLAVOURS.
        api: its Python module.
        version: as the module says.
        logger: what its objects log to: errors and warnings, on the standard error stream.
    """

    name: str
    api: Any
    version: str
    logger: Any


def installed() -> list[str]:
    """Names of the flavours whose modules are there."""
    return [name for name, module in FLAVOURS.items() if importlib.util.find_spec(module)]


def choose(capability: Capability | None, name: str | None = None) -> str:
    """The flavour to use on a GPU of this compute capability (None: no GPU here), or the one that is asked for.

    Raises EngineError when it is not installed or cannot serve that GPU.
    """
    available = installed()
    if name is not None:
        if name not in FLAVOURS:
            raise EngineError(f"no flavour of TensorRT is called {name!r}; there are: {', '.join(FLAVOURS)}")
        if name not in available:
            raise EngineError(f"TensorRT flavour {name} is not installed: {INSTALL[name]}")
        fitting = [name]
    else:
        fitting = available
    if capability is not None and capability not in RTX_CAPABILITIES:
        fitting = [flavour for flavour in fitting if flavour != "rtx"]
        if not fitting:
            raise EngineError(
                f"TensorRT-RTX does not serve compute capability {shown(capability)}, expected one of "
                f"{shown(*RTX_CAPABILITIES)}; this GPU needs TensorRT: {INSTALL['tensorrt']}"
            )
    if not fitting:
        raise EngineError(f"no TensorRT is installed: {' or '.join(INSTALL.values())}")
    # Without a GPU only TensorRT-RTX builds.
    return "rtx" if capability is None and "rtx" in fitting else fitting[0]


def load(name: str) -> Flavour:
    """Import a flavour and register the ops' plugins with it; once for each process.

    Raises EngineError when it is missing or does not take the plugin library, PluginError when that was not built.
    """
    with _lock:
        if name not in _loaded:
            _loaded[name] = _load(name)
        return _loaded[name]


def _load(name: str) -> Flavour:
    try:
        api = importlib.import_module(FLAVOURS[name])
    except (ImportError, OSError) as error:
        raise EngineError(f"TensorRT flavour {name} does not load: {error}; reinstall it: {INSTALL[name]}") from error
    library = DECLARATION.library_path()
    if name == "rtx":
        # Its parser opens the library by a name that its wheel has not; it never leaves memory again.
        _keep(load_native(_RTX_ALIAS, DECLARATION.library_remedy))
    logger = api.Logger(api.Logger.WARNING)
    registry = api.get_plugin_registry()
    registry.load_library(str(library))  # gives None on failure, or where it is loaded already
    ops = {creator.name for creator in registry.all_creators if creator.plugin_namespace == NAMESPACE}
    if not ops >= {"DynamicKnn", "ScatterAggregate"}:
        raise EngineError(
            f"TensorRT {api.__version__} does not take the ops' plugin library {library}; build it again: "
            "make gpu-libraries"
        )
    return Flavour(name, api, api.__version__, logger)


_kept: list[ctypes.CDLL] = []


def _keep(library: ctypes.CDLL) -> None:
    _kept.append(library)
