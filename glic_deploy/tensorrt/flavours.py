"""TensorRT 10 and 11 and TensorRT-RTX behind one interface, loaded together with the plugin library."""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import importlib.util
import threading
from dataclasses import dataclass
from typing import Any

from ..backends import declarations
from ..errors import EngineError
from ..native import load as load_native
from ..ops import OPS

NAMESPACE = "glic"
_LIBRARY = "tensorrt"  # as the table of ops names it
_RTX_ALIAS = "glic_rtx_alias"
DECLARATION = declarations.by_name("tensorrt")

Capability = tuple[int, int]

RTX_CAPABILITIES: tuple[Capability, ...] = ((8, 0), (8, 6), (8, 9), (12, 0), (12, 1))
"""The compute capabilities that one TensorRT-RTX plan supports. Data-centre GPUs such as 9.0 need TensorRT."""


def shown(*capabilities: Capability) -> str:
    """Return compute capabilities as NVIDIA writes them, such as `8.6, 8.9`."""
    return ", ".join(f"{major}.{minor}" for major, minor in capabilities)


FLAVOURS = {"tensorrt": "tensorrt", "rtx": "tensorrt_rtx"}
"""The flavours and their Python modules."""

INSTALL = {"tensorrt": "pip install tensorrt", "rtx": "pip install tensorrt-rtx"}

_lock = threading.Lock()
_loaded: dict[str, Flavour] = {}


@dataclass(frozen=True)
class Flavour:
    """A loaded flavour with the ops registered.

    Attributes:
        name: a key of FLAVOURS.
        api: its Python module.
        version: the version of the module.
        logger: the logger of its objects, which writes errors and warnings to the standard error stream.
        plugins: the SHA-256 of the plugin library.
    """

    name: str
    api: Any
    version: str
    logger: Any
    plugins: str


def installed() -> list[str]:
    """Return the names of the installed flavours."""
    return [name for name, module in FLAVOURS.items() if importlib.util.find_spec(module)]


def choose(capability: Capability | None, name: str | None = None) -> str:
    """Return the flavour for a GPU of this compute capability (None: this machine has no GPU), or check `name`.

    Raises EngineError if the flavour is not installed or does not support that GPU.
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
    # Without a GPU, only TensorRT-RTX can build plans.
    return "rtx" if capability is None and "rtx" in fitting else fitting[0]


def load(name: str) -> Flavour:
    """Import a flavour and register the ops' plugins with it, once for each process.

    Raises EngineError if the flavour is missing or refuses the plugin library, PluginError if that was not built.
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
        # The parser opens the library by a name that is not in its wheel. The alias stays loaded.
        _keep(load_native(_RTX_ALIAS, DECLARATION.library_remedy))
    logger = api.Logger(api.Logger.WARNING)
    registry = api.get_plugin_registry()
    registry.load_library(str(library))  # returns None if it fails, and also if the library is loaded already
    ops = {creator.name for creator in registry.all_creators if creator.plugin_namespace == NAMESPACE}
    if not ops >= {op.name for op in OPS.values() if _LIBRARY in op.libraries}:
        raise EngineError(
            f"TensorRT {api.__version__} does not take the ops' plugin library {library}; install it again: "
            f"{DECLARATION.library_remedy}"
        )
    return Flavour(name, api, api.__version__, logger, hashlib.sha256(library.read_bytes()).hexdigest())


_kept: list[ctypes.CDLL] = []


def _keep(library: ctypes.CDLL) -> None:
    _kept.append(library)
