"""GLIC learned image compression on production machines: `Codec(engine).encode(image)`, `.decode(data)`.

Importing this package takes milliseconds: numpy, Pillow and the backends are imported when `Codec`, `Metadata` or
`pillow` is first accessed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    BitstreamError,
    CheckpointError,
    DamagedMetadataWarning,
    DamagedTilesWarning,
    DroppedMetadataWarning,
    EngineError,
    GlicError,
    ImageError,
    LimitError,
    ModelMismatchError,
    PluginError,
    ReducedImageWarning,
    TargetError,
    TargetWarning,
)
from .limits import Limits

if TYPE_CHECKING:
    from . import pillow as pillow
    from .codec import Codec
    from .metadata import Metadata, read_metadata

__version__ = "0.1.0"

__all__ = [
    "BitstreamError",
    "CheckpointError",
    "Codec",
    "DamagedMetadataWarning",
    "DamagedTilesWarning",
    "DroppedMetadataWarning",
    "EngineError",
    "GlicError",
    "ImageError",
    "LimitError",
    "Limits",
    "Metadata",
    "ModelMismatchError",
    "PluginError",
    "ReducedImageWarning",
    "TargetError",
    "TargetWarning",
    "__version__",
    "read_metadata",
]

_LAZY = {"Codec": ".codec", "Metadata": ".metadata", "read_metadata": ".metadata"}
_LAZY_MODULES = frozenset({"pillow"})


def __getattr__(name: str) -> Any:
    if name in _LAZY_MODULES:
        return import_module(f".{name}", __name__)
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_LAZY_MODULES})
