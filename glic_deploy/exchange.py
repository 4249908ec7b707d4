"""Exchange rates between bits and quality: how much a change of the encoder is worth.

Fewer bits at a lower quality are a gain only at some price of the quality. The slope of the codec's own
rate-distortion curve is the usual price: a bundle of a smaller lambda would buy bits at that price too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .arguments import shown
from .errors import EngineError
from .metrics import psnr_of_error

_PER_DB = re.compile(r"(\d+(?:\.\d+)?)\s*%/dB")
_LAMBDA = re.compile(r"\d*\.?\d+(?:e-?\d+)?")
_LEAST_ERROR = 1e-4  # of 8-bit samples: 88 dB, far above what the codec reaches


@dataclass(frozen=True)
class Coded:
    """The rate of an image in bits per pixel, and the mean squared error of its 8-bit samples."""

    bpp: float
    error: float

    @property
    def psnr(self) -> float:
        """The PSNR in dB."""
        psnr = psnr_of_error(max(self.error, _LEAST_ERROR))
        assert psnr is not None
        return psnr


@dataclass(frozen=True)
class Exchange:
    """An exchange rate between bits and quality.

    Attributes:
        value: the percentage of the bits that one dB of PSNR is worth, or the lambda of the loss
            bpp + lambda * 255² * MSE, where MSE is that of samples in [0, 1].
        per_db: whether `value` is a percentage.
    """

    value: float
    per_db: bool

    @classmethod
    def parse(cls, text: str) -> Exchange:
        """Read an exchange rate: "20%/dB", or a lambda such as "0.013". Raises EngineError for other texts."""
        if match := _PER_DB.fullmatch(text.strip()):
            rate = cls(float(match[1]), per_db=True)
        elif _LAMBDA.fullmatch(text.strip()):
            rate = cls(float(text), per_db=False)
        else:
            rate = None
        if rate is None or not 0 < rate.value < 1e6:
            raise EngineError(
                f"the exchange rate is {shown(text)}, expected the worth of a dB in percent of the bits, such as "
                "20%/dB, or a lambda above 0, such as 0.013"
            )
        return rate

    def __str__(self) -> str:
        return f"{self.value:g}%/dB" if self.per_db else f"{self.value:g}"

    def net_percent(self, coded: Sequence[Coded], plain: Sequence[Coded]) -> float:
        """Return the change in percent of what images cost, against another coding of the same images.

        At a percentage per dB, this is the change of the mean rate at equal mean PSNR. At a lambda, it is the change of
        the mean loss. A negative number is a gain.
        """
        if self.per_db:
            bits = sum(one.bpp for one in coded) / sum(one.bpp for one in plain) - 1
            decibels = sum(one.psnr for one in coded) - sum(one.psnr for one in plain)
            return 100 * bits - self.value * decibels / len(plain)
        loss, before = (sum(one.bpp + self.value * one.error for one in points) for points in (coded, plain))
        return 100 * (loss / before - 1)


PUBLISHED_FAMILY = Exchange(20.0, per_db=True)
"""The slope of the published family of checkpoints on Kodak, 17 to 21 % a dB between neighbours."""
