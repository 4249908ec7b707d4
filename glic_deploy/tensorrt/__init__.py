"""TensorRT and TensorRT-RTX: selects a flavour, registers our ops as plugins, and builds plans."""

from .flavours import FLAVOURS, INSTALL, RTX_CAPABILITIES, Capability, Flavour, choose, installed, load, shown
from .plans import BuildOptions, Profile, build_plan, on_terminal

__all__ = [
    "FLAVOURS",
    "INSTALL",
    "RTX_CAPABILITIES",
    "BuildOptions",
    "Capability",
    "Flavour",
    "Profile",
    "build_plan",
    "choose",
    "installed",
    "load",
    "on_terminal",
    "shown",
]
