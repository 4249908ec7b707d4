"""Decides, by a trial on one image, whether a bundle's transforms run in bfloat16 on this machine.

The noise of bfloat16 in an image depends on the network's weights, the time that it saves on the CPU. The result of the
trial is kept in the cache.
"""

from __future__ import annotations

import json
import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import cache, conformance, machine
from ..bundle import Bundle
from .base import Backend, Precision
from .openvino import OpenVinoBackend

NOISE_LIMIT = 63.4
"""In dB. At this level or above, an image that was coded at 40 dB loses at most 0.02 dB."""

GAIN_LIMIT = 1.1
"""The speed relative to float32 that justifies the noise."""

SIDE = 256
_ROUNDS = 3

_Array = NDArray[np.uint8]


class Trial(NamedTuple):
    """noise: `noise_db` of an image synthesised in bfloat16. gain: the speed relative to float32."""

    noise: float
    gain: float

    @property
    def precision(self) -> Precision:
        return "bf16" if self.noise >= NOISE_LIMIT and self.gain >= GAIN_LIMIT else "fp32"


def fitting(bundle: Bundle, threads: int | None) -> Precision:
    """Return bf16 if the CPU supports it and a trial shows a speed-up at negligible loss, else fp32."""
    if not machine.has_bfloat16():
        return "fp32"
    low = OpenVinoBackend(bundle, threads, precision="bf16")
    name = f"precision/{conformance.identity(bundle, low)}"
    try:
        return Trial(**json.loads(cache.fetch(name) or b"")).precision
    except (ValueError, TypeError):
        pass  # no trial was made yet, or the entry is damaged
    plain = OpenVinoBackend(bundle, threads, precision="fp32")
    trial = run_trial(plain, low)
    plain.close()
    low.close()
    cache.store(name, json.dumps(trial._asdict()).encode())
    return trial.precision


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


def trial_image() -> _Array:
    """Return uint8 (SIDE, SIDE, 3) of noise whose amplitude falls with frequency, like that of photographs.

    The contrast is chosen so that bfloat16 adds about as much noise as to the Kodak images on average.
    """
    random = np.random.default_rng(1)
    frequencies = np.fft.fftfreq(SIDE)
    falling = 1 / np.maximum(np.hypot(frequencies[:, None], frequencies), 1 / SIDE)
    layers = np.fft.ifft2(np.fft.fft2(random.standard_normal((3, SIDE, SIDE))) * falling).real
    grey, red, blue = layers / layers.std(axis=(1, 2), keepdims=True)
    image = 128 + 32 * np.stack([grey + 0.3 * red, grey, grey + 0.3 * blue], axis=-1)
    rounded: _Array = np.clip(image, 0, 255).astype(np.uint8)
    return rounded


def noise_db(image: _Array, other: _Array) -> float:
    """Return 255² over the mean squared difference of two images before rounding, in dB; infinite for equal images.

    The difference is estimated from the rounded images: a difference d below one level changes the rounded value with
    probability |d|, and the standard deviation of a Gaussian is sqrt(pi / 2) times the mean of |d|.
    """
    deviation = np.abs(image.astype(float) - other).mean() * np.sqrt(np.pi / 2)
    return float(20 * np.log10(255 / deviation)) if deviation else float("inf")
