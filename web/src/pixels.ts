// Images as pages have them: red, green, blue and alpha, 8 bits each.

import type { Box } from "./geometry.js";
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
