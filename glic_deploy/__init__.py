"""GLIC learned image compression on production machines: `Codec(engine).encode(image)`, `.decode(data)`.

Importing this package takes milliseconds: numpy, Pillow and the backends are imported when `Codec` or `pillow` is
first accessed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    BitstreamError,
    CheckpointError,
    DamagedTilesWarning,
    EngineError,
    GlicError,
    ImageError,
    LimitError,
    ModelMismatchError,
    PluginError,
    TargetWarning,
)
from .limits import Limits

if TYPE_CHECKING:
    from . import pillow as pillow
    from .codec import Codec

__version__ = "0.1.0"

__all__ = [
    "BitstreamError",
    "CheckpointError",
    "Codec",
    "DamagedTilesWarning",
    "EngineError",
    "GlicError",
    "ImageError",
    "LimitError",
    "Limits",
    "ModelMismatchError",
    "PluginError",
    "TargetWarning",
    "__version__",
]

_LAZY = {"Codec": ".codec"}
_LAZY_MODULES = frozenset({"pillow"})


def __getattr__(name: str) -> Any:
    if name in _LAZY_MODULES:
        return import_module(f".{name}", __name__)
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_LAZY_MODULES})
