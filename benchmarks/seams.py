"""Measure what tiles cost in bits, and whether their seams are visible: `python -m benchmarks.seams`.

Each image is coded whole, and in tiles of several sides and overlaps. The decoded tiles are joined in two ways: by
cropping at the middle of their overlap, and by fading over the overlap. Each line compares tiles with the image that
was coded whole:

  bits     share of bytes that the file in tiles has in addition
  psnr     difference of the PSNRs
  band     PSNR of the pixels within 8 pixels of a seam's middle, less the PSNR of all other pixels; the difference of
           this number from the number of the image that was coded whole
  step     mean error of the jump from one pixel to the next across a seam's middle, over the same error of the image
           that was coded whole; 1 if the seam is no edge

The last line is a JSON object: {"rows": [{"image", "tile", "overlap", "join", "bits", "psnr", "band", "step"}]}.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glic_deploy import machine
from glic_deploy.bundle_codec import BundleCodec
from glic_deploy.image import load_image, pad
from glic_deploy.tiles import Box, Grid
from glic_deploy.tiles.coding import OVERLAP
from glic_deploy.tiles.seams import Weights, fade, strips

PHOTOS = Path(__file__).resolve().parent.parent / "samples" / "photos"
NEAR = 8
FRAME, TABLE, ENTRY = 33, 7, 12  # bytes of a file beside its payloads
Pixels = NDArray[np.uint8]


def crop(pixels: int) -> NDArray[np.uint32]:
    """Return weights that show the first image up to the middle of the overlap, and then the second image."""
    return np.where(np.arange(pixels) < pixels // 2, 0, 2 * pixels).astype(np.uint32)


JOINS: dict[str, Weights] = {"crop": crop, "fade": fade}


@dataclass(frozen=True)
class Row:
    image: str
    tile: int
    overlap: int
    join: str
    bits: float
    psnr: float
    band: float
    step: float


@dataclass(frozen=True)
class Worst:
    """Hold the seam with the largest step: the step, the original and decoded pixels around it, and a title."""

    step: float
    original: Pixels
    decoded: Pixels
    title: str


def middles(grid: Grid) -> tuple[list[int], list[int]]:
    """Return the first pixel after the middle of each seam, from left to right and from top to bottom."""
    across, down = (
        [axis.start(index) + axis.overlap // 2 for index in range(1, axis.count)] for axis in (grid.columns, grid.rows)
    )
    return across, down


def near_seams(grid: Grid) -> NDArray[np.bool_]:
    box = grid.image
    near = np.zeros((box.height, box.width), bool)
    across, down = middles(grid)
    for x in across:
        near[:, max(0, x - NEAR) : x + NEAR] = True
    for y in down:
        near[max(0, y - NEAR) : y + NEAR] = True
    return near


def psnr(error: NDArray[np.float64]) -> float:
    return float(10 * np.log10(255**2 / np.square(error).mean()))


def band(error: NDArray[np.float64], near: NDArray[np.bool_]) -> float:
    return psnr(error[near]) - psnr(error[~near])


def steps(ours: NDArray[np.float64], whole: NDArray[np.float64], grid: Grid) -> dict[tuple[int, int], float]:
    """Compute the step of each seam (axis, middle): the mean jump of the error across it, over that of `whole`.

    ours, whole: errors of the image in tiles, and of the image that was coded whole.
    """
    found = {}
    for axis, places in zip((1, 0), middles(grid), strict=True):
        tiled, untiled = (np.abs(np.diff(error, axis=axis)).mean(axis=(1 - axis, 2)) for error in (ours, whole))
        for place in places:
            found[axis, place] = float(tiled[place - 1] / untiled[place - 1])
    return found


def measure(
    engine: BundleCodec, name: str, original: Pixels, tiles: Iterable[int], overlaps: Iterable[int]
) -> tuple[list[Row], Worst]:
    """Measure one image; return its rows, and its worst seam among tiles that are faded over the default overlap."""
    height, width = original.shape[:2]
    whole_payload, checksum = engine.encode(pad(original))
    whole = engine.decode(whole_payload, checksum, height, width).astype(np.float64) - original
    rows, worst = [], Worst(0.0, original, original, "")
    for side in tiles:
        for overlap in overlaps:
            if max(width, height) <= side or 4 * overlap > side:
                continue
            grid = Grid.divided(width, height, side, overlap)
            boxes = [grid.box(index) for index in range(len(grid))]
            coded = [engine.encode(pad(original[box.slices])) for box in boxes]
            decoded = [engine.decode(*one, box.height, box.width) for one, box in zip(coded, boxes, strict=True)]
            size = FRAME + TABLE + sum(ENTRY + len(payload) for payload, _ in coded)
            near = near_seams(grid)
            for join, weights in JOINS.items():
                if not overlap and join == "fade":
                    continue
                image = np.concatenate(list(strips(grid, grid.image, decoded, weights)))
                error = image.astype(np.float64) - original
                found = steps(error, whole, grid)
                row = Row(
                    name, side, overlap, join,
                    bits=size / (FRAME + len(whole_payload)) - 1,
                    psnr=psnr(error) - psnr(whole),
                    band=band(error, near) - band(whole, near),
                    step=float(np.mean(list(found.values()))),
                )  # fmt: skip
                rows.append(row)
                print(line(row), flush=True)
                seam = max(found, key=lambda key: found[key])
                if (join, overlap) == ("fade", OVERLAP) and found[seam] > worst.step:
                    cut = around(seam, error, image.shape).slices
                    title = f"{name}, tile {side}, overlap {overlap}, {join}"
                    worst = Worst(found[seam], original[cut], image[cut], title)
    return rows, worst


def around(seam: tuple[int, int], error: NDArray[np.float64], shape: tuple[int, ...], size: int = 160) -> Box:
    """Return a square of the image with the largest jumps of the seam in its middle."""
    axis, place = seam
    jumps = np.abs(np.diff(error, axis=axis)).mean(axis=2).take(place - 1, axis=axis)
    along = int(np.convolve(jumps, np.ones(size), "same").argmax())
    y, x = (place, along) if axis == 0 else (along, place)
    x, y = (int(np.clip(v - size // 2, 0, n - size)) for v, n in ((x, shape[1]), (y, shape[0])))
    return Box(x, y, size, size)


def line(row: Row) -> str:
    return (
        f"{row.image:18.18}{row.tile:6}{row.overlap:9}  {row.join:5}{100 * row.bits:+8.2f} %{row.psnr:+9.3f} dB"
        f"{row.band:+9.3f} dB{row.step:8.3f}"
    )


def table(rows: list[Row]) -> None:
    """Print the means over the images."""
    print("\nmean of all images")
    for key in sorted({(row.tile, row.overlap, row.join) for row in rows}):
        same = [row for row in rows if (row.tile, row.overlap, row.join) == key]
        bits, psnr, band, step = np.mean([(row.bits, row.psnr, row.band, row.step) for row in same], axis=0).tolist()
        print(line(Row(f"{len(same)} images", *key, bits, psnr, band, step)))


def save(worst: Worst, path: Path) -> None:
    """Write the original and the decoded pixels side by side, three times enlarged."""
    both = np.concatenate([worst.original, worst.decoded], axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(both.repeat(3, axis=0).repeat(3, axis=1)).save(path)
    print(f"\nthe worst seam ({worst.title}: step {worst.step:.3f}), original and decoded: {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", type=Path, default=sorted(PHOTOS.glob("*.png")))
    parser.add_argument("--engine", metavar="DIR", required=True, help="the engine bundle")
    parser.add_argument("--tiles", type=numbers, default=[256, 384, 512], help="sides of tiles (default: 256,384,512)")
    parser.add_argument("--overlaps", type=numbers, default=[0, 16, 32, 64], help="overlaps (default: 0,16,32,64)")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--worst", type=Path, default=Path("out/worst_seam.png"), help="file for the image of the worst seam"
    )
    args = parser.parse_args()
    print(machine.summary(machine.describe()))
    print(f"{'image':18}{'tile':>6}{'overlap':>9}  {'join':5}{'bits':>10}{'psnr':>12}{'band':>12}{'step':>8}")
    rows: list[Row] = []
    worsts: list[Worst] = []
    engine = BundleCodec(args.engine, threads=args.threads)
    for path in args.images:
        found, worst = measure(engine, path.stem, load_image(path), args.tiles, args.overlaps)
        rows += found
        worsts.append(worst)
    table(rows)
    save(max(worsts, key=lambda one: one.step), args.worst)
    print(json.dumps({"rows": [asdict(row) for row in rows]}))


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
