"""Reads hostile JSON into typed values. An error names the place, the value found and the value expected."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

_MOST_DIGITS = 20
_SHOWN = 60


class MalformedError(ValueError):
    """A JSON document has another structure than its reader expects."""


class Node:
    """A value of a JSON document, and the path that leads there, such as `model.config.groups[2]`.

    Every method returns a value of the type in its name, or raises MalformedError.
    """

    __slots__ = ("path", "value")

    def __init__(self, value: Any, path: str = "") -> None:
        self.value = value
        self.path = path

    def fail(self, expected: str) -> NoReturn:
        """Raise MalformedError, which says that this value differs from `expected`."""
        raise MalformedError(f"{self.path or 'it'} is {_shown(self.value)}, expected {expected}")

    def __getitem__(self, key: str) -> Node:
        """Return the value of a required key of an object."""
        found = self.get(key)
        if found is None:
            raise MalformedError(f"{self.path or 'it'} lacks {key!r}")
        return found

    def get(self, key: str) -> Node | None:
        """Return the value of an optional key of an object; None if it is missing."""
        members = self._members()
        return Node(members[key], self._below(key)) if key in members else None

    def items(self) -> Iterator[tuple[str, Node]]:
        """Return the keys and values of an object."""
        return ((key, Node(value, self._below(key))) for key, value in self._members().items())

    def elements(self, least: int = 0, most: int | None = None) -> list[Node]:
        """Return the values of an array of `least` to `most` elements."""
        if not isinstance(self.value, list) or not least <= len(self.value) <= (most or len(self.value)):
            self.fail(f"an array of {least}{'' if least == most else f' to {most}' if most else ' or more'} elements")
        return [Node(value, f"{self.path}[{i}]") for i, value in enumerate(self.value)]

    def integer(self, least: int, most: int) -> int:
        """Return an integer of `least` to `most`."""
        if type(self.value) is not int or not least <= self.value <= most:
            self.fail(f"an integer of {least:,} to {most:,}")
        return self.value

    def number(self, *, negative: bool = False) -> float:
        """Return a number of at least 0, or any number if `negative`."""
        if type(self.value) not in (int, float) or (self.value < 0 and not negative):
            self.fail("a number" if negative else "a number of 0 or more")
        return float(self.value)

    def text(self, pattern: re.Pattern[str], expected: str) -> str:
        """Return a string that the pattern matches as a whole."""
        if not isinstance(self.value, str) or not pattern.fullmatch(self.value):
            self.fail(expected)
        return self.value

    def _members(self) -> dict[str, Any]:
        if not isinstance(self.value, dict):
            self.fail("an object")
        members: dict[str, Any] = self.value
        return members

    def _below(self, key: str) -> str:
        if not (key.isascii() and key.isidentifier()):
            return f"{self.path}[{_shown(key)}]"
        return f"{self.path}.{key}" if self.path else key


def read_json(data: bytes) -> Node:
    """Parse UTF-8 JSON without NaN, infinities and huge integers. Raises MalformedError.

    The memory is proportional to len(data), which the caller limits.
    """
    try:
        return Node(json.loads(data.decode(), parse_int=_integer, parse_float=_float, parse_constant=_float))
    except RecursionError:
        raise MalformedError("it is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise MalformedError(f"it is no UTF-8 text: byte {error.start} is wrong") from None
    except json.JSONDecodeError as error:
        raise MalformedError(f"it is no JSON: {error}") from None


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise MalformedError(f"the number {_shown(digits)} is too large")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise MalformedError(f"the number {digits[:_SHOWN]} is not finite")
    return value


def _shown(value: Any) -> str:
    """Return a value as one short line of ASCII."""
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'an array'} of {len(value)}"
    text = ascii(value) if not isinstance(value, str) or len(value) <= _SHOWN else ascii(value[:_SHOWN])
    return text if len(text) <= 2 * _SHOWN else text[: 2 * _SHOWN] + "…"
