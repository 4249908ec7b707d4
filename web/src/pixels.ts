// Images as pages have them: red, green, blue and alpha, 8 bits each.

import type { Box, Grid } from "./geometry.js";
import { shrunk } from "./geometry.js";
import { roundedUp } from "./limits.js";

export interface Pixels {
  data: Uint8ClampedArray<ArrayBuffer>;
  width: number;
  height: number;
}

/** Bytes of one or several channels, row by row. */
export interface Planes {
  data: Uint8Array;
  width: number;
  height: number;
  channels: number;
}

const OPAQUE = 255;

export function blank(width: number, height: number, value: number): Pixels {
  const data = new Uint8ClampedArray(4 * width * height).fill(value);
  for (let i = 3; i < data.length; i += 4) data[i] = OPAQUE;
  return { data, width, height };
}

/** Returns the left upper part of an image. */
export function cropped({ data, width, channels }: Planes, columns: number, rows: number): Planes {
  const part = new Uint8Array(columns * rows * channels);
  for (let row = 0; row < rows; row++) {
    const start = row * width * channels;
    part.set(data.subarray(start, start + columns * channels), row * columns * channels);
  }
  return { data: part, width: columns, height: rows, channels };
}

/** Returns an image at 1/scale size: each pixel is the mean of those that it shows, as Pillow rounds it. */
export function boxReduced(image: Planes, scale: number): Planes {
  if (scale === 1) return image;
  const [width, height] = [shrunk(image.width, scale), shrunk(image.height, scale)];
  const { channels, data: pixels } = image;
  const data = new Uint8Array(width * height * channels);
  for (let row = 0; row < height; row++) {
    const [top, bottom] = [row * scale, Math.min((row + 1) * scale, image.height)];
    for (let column = 0; column < width; column++) {
      const [left, right] = [column * scale, Math.min((column + 1) * scale, image.width)];
      const count = (bottom - top) * (right - left);
      const factor = Math.floor(2 ** 24 / count);
      for (let channel = 0; channel < channels; channel++) {
        let sum = Math.floor(count / 2);
        for (let y = top; y < bottom; y++) {
          for (let x = left; x < right; x++) sum += pixels[(y * image.width + x) * channels + channel];
        }
        data[(row * width + column) * channels + channel] = Math.floor((sum * factor) / 2 ** 24);
      }
    }
  }
  return { data, width, height, channels };
}

/** Returns decoded red, green and blue as pixels: grey is their mean, rounded to nearest. */
export function withChannels({ data, width, height }: Planes, grey: boolean, alpha: Uint8Array | null): Pixels {
  const pixels = new Uint8ClampedArray(4 * width * height);
  for (let from = 0, to = 0; to < pixels.length; from += 3, to += 4) {
    if (grey) {
      pixels.fill(Math.floor((data[from] + data[from + 1] + data[from + 2] + 1) / 3), to, to + 3);
    } else {
      pixels[to] = data[from];
      pixels[to + 1] = data[from + 1];
      pixels[to + 2] = data[from + 2];
    }
    pixels[to + 3] = alpha ? alpha[to >>> 2] : OPAQUE;
  }
  return { data: pixels, width, height };
}

/** Returns a part of an image. */
export function cut(image: Pixels, { x, y, width, height }: Box): Pixels {
  if (width === image.width && height === image.height) return image;
  const data = new Uint8ClampedArray(4 * width * height);
  for (let row = 0; row < height; row++) {
    const start = 4 * ((y + row) * image.width + x);
    data.set(image.data.subarray(start, start + 4 * width), 4 * row * width);
  }
  return { data, width, height };
}

/** Returns red, green and blue with edges that repeat up to multiples of CODED_MULTIPLE pixels. */
export function padded({ data, width, height }: Pixels): Planes {
  const [columns, rows] = [roundedUp(width), roundedUp(height)];
  const whole = new Uint8Array(3 * columns * rows);
  for (let row = 0, to = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, to += 3) {
      const from = 4 * (Math.min(row, height - 1) * width + Math.min(column, width - 1));
      for (let channel = 0; channel < 3; channel++) whole[to + channel] = data[from + channel];
    }
  }
  return { data: whole, width: columns, height: rows, channels: 3 };
}

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
