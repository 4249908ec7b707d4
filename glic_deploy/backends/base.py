"""The interface of a backend, which runs a bundle's graphs on arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..errors import EngineError
from ..notices import Notices

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from typing_extensions import Self

    from ..bundle import Bundle
    from ..steps import Steps
    from ..values import Value
    from .device_images import DeviceImages

Precision = Literal["fp32", "bf16", "fp16"]


class UnusableError(EngineError):
    """This machine or bundle lacks what an installed backend needs, so that the backend is skipped without a warning.

    Attributes:
        problem: what is missing.
        remedy: the command that helps.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem, self.remedy = problem, remedy


@dataclass(frozen=True)
class Offer:
    """How to open a backend if the user selects none by name.

    Attributes:
        precision: the precision to open it with; None: its default.
        last_resort: whether to open it only if no other backend can be opened.
    """

    precision: Precision | None
    last_resort: bool = False


def recorded_precision(bundle: Bundle, forms: Sequence[str]) -> Precision:
    """Return the precision that the manifest records of the transforms in the first of `forms` that the bundle has."""
    recorded = bundle.precision(forms)
    return next((known for known in get_args(Precision) if known == recorded), "fp32")


class Backend(ABC):
    """Runs the graphs of one bundle. Safe to use from several threads at once.

    precision: the precision of the transforms. The entropy path is exact in any case.
    """

    name: str
    precision: Precision = "fp32"

    @classmethod
    def check_machine(cls) -> str:
        """Check that this machine has everything the backend needs. Returns versions and devices, for people.

        Raises UnusableError if a device is missing, EngineError if something is installed but does not work.
        """
        raise NotImplementedError

    @classmethod
    def offer(cls, bundle: Bundle, threads: int | None, precision: Precision | None) -> Offer:
        """Return how to open this backend for a bundle if the user selects none by name.

        Raises UnusableError if the backend cannot be used here, EngineError if it should work but does not.
        """
        cls.check_machine()
        return Offer(precision)

    @classmethod
    def open(cls, bundle: Bundle, threads: int | None, precision: Precision | None) -> Self:
        """Open the backend for a bundle. Raises EngineError."""
        raise NotImplementedError

    @classmethod
    def on_gpu(cls, number: int) -> type[Self]:
        """Return the backend for the GPU of this number, a subclass. Raises EngineError if it runs on no GPU."""
        raise EngineError(f"backend {cls.name} does not run on a GPU, got device={number}; leave out the device")

    @cached_property
    def notices(self) -> Notices:
        """Messages that say what is slower than necessary, with reasons and remedies."""
        return Notices()

    @abstractmethod
    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Return the outputs of a graph, in the manifest's order. Raises EngineError if the graph cannot be run."""

    def start(self, graph: str, inputs: Mapping[str, Value]) -> Sequence[Value]:
        """Run a graph, but return before the outputs are ready if the backend can; `np.asarray` waits for them.

        The outputs may stay on the device, and later graphs accept them as inputs. The default waits for everything.
        """
        import numpy as np  # not at the top: the command line lists the backends before it needs numpy

        return self.run(graph, {name: np.asarray(value) for name, value in inputs.items()})

    def recorded(self, name: str, work: Callable[[Value], list[Value]], value: Value) -> Sequence[Value]:
        """Return `work(value)`: outputs of graphs and of steps that are not ready, or their like for this value.

        A backend that runs the same work at each shape may record what `work` asks of it, and not call `work` again. So
        `work` must depend on nothing but the value, and its results on nothing but `start` and `steps`.

        Args:
            name: says what the work is.
            work: starts graphs and steps, and waits for none.
            value: the input.
        """
        return work(value)

    def steps(self, channels: int, height: int, width: int) -> Steps | None:
        """Return what computes the steps between the graphs on the device, for an image with y_hat of these sides.

        None, the default: they are computed on the host.
        """
        return None

    def images(self) -> DeviceImages | None:
        """Return what reads and writes images in the memory of the backend's GPU. None, the default: it has none."""
        return None

    def trim(self) -> None:  # noqa: B027 - most backends keep nothing
        """Free what is kept for the image sizes seen so far. It is created again on demand."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return name, versions, threads and devices, for people and for JSON."""

    def fingerprint(self) -> dict[str, Any]:
        """Return everything about backend and device that could change the results of the entropy path, for JSON.

        A passed conformance check counts for an equal fingerprint alone. The default is `describe`.
        """
        return self.describe()

    def refusal(self, height: int, width: int) -> str | None:
        """Return why the device cannot code a padded image of this size as a whole; None: it can.

        Nothing is allocated for the answer.
        """
        return None

    @abstractmethod
    def close(self) -> None:
        """Free all resources. The backend cannot be used afterwards."""
