"""The exceptions of glic_deploy. Each message says what was got, what was expected and what to do next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

_Error = TypeVar("_Error", bound=BaseException)


class GlicError(Exception):
    """Base of every error that glic_deploy and its exporter raise on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuilt, (type(self), self.args, self.__dict__)  # the default calls the class with one argument


def rebuilt(kind: type[_Error], args: Sequence[object], attributes: Mapping[str, object]) -> _Error:
    """Make an error as another process raised it, whatever arguments its class takes."""
    error = kind.__new__(kind, *args)
    error.args = tuple(args)
    error.__dict__.update(attributes)
    return error


class BitstreamError(GlicError, ValueError):
    """A `.glic` file or a range-coded stream is cut, altered, or was never one."""


class ModelMismatchError(GlicError, ValueError):
    """A file was written with another model or another entropy arithmetic than the codec's."""


class EngineError(GlicError, RuntimeError):
    """An engine bundle cannot be opened, or a backend cannot run it."""


class PluginError(EngineError):
    """A native library (custom ops, range coder) is missing or does not fit this machine.

    Attributes:
        problem: what is wrong.
        remedy: what to type.
        missing: the library is absent, rather than broken.
    """

    def __init__(self, problem: str, remedy: str, *, missing: bool = False) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem, self.remedy, self.missing = problem, remedy, missing


class LimitError(GlicError, ValueError):
    """An image or a file asks for more than the limits allow."""


class ImageError(GlicError, ValueError):
    """An input picture cannot be read, or has a form that the codec does not take."""


class CheckpointError(GlicError, ValueError):
    """A checkpoint file is not one of GLIC's, or is damaged."""


class DamagedTilesWarning(UserWarning):
    """Tiles of a picture that was decoded with on_error="fill" are damaged and were made grey.

    Attributes:
        boxes: (x, y, width, height) of each, in the picture.
    """

    def __init__(self, boxes: Sequence[tuple[int, int, int, int]], tiles: int) -> None:
        super().__init__(
            f"{len(boxes)} of {tiles} tiles are damaged and grey in the picture: "
            + ", ".join(f"{width} x {height} pixels at {x}, {y}" for x, y, width, height in boxes)
            + "; get an unaltered copy"
        )
        self.boxes = list(boxes)


class TargetWarning(UserWarning):
    """No quality of the engine reaches the rate or PSNR that was asked for; the file has the nearest quality.

    Attributes:
        name: "target_bpp" or "target_psnr".
        target, got: what was asked for, and what the file has, in bits per pixel or dB.
    """

    def __init__(self, name: str, target: float, got: float) -> None:
        if name == "target_bpp":
            message = (
                f"target_bpp is {target:g}, the smallest file that this engine makes of the image has {got:.4f} bits "
                f"per pixel and was taken; ask for at least {math.ceil(1e4 * got) / 1e4:.4f}, or add a bundle of a "
                "smaller lambda to the engine"
            )
        else:
            message = (
                f"target_psnr is {target:g}, the best quality of this engine decodes to {got:.2f} dB and was taken; "
                f"ask for at most {math.floor(1e2 * got) / 1e2:.2f}, or add a bundle of a larger lambda to the engine"
            )
        super().__init__(message)
        self.name = name
        self.target = target
        self.got = got
