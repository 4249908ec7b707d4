"""Whether a bundle's transforms should run in bfloat16 on this machine: tried once on a picture, then remembered.

How much noise bfloat16 leaves in a picture depends on the network's weights, how much time it saves on the processor.
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
"""dB. With less noise than this a picture that was coded at 40 dB loses at most 0.02 dB."""

GAIN_LIMIT = 1.1
"""Times as fast as float32: less would not repay any noise."""

SIDE = 256
_ROUNDS = 3

_Array = NDArray[np.uint8]


class Trial(NamedTuple):
    """noise: of a picture synthesised in bfloat16, in dB as `noise_db`. gain: times as fast as in float32."""

    noise: float
    gain: float

    @property
    def precision(self) -> Precision:
        return "bf16" if self.noise >= NOISE_LIMIT and self.gain >= GAIN_LIMIT else "fp32"


def fitting(bundle: Bundle, threads: int | None) -> Precision:
    """bf16 where the processor has it and a trial of this bundle says that it gains time and costs next to nothing."""
    if not machine.has_bfloat16():
        return "fp32"
    low = OpenVinoBackend(bundle, threads, precision="bf16")
    name = f"precision/{conformance.identity(bundle, low)}"
    try:
        return Trial(**json.loads(cache.fetch(name) or b"")).precision
    except (ValueError, TypeError):
        pass  # not tried yet, or written by something else
    plain = OpenVinoBackend(bundle, threads, precision="fp32")
    trial = run_trial(plain, low)
    plain.close()
    low.close()
    cache.store(name, json.dumps(trial._asdict()).encode())
    return trial.precision


def run_trial(plain: Backend, low: Backend) -> Trial:
    """Synthesise what the analysis makes of `trial_picture` with both backends, in turns."""
    y_hat = np.round(plain.run("analysis", {"image": trial_picture()})[0])
    pictures: list[_Array] = []
    seconds: dict[Backend, float] = {}
    for backend in (plain, low):
        pictures.append(backend.run("synthesis", {"y_hat": y_hat})[0])  # compiled now
    for _ in range(_ROUNDS):
        for backend in (plain, low):
            start = time.perf_counter()
            backend.run("synthesis", {"y_hat": y_hat})
            seconds[backend] = min(seconds.get(backend, np.inf), time.perf_counter() - start)
    return Trial(noise_db(*pictures), seconds[plain] / seconds[low])


def trial_picture() -> _Array:
    """uint8 (SIDE, SIDE, 3) of noise whose amplitude falls with frequency, as that of photographs does.

    Its contrast is such that it takes about as much noise from bfloat16 as the Kodak pictures do in the mean.
    """
    random = np.random.default_rng(1)
    frequencies = np.fft.fftfreq(SIDE)
    falling = 1 / np.maximum(np.hypot(frequencies[:, None], frequencies), 1 / SIDE)
    layers = np.fft.ifft2(np.fft.fft2(random.standard_normal((3, SIDE, SIDE))) * falling).real
    grey, red, blue = layers / layers.std(axis=(1, 2), keepdims=True)
    picture = 128 + 32 * np.stack([grey + 0.3 * red, grey, grey + 0.3 * blue], axis=-1)
    rounded: _Array = np.clip(picture, 0, 255).astype(np.uint8)
    return rounded


def noise_db(picture: _Array, other: _Array) -> float:
    """255² over the mean square of what changed a picture before rounding, from how often and far rounded ones differ.

    A change d too small to see is one level with probability |d|; Gaussian ones have a standard deviation of
    sqrt(pi / 2) times the mean of |d|. Infinite where nothing differs.
    """
    deviation = np.abs(picture.astype(float) - other).mean() * np.sqrt(np.pi / 2)
    return float(20 * np.log10(255 / deviation)) if deviation else float("inf")
