// Decoded tiles joined to an image.

import type { Box } from "./geometry.js";
import type { Grid } from "./grid.js";
import type { Pixels } from "./pixels.js";

/**
 * Returns a region of an image in tiles: where two overlap, one fades into the other.
 *
 * Neighbours in a row are joined first, rows second, each in integers, so that a pixel does not depend on what else is
 * decoded with it. `tile` returns the image of a tile; a row of them is held at a time.
 */
export async function joined(grid: Grid, region: Box, tile: (index: number) => Promise<Pixels>): Promise<Pixels> {
  const data = new Uint8ClampedArray(4 * region.width * region.height);
  const rows = grid.touching(region);
  let above: Uint8ClampedArray | null = null; // the rows that the next tiles share
  for (const row of rows) {
    const box = grid.box(row[0]);
    const images: Pixels[] = [];
    for (const index of row) images.push(await tile(index));
    const right = grid.box(row[row.length - 1]);
    const band = rowOf(images, grid, right.x + right.width - box.x);
    const bytes = 4 * band.width;
    if (above) mix(band.data, above, grid.overlap, (i) => Math.floor(i / bytes));
    const known = row === rows[rows.length - 1] ? box.height : box.height - grid.overlap;
    above = band.data.slice(known * bytes);
    const last = Math.min(box.y + known, region.y + region.height);
    for (let y = Math.max(box.y, region.y); y < last; y++) {
      const from = (y - box.y) * bytes + 4 * (region.x - box.x);
      data.set(band.data.subarray(from, from + 4 * region.width), 4 * (y - region.y) * region.width);
    }
  }
  return { data, width: region.width, height: region.height };
}

/** Returns neighbours of one height as one image. */
function rowOf(images: readonly Pixels[], grid: Grid, width: number): Pixels {
  const { height } = images[0];
  const data = new Uint8ClampedArray(4 * width * height);
  images.forEach((image, number) => {
    const start = number * grid.columns.step;
    for (let y = 0; y < height; y++) {
      const target = data.subarray(4 * (y * width + start), 4 * (y * width + start + image.width));
      const before = number ? target.slice(0, 4 * grid.overlap) : null;
      target.set(image.data.subarray(4 * y * image.width, 4 * (y + 1) * image.width));
      if (before) mix(target, before, grid.overlap, (i) => i >>> 2);
    }
  });
  return { data, width, height };
}

/** Fades `first` into the image `second`, in its place; `position` tells how far a byte lies in the shared pixels. */
function mix(second: Uint8ClampedArray, first: Uint8ClampedArray, pixels: number, position: (i: number) => number): void {
  for (let i = 0; i < first.length; i++) {
    const share = 2 * position(i) + 1;
    second[i] = Math.floor((first[i] * (2 * pixels - share) + second[i] * share + pixels) / (2 * pixels));
  }
}
