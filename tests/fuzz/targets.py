"""All targets by their names, imported when they are asked for: some need torch, others must not pay for it."""

from __future__ import annotations

from importlib import import_module

from .target import Target

_PLACES = {
    "headers": "glic_files.Headers",
    "metadata": "glic_files.MetadataItems",
    "alpha": "glic_files.Alpha",
    "decoder": "glic_files.Decoder",
    "bundles": "bundles.Bundles",
    "engines": "bundles.Engines",
    "checkpoints": "checkpoints.Checkpoints",
    "images": "images.Images",
    "command-lines": "command_lines.CommandLines",
    "nodes": "nodes.Nodes",
    "planted": "planted.Planted",
}
NAMES = tuple(name for name in _PLACES if name != "planted")  # that one tests the driver


def find(name: str) -> type[Target]:
    """The class of a target."""
    module, _, attribute = _PLACES[name].partition(".")
    found: type[Target] = getattr(import_module(f".{module}", __package__), attribute)
    return found
