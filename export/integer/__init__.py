"""Build the exact entropy path: integer arithmetic from z's symbols to CDF indexes and means (docs/arithmetic.md)."""

from .build import build, default_images
from .graphs import LOWERINGS, LoweredGraph, lower
from .network import IntegerNetwork

__all__ = ["LOWERINGS", "IntegerNetwork", "LoweredGraph", "build", "default_images", "lower"]
