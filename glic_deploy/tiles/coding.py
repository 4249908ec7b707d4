"""Large images: coded and decoded tile by tile on an engine, several at once where cores and memory allow."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Literal, TypeVar, get_args

import numpy as np

from .. import channel_codec, many
from ..arguments import integer, one_of, shown
from ..bundle_codec import BundleCodec
from ..channels import Channels
from ..container import Buffer, Header
from ..entropy.passes import CodedPass
from ..entropy.quantizer import NEAREST, Weighing
from ..errors import BitstreamError, DamagedTilesWarning, ImageError, LimitError
from ..image import box_reduced
from ..limits import CODED_MULTIPLE, Limits, raised
from ..machine import cores
from ..refinement import SynthesisGradient
from . import table
from .geometry import Box, Grid
from .seams import ImageArray, strips
from .table import TiledFile

_Outcome = TypeVar("_Outcome")

Progress = Callable[[int, int], None]
"""Called with the tiles that are done and all there are, before the first and after each."""

OnError = Literal["raise", "fill"]

SIDE = 1024
OVERLAP = 16
"""The fewest pixels over which a seam is no edge: `python -m benchmarks.seams`."""
FILL = 128
"""The grey of tiles that cannot be decoded."""


def choose_grid(width: int, height: int, tile: int | None, limits: Limits) -> Grid | None:
    """The tiles in which to code an image; None: whole.

    tile: most pixels of a tile's side that are coded, overlap included, a multiple of CODED_MULTIPLE; 0: whole. None:
    whole when `limits` allow the memory, else SIDE or the most below it that they allow.

    Raises ImageError for another `tile`, LimitError when what it asks for takes too much memory.
    """
    tile = check_tile(tile)
    if tile is None:
        if limits.fits_memory(width, height):
            return None
        tile = _largest_side(width * height, limits)
    if not tile or max(width, height) <= tile:
        limits.check_memory(width, height)
        return None
    grid = Grid.divided(width, height, tile, OVERLAP)
    limits.check_memory(grid.columns.extent, grid.rows.extent)
    return grid


def check_tile(tile: int | None) -> int | None:
    """`tile` as `choose_grid` takes it. Raises ImageError for what is no side of a tile, and is not 0 or None."""
    if tile is None:
        return None
    expected = (
        f"a multiple of {CODED_MULTIPLE} pixels from {2 * CODED_MULTIPLE}, such as {SIDE}, or 0 to code the image whole"
    )
    side = integer("tile", tile, expected, ImageError, least=0)
    if side and (side < 2 * CODED_MULTIPLE or side % CODED_MULTIPLE):
        raise ImageError(f"tile is {side}, expected {expected}")
    return side


def _largest_side(pixels: int, limits: Limits) -> int:
    for side in range(SIDE, CODED_MULTIPLE, -CODED_MULTIPLE):
        if limits.network.needed(side, side) + 3 * pixels <= limits.max_memory:
            return side
    least = limits.network.needed(2 * CODED_MULTIPLE, 2 * CODED_MULTIPLE) + 3 * pixels
    raise LimitError(
        f"{limits.max_memory / (1 << 20):.0f} MiB of memory are allowed, coding {pixels:,} pixels in the smallest "
        f"tiles takes {least / (1 << 20):.0f} MiB; "
        f"{raised('max_memory', '...')}"
    )


def encode(
    engine: BundleCodec,
    header: Header,
    image: ImageArray,
    grid: Grid,
    limits: Limits,
    stages: dict[str, float] | None = None,
    progress: Progress | None = None,
    attachments: Sequence[Buffer] = (),
    weighing: Weighing = NEAREST,
    gradient: SynthesisGradient | None = None,
) -> bytes:
    """Return the bytes of a tiled file of `image`, uint8 of any channels.

    `stages` receives the sums over all tiles; `attachments` are those of `container.pack`. `weighing` is adapted to the
    rate of each tile; `gradient` refines the latents of each tile.
    """

    def work(index: int) -> tuple[bytes, int, dict[str, float]]:
        spent: dict[str, float] = {}
        return *channel_codec.encode(engine, image[grid.box(index).slices], spent, weighing, gradient), spent

    coded: list[tuple[bytes, int]] = []
    indexes = range(len(grid))
    for payload, checksum, spent in _in_order(indexes, work, _at_once(engine, grid, limits), progress):
        coded.append((payload, checksum))
        _add(stages, spent)
    return table.pack(header, grid, coded, attachments)


@dataclass(frozen=True)
class Strips:
    """An image in parts, arrays of some rows each from top to bottom. They can be iterated once.

    Attributes:
        width, height: the sides of the whole image.
        channels: the channels of the image.
        parts: the arrays, each as soon as it is decoded.
    """

    width: int
    height: int
    channels: Channels
    parts: Iterator[ImageArray]

    @classmethod
    def of(cls, image: ImageArray) -> Strips:
        """Return an image in one part."""
        return cls(image.shape[1], image.shape[0], Channels.of(image), iter([image]))

    def __iter__(self) -> Iterator[ImageArray]:
        return self.parts

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole image."""
        return self.channels.shape(self.height, self.width)

    def map(self, change: Callable[[ImageArray], ImageArray]) -> Strips:
        """Return these strips with `change` applied to each part, which must keep the part's shape."""
        return replace(self, parts=map(change, self.parts))

    def gather(self, out: ImageArray | None = None) -> ImageArray:
        """Return the whole image, in `out` if given."""
        image = np.empty(self.shape, np.uint8) if out is None else out
        done = 0
        for part in self.parts:
            image[done : done + len(part)] = part
            done += len(part)
        return image


def decode(
    engine: BundleCodec,
    file: TiledFile,
    region: tuple[int, int, int, int] | None,
    limits: Limits,
    *,
    scale: int = 1,
    on_error: OnError = "raise",
    damaged: list[Box] | None = None,
    stages: dict[str, float] | None = None,
    passes: list[CodedPass] | None = None,
    progress: Progress | None = None,
) -> Strips:
    """A region of a tiled image, each part as soon as its tiles are decoded; arguments as of `Codec.decode`."""
    check_on_error(on_error)
    grid, kept = file.grid, Channels.of_header(file.header)
    box = check_region(region, *grid.image[2:])
    small_box = box.reduced(scale)
    if grid.overlap % scale:  # of another encoder: a preview's pixels would lie across the edges of its tiles
        whole = decode(
            engine,
            file,
            small_box.enlarged(scale, grid.image),
            limits,
            on_error=on_error,
            damaged=damaged,
            stages=stages,
            passes=passes,
            progress=progress,
        )
        reduced = (box_reduced(strips.gather(), scale) for strips in [whole])
        return Strips(small_box.width, small_box.height, kept, reduced)
    small = grid.reduced(scale)
    indexes = [index for row in grid.touching(box) for index in row]

    def work(index: int) -> tuple[ImageArray | None, dict[str, float], list[CodedPass]]:
        tile, spent, coded = grid.box(index), dict[str, float](), list[CodedPass]()
        try:
            payload, checksum = file.payload(index), file.symbol_checksum(index)
            size = tile.height, tile.width
            image = channel_codec.decode(engine, kept, payload, checksum, *size, spent, coded, scale=scale)
        except BitstreamError as error:
            if on_error == "raise":
                raise BitstreamError(f"{file.place(index)}: {error}") from error
            return None, spent, []
        return image, spent, coded if passes is not None else []

    def tile_images(lost: list[Box]) -> Iterator[ImageArray]:
        for index, (image, spent, coded) in zip(
            indexes, _in_order(indexes, work, _at_once(engine, grid, limits), progress), strict=True
        ):
            _add(stages, spent)
            if passes is not None:
                passes.extend(coded)
            if image is None:
                lost.append(grid.box(index))
                size = small.box(index)
                image = kept.fill(size.height, size.width, FILL)
            yield image

    def parts() -> Iterator[ImageArray]:
        lost: list[Box] = []
        yield from strips(small, small_box, tile_images(lost))
        if damaged is not None:
            damaged.extend(lost)
        elif lost:
            warnings.warn(DamagedTilesWarning(lost, len(indexes)), stacklevel=2)

    return Strips(small_box.width, small_box.height, kept, parts())


def check_on_error(on_error: OnError) -> None:
    """Raise ImageError unless `on_error` is one of the words that OnError has."""
    one_of("on_error", on_error, get_args(OnError), ImageError)


def region_box(region: Sequence[int] | None) -> Box | None:
    """The region as a box, wherever it lies. Raises ImageError unless it is None or four integers."""
    if region is None:
        return None
    expected = "four integers (x, y, width, height)"
    try:
        values = list(region)
    except TypeError:
        values = []
    if len(values) != 4:
        raise ImageError(f"region is {shown(region)}, expected {expected}")
    return Box(*(integer("a number of the region", value, expected, ImageError) for value in values))


def check_region(region: Sequence[int] | None, width: int, height: int) -> Box:
    """The region as a box, None being the whole image. Raises ImageError unless it lies inside the image."""
    box = region_box(region)
    if box is None:
        return Box(0, 0, width, height)
    if min(box.x, box.y) < 0 or min(box.width, box.height) < 1 or box.right > width or box.bottom > height:
        raise ImageError(
            f"region is {box.width} x {box.height} pixels at {box.x}, {box.y}, expected a part (x, y, width, height) "
            f"of the image's {width} x {height} pixels"
        )
    return box


def _in_order(
    indexes: Sequence[int], work: Callable[[int], _Outcome], at_once: int, progress: Progress | None
) -> Iterator[_Outcome]:
    """`work` of each tile, some at a time, in order; the first error is raised."""
    report = progress or (lambda done, total: None)
    report(0, len(indexes))
    with closing(many.overlap(indexes, (work, at_once))) as outcomes:
        for done, outcome in enumerate(many.results(outcomes, "raise"), 1):
            report(done, len(indexes))
            yield outcome


def _at_once(engine: BundleCodec, grid: Grid, limits: Limits) -> int:
    """Tiles to work on at a time: what the engine's threads leave of the cores, less where memory asks for it."""
    most = cores() // engine.threads if engine.threads else 1
    size = grid.columns.extent, grid.rows.extent
    return next((times for times in range(most, 1, -1) if limits.fits_memory(*size, times)), 1)


def _add(stages: dict[str, float] | None, spent: dict[str, float]) -> None:
    if stages is not None:
        for name, seconds in spent.items():
            stages[name] = stages.get(name, 0.0) + seconds
