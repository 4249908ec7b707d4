"""Finds the strength of a bundle's rate-distortion-optimised quantisation by coding images at several strengths.

What pays differs between checkpoints: where quantisation is a small part of the error, dropping bits costs more quality
than it saves. The strength is therefore measured, never assumed, and a bundle for which no strength pays has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .bundle import EncoderData, Trial
from .bundle_codec import BundleCodec, CodedLatents, Latents
from .entropy.quantizer import Weighing
from .errors import EngineError
from .exchange import Coded, Exchange
from .image import pad
from .metrics import bits_per_pixel, mean_squared_error

STRENGTHS = (0.025, 0.035, 0.05, 0.07, 0.1, 0.14, 0.2)
"""The strengths that are tried, in squared error per bit. They grow by √2, because the optimum is flat."""

ENOUGH = 0.95
"""The share of the largest gain that the kept strength has at least. It is the smallest such strength, because near the
optimum the gain in PSNR is flat, while the loss of structural similarity grows with the strength."""


def tune(measured: Sequence[Measured], exchange: Exchange) -> EncoderData | None:
    """Return the strength that pays on images, with the measurements that led to it; None if no strength pays.

    The cost has one minimum in the strength. The search begins in the middle of `STRENGTHS` and follows the cost
    downward, then tries smaller strengths while they gain enough, so that about half of them are tried.

    Args:
        measured: the images.
        exchange: what quality is worth.

    Raises EngineError if there is no image.
    """
    if not measured:
        raise EngineError("there are no images to tune on; name a few photographs, best of the kind that will be coded")
    usual_bits = tuple(float(bits) for bits in np.mean([one.expected_bits for one in measured], axis=0).round(4))
    trials = {0.0: [one.plain for one in measured]}

    def net(position: int) -> float:
        strength = STRENGTHS[position]
        if strength not in trials:
            trials[strength] = [one.at(Weighing(strength, usual_bits)) for one in measured]
        return exchange.net_percent(trials[strength], trials[0.0])

    best = len(STRENGTHS) // 2
    for step in (1, -1):
        while 0 <= best + step < len(STRENGTHS) and net(best + step) < net(best):
            best += step
    smallest = best
    while smallest > 0 and net(smallest - 1) <= ENOUGH * net(best):
        smallest -= 1
    return choose(dict(sorted(trials.items())), usual_bits, exchange)


class Measured:
    """The rate and error of an image when its latents are quantised in several ways; analysis runs once.

    Args:
        codec: the bundle's codec.
        image: uint8 (height, width, 3), of a size that can be coded whole.
        latents: the image's latents; None computes them.

    Attributes:
        plain: the rate and the error of symbols that are rounded to the nearest.
        expected_bits: the expected bits of such a symbol in each pass.
    """

    def __init__(self, codec: BundleCodec, image: NDArray[np.uint8], latents: Latents | None = None) -> None:
        self._codec = codec
        self._image = image
        self._latents = codec.analyse(pad(image)) if latents is None else latents
        coded = codec.code(self._latents)
        self.plain = self._measured(coded)
        self.expected_bits = [codec.costs.expected_bits(indexes) for indexes in coded.indexes]

    def at(self, weighing: Weighing) -> Coded:
        """Return the rate and the error at a weighing."""
        return self._measured(self._codec.code(self._latents, weighing=weighing))

    def _measured(self, coded: CodedLatents) -> Coded:
        height, width = self._image.shape[:2]
        decoded = self._codec.reconstruct(coded.y_hat, height, width)
        bpp = bits_per_pixel(len(coded.payload), height * width)
        return Coded(bpp, mean_squared_error(self._image, decoded))


def choose(
    trials: Mapping[float, Sequence[Coded]], usual_bits: tuple[float, ...], exchange: Exchange
) -> EncoderData | None:
    """Return the encoder data for measurements of several images by strength, ascending from 0."""
    measured, strengths = list(trials.values()), list(trials)[1:]
    nets = _nets(measured, exchange)
    if min(nets) >= 0:
        return None
    best = _smallest_of_the_best(nets)
    held_out = []  # each image at the strength that the other images have found
    for number in range(len(measured[0])):
        others = [[*trial[:number], *trial[number + 1 :]] for trial in measured]
        if others[0]:
            chosen = _smallest_of_the_best(_nets(others, exchange))
            held_out.append(_nets([trial[number : number + 1] for trial in measured], exchange)[chosen])
    return EncoderData(
        strength=strengths[best],
        usual_bits=usual_bits,
        exchange=str(exchange),
        net_percent=round(nets[best], 2),
        worst_percent=round(max(held_out), 2) if held_out else None,
        images=len(measured[0]),
        trials=tuple(_trial(*pair) for pair in trials.items()),
    )


def _smallest_of_the_best(nets: Sequence[float]) -> int:
    """Return the number of the smallest strength that gains nearly as much as the best; of the best if none gains."""
    return next(number for number, net in enumerate(nets) if net <= max(ENOUGH * min(nets), min(nets)))


def _nets(trials: Sequence[Sequence[Coded]], exchange: Exchange) -> list[float]:
    """Return the net change of the images at each strength, against the first."""
    plain, *others = trials
    return [exchange.net_percent(trial, plain) for trial in others]


def _trial(strength: float, trial: Sequence[Coded]) -> Trial:
    bpp, psnr = (sum(getattr(one, name) for one in trial) / len(trial) for name in ("bpp", "psnr"))
    return Trial(strength, round(bpp, 4), round(psnr, 2))
