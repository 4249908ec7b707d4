"""Compute MS-SSIM in a child process, because its library needs torch. `glic_deploy.metrics` computes PSNR."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from contextlib import ExitStack
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError
from ..files import temporary_directory

MS_SSIM_REMEDY = "pip install 'glic-deploy[export]'"


def ms_ssim_installed() -> bool:
    """Check whether the packages that `MsSsim` needs are installed."""
    return all(importlib.util.find_spec(name) for name in ("export", "torch", "pytorch_msssim"))


class MsSsim:
    """Compute multi-scale structural similarity with pytorch-msssim, one image at a time.

    The child process starts with the first image and ends with the `with` block.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._directory = self._stack.enter_context(temporary_directory("glic-eval-"))
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> MsSsim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.communicate()
        self._stack.close()

    def __call__(self, original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float | None:
        """Compute the MS-SSIM, from 0 to 1, of two images uint8 (H, W, 3); None if a side is below 161 pixels.

        Raises EngineError if the child process fails.
        """
        if self._process is None:
            command = [sys.executable, "-m", "export.ms_ssim"]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        paths = {}
        for name, image in (("original", original), ("decoded", decoded)):
            paths[name] = str(self._directory / f"{name}.npy")
            np.save(paths[name], image)
        try:
            self._process.stdin.write(json.dumps(paths) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise EngineError(
                f"the process of MS-SSIM ended; read its messages above, or install it again: {MS_SSIM_REMEDY}"
            )
        value: float | None = json.loads(answer)["ms_ssim"]
        return value
