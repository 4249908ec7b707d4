// Rectangles of pixels.

import { ImageError } from "./errors.js";
import type { Region } from "./types.js";

/** A rectangle of pixels. */
export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Returns the pixels of a side, or the end of a region, at 1/scale size. */
export function shrunk(pixels: number, scale: number): number {
  return Math.ceil(pixels / scale);
}

/** Returns the pixels at 1/scale size that show any pixel of a rectangle. */
export function reduced({ x, y, width, height }: Box, scale: number): Box {
  const [left, top] = [Math.floor(x / scale), Math.floor(y / scale)];
  return { x: left, y: top, width: shrunk(x + width, scale) - left, height: shrunk(y + height, scale) - top };
}

/** Returns a region as a box, undefined being the whole image. Throws ImageError unless it lies inside the image. */
export function regionBox(region: Region | undefined, width: number, height: number): Box {
  const [x, y, columns, rows] = region ?? [0, 0, width, height];
  const whole = [x, y, columns, rows].every(Number.isInteger);
  if (!whole || Math.min(x, y) < 0 || Math.min(columns, rows) < 1 || x + columns > width || y + rows > height) {
    throw new ImageError(
      `region is ${columns} x ${rows} pixels at ${x}, ${y}, expected a part [x, y, width, height] of the image's ` +
        `${width} x ${height} pixels`,
    );
  }
  return { x, y, width: columns, height: rows };
}
