"""Checks the arguments of callers before anything is read or loaded."""

from __future__ import annotations

import math
import operator
import os
import reprlib
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from numbers import Real

from .errors import EngineError, GlicError

_FEWEST_ALLOWED = 16
_THREADS_PER_CORE = 4
_RECEIVERS: dict[str, tuple[type, str]] = {
    "stages": (MutableMapping, "a dictionary, which receives the seconds of each stage"),
    "passes": (MutableSequence, "a list, which receives the symbols of each pass"),
    "damaged": (MutableSequence, "a list, which receives the boxes of damaged tiles"),
    "progress": (Callable, "a function of the finished and of all tiles"),  # type: ignore[dict-item]
}


def most_threads() -> int:
    """Return the largest accepted number of threads or workers: four times the cores, and at least 16.

    Backends start all threads at once, and the threads spin while they wait for each other. On two cores, a codec with
    64 threads takes seconds to open, and a codec with 256 threads takes a minute.
    """
    from .machine import cores  # imported here because its imports are the slowest of the package

    return max(_FEWEST_ALLOWED, _THREADS_PER_CORE * cores())


def thread_count(name: str, value: object) -> int:
    """Return `value` as a number of threads or workers. Raises EngineError unless it is 1 to `most_threads()`."""
    most = most_threads()
    expected = f"an integer from 1 to {most} (four times the cores of this machine, at least {_FEWEST_ALLOWED})"
    return integer(name, value, f"{expected}; leave it out to use all cores", least=1, most=most)


def integer(
    name: str,
    value: object,
    expected: str,
    error: type[GlicError] = EngineError,
    *,
    least: int | None = None,
    most: int | None = None,
) -> int:
    """Return `value` as an int. Raises `error`, whose message has `expected`, if it is not an integer in range."""
    try:
        found = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        found = None
    if found is None or (least is not None and found < least) or (most is not None and found > most):
        raise error(f"{name} is {shown(value)}, expected {expected}")
    return found


def positive(name: str, value: object) -> float:
    """Return `value` as a float, which may be infinite. Raises EngineError unless it is a real number above 0."""
    return number(name, value, "a number above 0", least=math.ulp(0.0))


def number(name: str, value: object, expected: str, *, least: float) -> float:
    """Return `value` as a float, which may be infinite.

    Raises EngineError, whose message has `expected`, unless it is a real number of at least `least`.
    """
    try:
        found = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    except OverflowError:
        raise EngineError(f"{name} is {shown(value)}, expected a number that fits a float; use math.inf") from None
    if not found >= least:
        raise EngineError(f"{name} is {shown(value)}, expected {expected}")
    return found


def one_of(name: str, value: object, choices: Sequence[str], error: type[GlicError] = EngineError) -> None:
    """Raise `error` unless `value` is one of the words `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise error(f"{name} is {shown(value)}, expected {' or '.join(map(repr, choices))}")


def check_receivers(**given: object) -> None:
    """Check the arguments of these names that receive something during the work; None receives nothing.

    Raises EngineError unless `stages` is a mapping, `passes` and `damaged` are lists, and `progress` is a function.
    """
    for name, value in given.items():
        kind, expected = _RECEIVERS[name]
        if value is not None and not isinstance(value, kind):
            raise EngineError(f"{name} is {shown(value)}, expected {expected}, or None")


def path_text(name: str, value: object, expected: str, error: type[GlicError] = EngineError) -> str:
    """Return a path as a str. Raises `error`, whose message has `expected`, for all else and if empty."""
    try:
        found = os.fsdecode(value)  # type: ignore[arg-type]
    except TypeError:
        found = ""
    if not found:
        raise error(f"{name} is {shown(value)}, expected {expected}")
    return found


def known(function: str, given: Mapping[str, object], options: type) -> None:
    """Raise TypeError, as Python does, for a keyword argument that the TypedDict `options` does not have."""
    for name in given.keys() - options.__annotations__.keys():
        raise TypeError(
            f"{function}() got an unexpected keyword argument {name!r}; there are: {', '.join(options.__annotations__)}"
        )


def shown(value: object) -> str:
    """Return a short representation of a value for a message."""
    return reprlib.repr(value)
