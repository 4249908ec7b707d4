"""How much an encoder thinks about the symbols that it writes. Every decoder reads the files of every effort."""

from __future__ import annotations

from .arguments import integer
from .bundle import Bundle
from .entropy.quantizer import NEAREST, Weighing

MOST_EFFORT = 2


def check_effort(effort: object) -> int | None:
    """Return an effort, None if none is asked for. Raises EngineError unless it is 0 to MOST_EFFORT, or None."""
    if effort is None:
        return None
    expected = "0, which rounds to the nearest, 1, which weighs bits against error, or 2, which also refines latents"
    return integer("effort", effort, expected, least=0, most=MOST_EFFORT)


def weighing_at(effort: int | None, bundle: Bundle) -> Weighing:
    """Return how an encoder weighs bits against error at an effort, None being the default of the bundle."""
    return bundle.weighing if (default_effort(bundle) if effort is None else effort) else NEAREST


def default_effort(bundle: Bundle) -> int:
    """Return 1 if effort 1 cost no image more than it saved, of the images that the bundle was tuned on; else 0.

    Each image is judged at the strength that the others have found.
    """
    encoder = bundle.manifest.encoder
    return int(encoder is not None and encoder.worst_percent is not None and encoder.worst_percent <= 0)


def refines(effort: int | None, bundle: Bundle) -> bool:
    """Return whether latents are refined by gradient. They are not if nothing pays for the bundle."""
    return effort == MOST_EFFORT and weighing_at(effort, bundle) != NEAREST
