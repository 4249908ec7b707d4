"""Finds the strength of a bundle's rate-distortion-optimised quantisation by coding images at several strengths.

What pays differs between checkpoints: where quantisation is a small part of the error, dropping bits costs more quality
than it saves. The strength is therefore measured, never assumed, and a bundle for which no strength pays has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from .bundle import EncoderData, Trial
from .bundle_codec import BundleCodec
from .errors import EngineError
from .exchange import Coded, Exchange
from .image import pad
from .metrics import bits_per_pixel, mean_squared_error

STRENGTHS = (0.025, 0.035, 0.05, 0.07, 0.1, 0.14, 0.2)
"""The strengths that are tried, in squared error per bit. They grow by √2, because the optimum is flat."""


def tune(codec: BundleCodec, images: Iterable[NDArray[np.uint8]], exchange: Exchange) -> EncoderData | None:
    """Return the strength that pays most on images, with the measurements that led to it; None if no strength pays.

    Args:
        codec: the bundle's codec.
        images: uint8 (height, width, 3), each of a size that can be coded whole.
        exchange: what quality is worth.

    Raises EngineError if there is no image.
    """
    measured = [measure(codec, image) for image in images]
    if not measured:
        raise EngineError("there are no images to tune on; name a few photographs, best of the kind that will be coded")
    return choose(measured, exchange)


def measure(
    codec: BundleCodec, image: NDArray[np.uint8], strengths: Sequence[float] = (0.0, *STRENGTHS)
) -> list[Coded]:
    """Return the rate and the error of an image (height, width, 3) at each strength."""
    height, width = image.shape[:2]
    latents = codec.analyse(pad(image))
    measured = []
    for strength in strengths:
        coded = codec.code(latents, strength=strength)
        decoded = codec.reconstruct(coded.y_hat, height, width)
        bpp = bits_per_pixel(len(coded.payload), height * width)
        measured.append(Coded(bpp, mean_squared_error(image, decoded)))
    return measured


def choose(measured: Sequence[Sequence[Coded]], exchange: Exchange) -> EncoderData | None:
    """Return the encoder data for measurements of several images, each at strength 0 and at `STRENGTHS`."""
    nets = _nets(measured, exchange)
    best = int(np.argmin(nets))
    if nets[best] >= 0:
        return None
    held_out = []  # each image at the strength that the other images have found
    for number, one in enumerate(measured):
        if others := [*measured[:number], *measured[number + 1 :]]:
            held_out.append(_nets([one], exchange)[int(np.argmin(_nets(others, exchange)))])
    columns = list(zip(*measured, strict=True))
    return EncoderData(
        strength=STRENGTHS[best],
        exchange=str(exchange),
        net_percent=round(nets[best], 3),
        worst_percent=round(max(held_out), 3) if held_out else None,
        images=len(measured),
        trials=tuple(_trial(*pair) for pair in zip((0.0, *STRENGTHS), columns, strict=True)),
    )


def _nets(measured: Sequence[Sequence[Coded]], exchange: Exchange) -> list[float]:
    """Return the net change of the images at each of `STRENGTHS`."""
    plain, *columns = zip(*measured, strict=True)
    return [exchange.net_percent(column, plain) for column in columns]


def _trial(strength: float, column: Sequence[Coded]) -> Trial:
    bpp, psnr = (sum(getattr(one, name) for one in column) / len(column) for name in ("bpp", "psnr"))
    return Trial(strength, round(bpp, 4), round(psnr, 3))
