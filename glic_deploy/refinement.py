"""Refines latents by the gradient of the real error: the slowest effort, which needs PyTorch and the checkpoint.

Rounding and weighing judge the error of an image by that of its latents. The refinement instead descends the error of
the decoded image by proximal gradient steps: from y_hat, the latents move against the derivative of the error, and the
weighing quantises the result again, with the integer tables and in the coding order of every other effort.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .arguments import path_text
from .bundle import Bundle
from .bundle_codec import BundleCodec, Latents
from .entropy.quantizer import Weighing
from .errors import EngineError, ModelMismatchError
from .files import temporary_directory
from .stages import stage

STEPS = 4
"""Gradients that are computed: three quarters of the gain come with the first, and little after the fourth."""

Gradient = Callable[[NDArray[np.float32], NDArray[np.uint8]], tuple[NDArray[np.float32], float]]
"""Function that returns the derivative of the squared error of an image with respect to y_hat, and the error."""

_REMEDY = "install PyTorch: pip install 'glic-deploy[export]'"
_SEED = 0
_NUDGE = 0.3
_MARGIN = 2.4  # the largest curvature over that in a random direction, about
_LEAST_CURVATURE = 1e-3


class SynthesisGradient:
    """Differentiates the synthesis transform of a checkpoint in a child process. Safe to use from several threads.

    Args:
        checkpoint: a file that `export.checkpoint.load_checkpoint` reads.
        threads: the threads of the child; None uses all cores.

    Raises EngineError if the child cannot read the checkpoint, or there is no PyTorch.
    """

    def __init__(self, checkpoint: str | os.PathLike[str], threads: int | None = None) -> None:
        self._checkpoint = checkpoint
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._directory = self._stack.enter_context(temporary_directory("glic-refine-"))
        command = [sys.executable, "-m", "export.synthesis_gradient", "--checkpoint", os.path.abspath(checkpoint)]
        command += ["--threads", str(threads)] if threads else []
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
        )
        self._model = self._answer()["model"]

    def check(self, bundle: Bundle) -> None:
        """Raise ModelMismatchError if the checkpoint is not that of the bundle."""
        needed = bundle.manifest.model.fingerprint
        if self._model != needed:
            raise ModelMismatchError(
                f"{self._checkpoint} is the checkpoint of model {str(self._model)[:8]}, the bundle {bundle.path} is of "
                f"{needed[:8]}; name the checkpoint that the bundle was exported from"
            )

    def close(self) -> None:
        """End the child."""
        self._process.communicate()
        self._stack.close()

    def __call__(self, y_hat: NDArray[np.float32], image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        """Return the derivative of the squared error of an image (H, W, 3) with respect to y_hat, and the error."""
        with self._lock:
            paths = {name: str(self._directory / f"{name}.npy") for name in ("y_hat", "image", "gradient")}
            np.save(paths["y_hat"], y_hat)
            np.save(paths["image"], image)
            try:
                assert self._process.stdin is not None
                self._process.stdin.write(json.dumps(paths) + "\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                pass  # `_answer` says so
            error = float(self._answer()["error"])  # type: ignore[arg-type]
            with open(paths["gradient"], "rb") as stream:
                derivative: NDArray[np.float32] = np.lib.format.read_array(stream, allow_pickle=False)
            return derivative, error

    def _answer(self) -> dict[str, object]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EngineError(f"the process that differentiates the synthesis ended, see above; {_REMEDY}")
        answer: dict[str, object] = json.loads(line)
        return answer


class Gradients:
    """Starts the `SynthesisGradient` of a checkpoint when it is first needed. Safe to use from several threads.

    Args:
        checkpoint: the checkpoint that a bundle was exported from; None: there is none.
        threads: the threads of the child process; None uses all cores.

    Raises EngineError if `checkpoint` is no path.
    """

    def __init__(self, checkpoint: str | os.PathLike[str] | None, threads: int | None = None) -> None:
        self._checkpoint = None if checkpoint is None else path_text("checkpoint", checkpoint, "a path, or None")
        self._threads = threads
        self._lock = threading.Lock()
        self._gradient: SynthesisGradient | None = None

    def of(self, bundle: Bundle) -> SynthesisGradient:
        """Return the gradient for a bundle. Raises EngineError without a checkpoint, ModelMismatchError for another."""
        if self._checkpoint is None:
            raise EngineError(
                "effort 2 needs PyTorch and the checkpoint that the bundle was exported from; name the checkpoint: "
                "Codec(engine, checkpoint=...), glic encode --checkpoint C.pth; or use effort 1"
            )
        with self._lock:
            if self._gradient is None:
                self._gradient = SynthesisGradient(self._checkpoint, self._threads)
            self._gradient.check(bundle)
            return self._gradient

    def close(self) -> None:
        """End the child process, if it was started."""
        with self._lock:
            if self._gradient is not None:
                self._gradient.close()
                self._gradient = None


def refine(
    codec: BundleCodec,
    latents: Latents,
    image: NDArray[np.uint8],
    weighing: Weighing,
    gradient: Gradient,
    stages: dict[str, float] | None = None,
) -> Latents:
    """Return latents that, quantised with the weighing, give an image of less error.

    Args:
        codec: the bundle's codec.
        latents: those of the image.
        image: the unpadded image, uint8 (H, W, 3).
        weighing: how bits are weighed against error.
        gradient: differentiates the synthesis of the same model, such as a `SynthesisGradient`.
        stages: receives the seconds that each stage took.
    """

    def differentiated(y_hat: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        with stage(stages, "synthesis gradient"):
            return gradient(y_hat, image)

    y, curvature = latents.y, None
    before: tuple[NDArray[np.float32], NDArray[np.float32], float] | None = None
    for _ in range(STEPS):
        y_hat = np.asarray(codec.code(replace(latents, y=y), stages, weighing).y_hat)
        slope, error = differentiated(y_hat)
        if curvature is None:
            signs = np.random.default_rng(_SEED).choice(np.array([-1, 1], np.float32), y_hat.shape)
            nudge = np.float32(_NUDGE) * signs
            change = differentiated(y_hat + nudge)[0] - slope
            curvature = max(_MARGIN * float((change * nudge).sum() / (nudge * nudge).sum()), _LEAST_CURVATURE)
        if before is not None and error > _bound(before, y_hat, curvature):
            curvature *= 2
        else:
            before = y_hat, slope, error
        y = before[0] - before[1] / np.float32(curvature)
    return replace(latents, y=y)


def _bound(
    before: tuple[NDArray[np.float32], NDArray[np.float32], float], y_hat: NDArray[np.float32], curvature: float
) -> float:
    """Return the largest error at y_hat if the error curves from an earlier point as assumed."""
    start, slope, error = before
    move = y_hat - start
    return error + float((slope * move).sum()) + curvature / 2 * float((move * move).sum())
