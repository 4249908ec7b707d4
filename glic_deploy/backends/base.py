"""What a backend is: something that runs a bundle's graphs on arrays and says what it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..errors import EngineError
from ..notices import Notices

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

    from ..bundle import Bundle
    from ..values import Value

Precision = Literal["fp32", "bf16", "fp16"]


class UnusableError(EngineError):
    """A backend is installed, but this machine or this bundle has nothing for it: it is no candidate, not a failure.

    Attributes:
        problem: what is not there.
        remedy: what to type.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem, self.remedy = problem, remedy


@dataclass(frozen=True)
class Offer:
    """How a backend wants to be opened where none is asked for by name.

    Attributes:
        precision: what to ask it for; None: its own choice.
        last_resort: it is opened only if no other backend can be.
    """

    precision: Precision | None
    last_resort: bool = False


def recorded_precision(bundle: Bundle, forms: Sequence[str]) -> Precision:
    """Return the precision that the manifest records of the transforms in the first of `forms` that the bundle has."""
    recorded = bundle.precision(forms)
    return next((known for known in get_args(Precision) if known == recorded), "fp32")


class Backend(ABC):
    """Runs the graphs of one bundle. Safe to use from several threads at once.

    precision: of the transforms; the entropy path is exact whatever this says.
    """

    name: str
    precision: Precision = "fp32"

    @classmethod
    def check_machine(cls) -> str:
        """Look whether this machine has what the backend needs. Returns versions and devices, for people.

        Raises UnusableError where a device is absent, EngineError where something is there and does not work.
        """
        raise NotImplementedError

    @classmethod
    def offer(cls, bundle: Bundle, threads: int | None, precision: Precision | None) -> Offer:
        """How to open this backend for a bundle when the user names none.

        Raises UnusableError where it is no candidate, EngineError where it should work and does not.
        """
        cls.check_machine()
        return Offer(precision)

    @classmethod
    def open(cls, bundle: Bundle, threads: int | None, precision: Precision | None) -> Self:
        """A backend for a bundle. Raises EngineError."""
        raise NotImplementedError

    @cached_property
    def notices(self) -> Notices:
        """What this backend uses that is slower than its best, with reasons and remedies."""
        return Notices()

    @abstractmethod
    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Outputs of a graph, in the manifest's order. Raises EngineError when the graph cannot be run."""

    def start(self, graph: str, inputs: Mapping[str, Value]) -> Sequence[Value]:
        """As `run`, but only the first output need be there: the others may be on their way, or stay where they are.

        What one graph gave so, the next one takes as it is. The default has everything at once.
        """
        import numpy as np  # not at the top: the command line lists the backends before it needs numpy

        return self.run(graph, {name: np.asarray(value) for name, value in inputs.items()})

    def trim(self) -> None:  # noqa: B027 - most backends have nothing of the kind
        """Free what is kept for the sizes of pictures that came so far; it is made again when they come again."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Name, versions, threads and devices, for people and for JSON."""

    @abstractmethod
    def close(self) -> None:
        """Free what the backend holds. It cannot be used afterwards."""
