"""TensorRT in its flavours: finding one, giving it the two ops as plugins, and building plans with it."""

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
