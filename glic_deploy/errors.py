"""The exceptions of glic_deploy. Each message says what was found, what was expected and what to do next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

_Error = TypeVar("_Error", bound=BaseException)


class GlicError(Exception):
    """The base class of all errors of glic_deploy and its exporter."""

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuilt, (type(self), self.args, self.__dict__)  # the default calls the class with one argument


def rebuilt(kind: type[_Error], args: Sequence[object], attributes: Mapping[str, object]) -> _Error:
    """Make an error as another process raised it, whatever arguments its class takes."""
    error = kind.__new__(kind, *args)
    error.args = tuple(args)
    error.__dict__.update(attributes)
    return error


class BitstreamError(GlicError, ValueError):
    """The data is not a `.glic` file or a range-coded stream, or it is cut short or altered."""


class ModelMismatchError(GlicError, ValueError):
    """A file was written with another model or another entropy arithmetic than the codec has."""


class EngineError(GlicError, RuntimeError):
    """An engine bundle cannot be opened, or a backend cannot run it."""


class PluginError(EngineError):
    """A native library (custom ops, range coder) is missing or does not fit this machine.

    Attributes:
        problem: what is wrong.
        remedy: the command that helps.
        missing: whether the library is absent rather than broken.
    """

    def __init__(self, problem: str, remedy: str, *, missing: bool = False) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem, self.remedy, self.missing = problem, remedy, missing


class LimitError(GlicError, ValueError):
    """An image or a file exceeds the limits."""


class ImageError(GlicError, ValueError):
    """An input image cannot be read, or has a form that the codec does not accept."""


class CheckpointError(GlicError, ValueError):
    """A checkpoint file is not a GLIC checkpoint, or it is damaged."""


class DamagedTilesWarning(UserWarning):
    """An image was decoded with on_error="fill", and its damaged tiles were made grey.

    Attributes:
        boxes: (x, y, width, height) of each damaged tile, in the image.
    """

    def __init__(self, boxes: Sequence[tuple[int, int, int, int]], tiles: int) -> None:
        super().__init__(
            f"{len(boxes)} of {tiles} tiles are damaged and grey in the image: "
            + ", ".join(f"{width} x {height} pixels at {x}, {y}" for x, y, width, height in boxes)
            + "; get an unaltered copy"
        )
        self.boxes = list(boxes)


class DamagedMetadataWarning(UserWarning):
    """An item of a file's metadata is damaged or cut off, and was left out.

    Attributes:
        name: "exif", "xmp" or "icc".
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"the metadata {name} is left out: {problem}")
        self.name = name


class DroppedMetadataWarning(UserWarning):
    """An image file was written without an item of the metadata, because its format cannot hold the item.

    Attributes:
        name: "exif", "xmp" or "icc".
        format: Pillow's name of the format.
    """

    def __init__(self, name: str, format: str) -> None:
        super().__init__(f"the metadata {name} is not in the image file: {format} cannot hold it; write PNG or WebP")
        self.name, self.format = name, format


class ReducedImageWarning(UserWarning):
    """An image was reduced to what a `.glic` file holds: 8 bits a channel, colours in sRGB unless they are kept."""


class TargetWarning(UserWarning):
    """No file of the engine meets the target; the file that is returned comes nearest.

    Attributes:
        name: "target_bpp", "target_bytes" or "target_psnr".
        target, got: the target and the value of the file, in bits per pixel, bytes or dB.
        lowest, highest: the range that can be had.
    """

    def __init__(self, name: str, target: float, lowest: float, highest: float, got: float) -> None:
        reach, remedy = _reach(name, lowest, highest)
        super().__init__(f"{name} is {target:g}, {reach}; the nearest is returned; {remedy}")
        self.name, self.target, self.got = name, target, got
        self.lowest, self.highest = lowest, highest


class TargetError(GlicError, ValueError):
    """No file of the engine meets the target, and only one that does was asked for.

    Attributes:
        name: "target_bpp", "target_bytes" or "target_psnr".
        target: the target, in bits per pixel, bytes or dB.
        lowest, highest: the range that can be had.
    """

    def __init__(self, name: str, target: float, lowest: float, highest: float) -> None:
        super().__init__(f"{name} is {target:g}, {'; '.join(_reach(name, lowest, highest))}")
        self.name, self.target = name, target
        self.lowest, self.highest = lowest, highest


def _reach(name: str, lowest: float, highest: float) -> tuple[str, str]:
    """Return the range of a target as text, rounded so that its ends can be asked for, and a remedy."""
    digits, unit = {"target_bpp": (4, "bits per pixel"), "target_bytes": (0, "bytes"), "target_psnr": (2, "dB")}[name]
    scale = 10**digits
    up, down = (
        f"{rounded / scale:,.{digits}f}" for rounded in (math.ceil(lowest * scale), math.floor(highest * scale))
    )
    span = f"{up} to {down}" if lowest < highest else f"{lowest:,.{digits}f}"
    reach = f"this engine codes the image with {span} {unit}"
    if name == "target_psnr":
        return reach, f"ask for at most {down}, or add a bundle of a larger lambda to the engine"
    return reach, f"ask for at least {up}, or add a bundle of a smaller lambda to the engine"
