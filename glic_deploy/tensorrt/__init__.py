"""TensorRT in its flavours: finding one, giving it the two ops as plugins, and building plans with it."""

from .flavours import FLAVOURS, Flavour, choose, installed, load
from .plans import BuildOptions, Profile, build_plan, on_terminal

__all__ = ["FLAVOURS", "BuildOptions", "Flavour", "Profile", "build_plan", "choose", "installed", "load", "on_terminal"]
