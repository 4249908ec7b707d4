"""Where the tiles of an image lie: the grid that follows from its size, the tiles' size and their overlap.

Specified in docs/format.md: a reader computes the same boxes from the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from ..limits import CODED_MULTIPLE
from ..scales import shrunk


class Box(NamedTuple):
    """A rectangle of pixels: its left and top edge, width and height."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.x + self.width

    @property
    def bottom(self) -> int:
        return self.y + self.height

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the rectangle in an array (H, W, ...)."""
        return slice(self.y, self.bottom), slice(self.x, self.right)

    def reduced(self, scale: int) -> Box:
        """Return the pixels at 1/scale size that show any pixel of the rectangle."""
        x, y = self.x // scale, self.y // scale
        return Box(x, y, shrunk(self.right, scale) - x, shrunk(self.bottom, scale) - y)

    def enlarged(self, scale: int, image: Box) -> Box:
        """Return the pixels of an image that a rectangle at 1/scale size shows."""
        x, y = self.x * scale, self.y * scale
        return Box(x, y, min(self.right * scale, image.right) - x, min(self.bottom * scale, image.bottom) - y)


@dataclass(frozen=True)
class Axis:
    """One side of an image, cut into intervals of `extent` pixels that share `overlap` with the next.

    The last interval ends with the side, and may be shorter, but is longer than `overlap`.

    Attributes:
        length: pixels of the side.
        extent: a multiple of `multiple`, at most `length` rounded up to one.
        overlap: at most a quarter of `extent` where there are several intervals, so that no pixel lies in three. All
            intervals together are then at most 1.5 times the side, each rounded up to `multiple`.
        multiple: CODED_MULTIPLE, or its part in an image of reduced size.
    """

    length: int
    extent: int
    overlap: int
    multiple: int = CODED_MULTIPLE

    def __post_init__(self) -> None:
        longest = _rounded_up(self.length, self.multiple)
        if self.extent % self.multiple or not self.multiple <= self.extent <= longest:
            raise ValueError(
                f"tiles of {self.extent} pixels on a side of {self.length}, expected a multiple of {self.multiple} "
                f"up to {longest}"
            )
        if self.overlap < 0 or (self.extent < self.length and 4 * self.overlap > self.extent):
            raise ValueError(
                f"tiles of {self.extent} pixels overlap by {self.overlap}, expected 0 to {self.extent // 4}, a quarter"
            )

    @classmethod
    def divided(cls, length: int, side: int, overlap: int) -> Axis:
        """The fewest intervals of at most `side` pixels, as equal as multiples of CODED_MULTIPLE allow."""
        count = max(1, -(-(length - overlap) // (side - overlap)))
        return cls(length, _rounded_up(-(-(length + (count - 1) * overlap) // count)), overlap)

    @property
    def count(self) -> int:
        return -(-(self.length - self.overlap) // self.step) if self.extent < self.length else 1

    @property
    def step(self) -> int:
        """Pixels from the start of one interval to that of the next."""
        return self.extent - self.overlap if self.extent < self.length else self.extent

    def start(self, index: int) -> int:
        return index * self.step

    def stop(self, index: int) -> int:
        return min(index * self.step + self.extent, self.length)

    def reduced(self, scale: int) -> Axis:
        """Return the intervals at 1/scale size, for a scale that divides the overlap and the multiple."""
        sizes = self.extent // scale, self.overlap // scale, self.multiple // scale
        return Axis(shrunk(self.length, scale), *sizes)

    def touching(self, start: int, stop: int) -> range:
        """The intervals that hold any pixel of start ≤ pixel < stop."""
        return range(max(0, (start - self.extent) // self.step + 1), min(self.count - 1, (stop - 1) // self.step) + 1)


@dataclass(frozen=True)
class Grid:
    """The tiles of an image, numbered in rows from its top left.

    Attributes:
        columns: its width.
        rows: its height, cut with the same overlap.

    Raises ValueError for a single tile: that is an image which is not coded in tiles.
    """

    columns: Axis
    rows: Axis

    def __post_init__(self) -> None:
        if len(self) < 2:
            raise ValueError("the image fits one tile, expected at least two")

    @classmethod
    def of(cls, width: int, height: int, tile_width: int, tile_height: int, overlap: int) -> Grid:
        return cls(Axis(width, tile_width, overlap), Axis(height, tile_height, overlap))

    @classmethod
    def divided(cls, width: int, height: int, side: int, overlap: int) -> Grid:
        """The fewest tiles whose sides are at most `side`, a multiple of CODED_MULTIPLE; overlap: at most side / 8."""
        return cls(Axis.divided(width, side, overlap), Axis.divided(height, side, overlap))

    def __len__(self) -> int:
        return self.rows.count * self.columns.count

    @property
    def overlap(self) -> int:
        return self.rows.overlap

    @cached_property
    def image(self) -> Box:
        """All of it."""
        return Box(0, 0, self.columns.length, self.rows.length)

    def box(self, index: int) -> Box:
        """The pixels of a tile, cut off at the image's edge."""
        row, column = divmod(index, self.columns.count)
        x, y = self.columns.start(column), self.rows.start(row)
        return Box(x, y, self.columns.stop(column) - x, self.rows.stop(row) - y)

    def reduced(self, scale: int) -> Grid:
        """Return the tiles at 1/scale size, for a scale that divides the overlap."""
        return Grid(self.columns.reduced(scale), self.rows.reduced(scale))

    def touching(self, region: Box) -> list[list[int]]:
        """The tiles that hold any pixel of a rectangle of the image, row by row."""
        columns = self.columns.touching(region.x, region.right)
        rows = self.rows.touching(region.y, region.bottom)
        return [[row * self.columns.count + column for column in columns] for row in rows]


def _rounded_up(pixels: int, multiple: int = CODED_MULTIPLE) -> int:
    return -(-pixels // multiple) * multiple
