"""Read the table of custom ops, `ops.json` beside this file, as typed Python.

CMake reads the same file for the folders of `plugins_cpp/` and the library of each op, and the native glue for the
types of each op. An input or output has a fixed type, or the type `T`, which is the type of the maps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOMAIN, VERSION = "glic", 1


@dataclass(frozen=True)
class Op:
    """Describe one op of the domain `glic`."""

    name: str
    folder: str
    """Folder of `plugins_cpp/` with the op's page, interface and kernels."""
    inputs: Mapping[str, str]
    """Types of the inputs by name, in the op's order: `T`, `float32`, `int32` or `int8`."""
    outputs: Mapping[str, str]
    attributes: Mapping[str, str]
    """Types of the attributes by name: `int` or `float`."""
    elements: tuple[str, ...]
    """Types that `T` may stand for; empty if no input has type `T`."""
    libraries: tuple[str, ...]
    """Native libraries that contain the op, as in `libglic_<library>.so`."""
    maps: int
    """How many of the first inputs are maps; all inputs after them must be constants. Such an op has no function body
    in standard ONNX. 0: no input needs to be a constant."""

    def inputs_of(self, kind: str) -> tuple[int, ...]:
        """Return the positions of the inputs of type `kind`."""
        return _positions(self.inputs, kind)

    def outputs_of(self, kind: str) -> tuple[int, ...]:
        """Return the positions of the outputs of type `kind`."""
        return _positions(self.outputs, kind)


def _positions(ports: Mapping[str, str], kind: str) -> tuple[int, ...]:
    return tuple(position for position, found in enumerate(ports.values()) if found == kind)


def _ports(entries: list[str]) -> dict[str, str]:
    names_and_types = (entry.split(": ") for entry in entries)
    return {name: kind for name, kind in names_and_types}


def _read() -> dict[str, Op]:
    table: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("ops.json").read_text(encoding="utf-8"))
    return {
        name: Op(
            name=name,
            folder=folder,
            inputs=_ports(op["inputs"]),
            outputs=_ports(op["outputs"]),
            attributes=op.get("attributes", {}),
            elements=tuple(op.get("T", ())),
            libraries=tuple(family["libraries"]),
            maps=op.get("maps", 0),
        )
        for folder, family in table.items()
        for name, op in family["ops"].items()
    }


OPS: Mapping[str, Op] = _read()
"""All ops by name."""
