"""Decides, by a trial on one image, whether a bundle's transforms run in bfloat16 on this machine.

The noise of bfloat16 in an image depends on the network's weights, the time that it saves on the CPU. The result of the
trial is kept in the cache.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import cache, conformance, machine
from ..bundle import Bundle
from ..errors import EngineError
from .base import Backend, Precision
from .noise import NOISE_LIMIT, noise_db, trial_image

GAIN_LIMIT = 1.1
"""The speed relative to float32 that justifies the noise."""

_ROUNDS = 3

_Array = NDArray[np.uint8]


class Trial(NamedTuple):
    """noise: `noise_db` of an image synthesised in bfloat16. gain: the speed relative to float32."""

    noise: float
    gain: float

    @property
    def precision(self) -> Precision:
        return "bf16" if self.noise >= NOISE_LIMIT and self.gain >= GAIN_LIMIT else "fp32"


def fitting(bundle: Bundle, open_in: Callable[[Precision], Backend]) -> Precision:
    """Return bf16 if the CPU supports it and a trial shows a speed-up at negligible loss, else fp32.

    open_in: opens the backend in a precision.
    """
    if not machine.has_bfloat16():
        return "fp32"
    low = open_in("bf16")
    name = f"precision/{conformance.identity(bundle, low)}"
    try:
        return Trial(**json.loads(cache.fetch(name) or b"")).precision
    except (ValueError, TypeError):
        pass  # no trial was made yet, or the entry is damaged
    plain = open_in("fp32")
    trial = run_trial(plain, low)
    plain.close()
    low.close()
    cache.store(name, json.dumps(trial._asdict()).encode())
    return trial.precision


def require_bfloat16(emulate: bool = False) -> None:
    """Raise EngineError unless the CPU multiplies bfloat16, or `emulate` accepts that it does so slowly."""
    if not (emulate or machine.has_bfloat16()):
        raise EngineError(
            "this CPU has no bfloat16 (AVX-512 BF16 or AMX), without which precision bf16 is slower than fp32; "
            "use precision fp32"
        )


def run_trial(plain: Backend, low: Backend) -> Trial:
    """Compare both backends by the synthesis of `trial_image`, alternating between them."""
    y_hat = np.round(plain.run("analysis", {"image": trial_image()})[0])
    images: list[_Array] = []
    seconds: dict[Backend, float] = {}
    for backend in (plain, low):
        images.append(backend.run("synthesis", {"y_hat": y_hat})[0])  # the first run compiles
    for _ in range(_ROUNDS):
        for backend in (plain, low):
            start = time.perf_counter()
            backend.run("synthesis", {"y_hat": y_hat})
            seconds[backend] = min(seconds.get(backend, np.inf), time.perf_counter() - start)
    return Trial(noise_db(*images), seconds[plain] / seconds[low])
