"""Large pictures in tiles: their geometry, their place in a `.glic` file, and how they become one picture again."""

from .coding import OnError, Progress, Strips, check_region, choose_grid, decode, encode
from .geometry import Box, Grid
from .saving import save_strips
from .table import TiledFile, parse

__all__ = [
    "Box",
    "Grid",
    "OnError",
    "Progress",
    "Strips",
    "TiledFile",
    "check_region",
    "choose_grid",
    "decode",
    "encode",
    "parse",
    "save_strips",
]
