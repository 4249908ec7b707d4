"""The graphs that every bundle has, with their inputs and outputs.

They follow from the network's configuration. The exporter writes these inputs and outputs, and the runtime accepts no
others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Dim = int | str
Shape = tuple[int, ...]
Role = Literal["transform", "entropy"]
"""A transform affects the quality; a graph of the entropy path must compute equal numbers on every machine."""

PREVIEW = "preview"
"""The graph from y_hat to the image at half size, which a bundle may lack: `glic_deploy.scales`."""


@dataclass(frozen=True)
class Port:
    """One input or output of a graph.

    dtype: NumPy's name. shape: numbers, and fractions of the sides of the padded image: "H", "W/16".
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...]

    def at(self, height: int, width: int) -> Shape:
        """Return the shape for a padded image of this size."""
        sides = {"H": height, "W": width}
        return tuple(d if isinstance(d, int) else sides[d[0]] // _divisor(d) for d in self.shape)

    def as_dict(self) -> dict[str, Any]:
        """Return the port as the manifest has it."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Ends:
    """The role of a graph, and its inputs and outputs in order."""

    role: Role
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def has_image(self) -> bool:
        """Whether an input or output is an image."""
        return any("H" in port.shape for port in (*self.inputs, *self.outputs))

    def output_shapes(self, inputs: Mapping[str, Shape]) -> list[Shape]:
        """Return the shapes of the outputs for inputs of these shapes. Raises ValueError for other inputs."""
        height, width = _sides(self.inputs, inputs)
        if {port.name: port.at(height, width) for port in self.inputs} != inputs:
            got = ", ".join(f"{name} {list(shape)}" for name, shape in inputs.items())
            raise ValueError(f"takes {', '.join(map(str, self.inputs))}, got {got}")
        return [port.at(height, width) for port in self.outputs]


def graph_ends(latent: int, hyper: int, groups: tuple[int, ...], exact: bool) -> dict[str, Ends]:
    """Return every graph of a network by its name, in the order in which an encoder runs them.

    latent, hyper: channels of y and of z. groups: channels of each slice of y. exact: whether the entropy path is
    integer arithmetic; its private tensors `hyper` and `support` are channels-last then, else channels-first.
    """

    def private(name: str, channels: int, width: str) -> Port:
        return Port(name, "float32", ("H/16", width, channels) if exact else (1, channels, "H/16", width))

    def latents(name: str, channels: int) -> Port:
        return Port(name, "float32", (1, channels, "H/16", "W/16"))

    image = Port("image", "uint8", ("H", "W", 3))
    z_symbols = Port("z_symbols", "int16", (1, hyper, "H/64", "W/64"))
    hyper_map = private("hyper", 2 * hyper, "W/16")
    found = {
        "analysis": Ends("transform", (image,), (latents("y", latent),)),
        "hyper_analysis": Ends("transform", (latents("y", latent),), (z_symbols,)),
        "synthesis": Ends("transform", (latents("y_hat", latent),), (image,)),
        PREVIEW: Ends("transform", (latents("y_hat", latent),), (Port("image", "uint8", ("H/2", "W/2", 3)),)),
        "hyper_synthesis": Ends("entropy", (z_symbols,), (hyper_map,)),
    }
    for k, group in enumerate(groups):
        packed = (1, group, "H/16", "W/32")
        parameters = Port("indexes", "uint8", packed), Port("means", "float32", packed)
        support = private("support", 2 * hyper + (2 * group if k else 0), "W/32")
        before = (latents("y_hat", sum(groups[:k])),) if k else ()
        found[f"slice{k}_anchors"] = Ends("entropy", (hyper_map, *before), (*parameters, support))
        found[f"slice{k}_nonanchors"] = Ends("entropy", (latents("anchors", group), support), parameters)
    return found


def _divisor(side: str) -> int:
    return int(side[2:] or 1)


def _sides(ports: tuple[Port, ...], inputs: Mapping[str, Shape]) -> tuple[int, int]:
    """Return height and width of the padded image that belongs to these input shapes; 0 if no input has the side."""
    sides = {"H": 0, "W": 0}
    for port in ports:
        for side, size in zip(port.shape, inputs.get(port.name, ()), strict=False):
            if isinstance(side, str):
                sides[side[0]] = size * _divisor(side)
    return sides["H"], sides["W"]
