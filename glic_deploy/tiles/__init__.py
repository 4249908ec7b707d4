"""Large images in tiles: their geometry, their place in a `.glic` file, and how they become one image again."""

from .coding import (
    OnError,
    Progress,
    Strips,
    check_on_error,
    check_region,
    check_tile,
    choose_grid,
    decode,
    encode,
    region_box,
)
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
    "check_on_error",
    "check_region",
    "check_tile",
    "choose_grid",
    "decode",
    "encode",
    "parse",
    "region_box",
    "save_strips",
]
