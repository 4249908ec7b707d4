"""How much an encoder thinks about the symbols that it writes. Every decoder reads the files of every effort."""

from __future__ import annotations

from .arguments import integer
from .bundle import Bundle
from .entropy.quantizer import NEAREST, Weighing

MOST_EFFORT = 2
DEFAULT_EFFORT = 0


def check_effort(effort: object) -> int | None:
    """Return an effort, None if none is asked for. Raises EngineError unless it is 0 to MOST_EFFORT, or None."""
    if effort is None:
        return None
    expected = "0, which rounds to the nearest, 1, which weighs bits against error, or 2, which also refines latents"
    return integer("effort", effort, expected, least=0, most=MOST_EFFORT)


def weighing_at(effort: int | None, bundle: Bundle) -> Weighing:
    """Return how an encoder weighs bits against error at an effort, None being the default."""
    return bundle.weighing if (DEFAULT_EFFORT if effort is None else effort) else NEAREST


def refines(effort: int | None, bundle: Bundle) -> bool:
    """Return whether latents are refined by gradient. They are not if nothing pays for the bundle."""
    return effort == MOST_EFFORT and weighing_at(effort, bundle) != NEAREST
