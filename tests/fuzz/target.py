"""What a fuzz target is."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from glic_deploy.errors import GlicError

from .mutate import havoc

SEEDS = Path(__file__).parent / "seeds"
ROOT = Path(__file__).resolve().parent.parent.parent


class Find(Exception):
    """What a target says when a rule was broken that no exception tells of."""


@dataclass(frozen=True)
class Place:
    """Where a target works.

    Attributes:
        engine: an engine bundle of the sample network, not to be changed.
        scratch: a folder of the target's own.
    """

    engine: Path
    scratch: Path


class Target(ABC):
    """One way in for bytes from outside.

    Attributes:
        name: in the driver's command line and report.
        expected: what `fuzz_one` may raise; anything else is a find.
        deadline: seconds after which an input counts as hung.
        memory: bytes by which the process may grow beyond its size before the first input.
        share: of the driver's time, beside the other targets.
    """

    name: ClassVar[str]
    expected: ClassVar[tuple[type[BaseException], ...]] = (GlicError,)
    deadline: ClassVar[float] = 10.0
    memory: ClassVar[int] = 256 << 20
    share: ClassVar[float] = 1.0

    def __init__(self, place: Place) -> None:
        self.place = place

    @abstractmethod
    def seeds(self) -> list[bytes]:
        """Inputs to start from, valid ones among them."""

    @abstractmethod
    def fuzz_one(self, data: bytes) -> Hashable:
        """Read the input, and check what can be said of the result.

        Returns anything that tells kinds of results apart: inputs of a new kind are mutated further.
        """

    def mutate(self, data: bytes, rng: random.Random, pool: Sequence[bytes]) -> bytes:
        """Another input; pool: inputs that have been of use."""
        return havoc(data, rng, pool)


def stored(folder: str) -> list[bytes]:
    """The seeds in the repository, by their names."""
    return [path.read_bytes() for path in sorted((SEEDS / folder).iterdir()) if path.is_file()]
