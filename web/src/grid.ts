// The tiles of an image: the grid that follows from its size, the tiles' size and their overlap.

import { BitstreamError } from "./errors.js";
import { type Box, shrunk } from "./geometry.js";
import { CODED_MULTIPLE, roundedUp } from "./limits.js";

/** One side of an image, cut into intervals of `extent` pixels that share `overlap` with the next. */
export class Axis {
  constructor(
    readonly length: number,
    readonly extent: number,
    readonly overlap: number,
    multiple = CODED_MULTIPLE,
  ) {
    const longest = roundedUp(length, multiple);
    if (extent % multiple || extent < multiple || extent > longest) {
      throw unfit(`tiles of ${extent} pixels on a side of ${length}, expected a multiple of ${multiple} up to ${longest}`);
    }
    if (extent < length && 4 * overlap > extent) {
      throw unfit(`tiles of ${extent} pixels overlap by ${overlap}, expected 0 to ${Math.floor(extent / 4)}, a quarter`);
    }
  }

  /** Returns the fewest intervals of at most `side` pixels, as equal as multiples of CODED_MULTIPLE allow. */
  static divided(length: number, side: number, overlap: number): Axis {
    const count = Math.max(1, Math.ceil((length - overlap) / (side - overlap)));
    return new Axis(length, roundedUp(Math.ceil((length + (count - 1) * overlap) / count)), overlap);
  }

  get count(): number {
    return this.extent < this.length ? Math.ceil((this.length - this.overlap) / this.step) : 1;
  }

  /** Pixels from the start of one interval to that of the next. */
  get step(): number {
    return this.extent < this.length ? this.extent - this.overlap : this.extent;
  }

  start(index: number): number {
    return index * this.step;
  }

  stop(index: number): number {
    return Math.min(index * this.step + this.extent, this.length);
  }

  reduced(scale: number): Axis {
    return new Axis(
      shrunk(this.length, scale), this.extent / scale, this.overlap / scale, CODED_MULTIPLE / scale,
    );
  }

  /** Returns the intervals that hold any pixel of start <= pixel < stop. */
  touching(start: number, stop: number): number[] {
    const first = Math.max(0, Math.floor((start - this.extent) / this.step) + 1);
    const last = Math.min(this.count - 1, Math.floor((stop - 1) / this.step));
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  }
}

/** The tiles of an image, numbered in rows from its top left. Throws BitstreamError for a single tile. */
export class Grid {
  constructor(
    readonly columns: Axis,
    readonly rows: Axis,
  ) {
    if (this.count < 2) throw unfit("the image fits one tile, expected at least two");
  }

  static of(width: number, height: number, tileWidth: number, tileHeight: number, overlap: number): Grid {
    return new Grid(new Axis(width, tileWidth, overlap), new Axis(height, tileHeight, overlap));
  }

  get count(): number {
    return this.rows.count * this.columns.count;
  }

  get overlap(): number {
    return this.rows.overlap;
  }

  /** Returns the pixels of a tile, cut off at the image's edge. */
  box(index: number): Box {
    const column = index % this.columns.count;
    const row = (index - column) / this.columns.count;
    const [x, y] = [this.columns.start(column), this.rows.start(row)];
    return { x, y, width: this.columns.stop(column) - x, height: this.rows.stop(row) - y };
  }

  /** Returns the tiles at 1/scale size, for a scale that divides the overlap. */
  reduced(scale: number): Grid {
    return new Grid(this.columns.reduced(scale), this.rows.reduced(scale));
  }

  /** Returns the tiles that hold any pixel of a rectangle, row by row. */
  touching({ x, y, width, height }: Box): number[][] {
    const columns = this.columns.touching(x, x + width);
    return this.rows
      .touching(y, y + height)
      .map((row) => columns.map((column) => row * this.columns.count + column));
  }
}

function unfit(problem: string): BitstreamError {
  return new BitstreamError(`${problem}; the file was altered or badly written, get an unaltered copy`);
}
