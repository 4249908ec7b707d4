// Tiled files: the table that tells where each tile is, and what its bytes and symbols must be (docs/format.md).

import { crc32c, cutShort, flat, littleEndian, readVarint, uint32 } from "./bytes.js";
import { checkEnd, checkFront, parse, readFront } from "./container.js";
import { BitstreamError } from "./errors.js";
import { Grid } from "./grid.js";
import { checkMemory, checkPayload, CODED_MULTIPLE, type Limits } from "./limits.js";
import { grouped, hex32 } from "./text.js";
import type { Bytes, Header } from "./types.js";

const ENTRY = 12;

interface Entry {
  start: number;
  length: number;
  symbolChecksum: number;
  payloadChecksum: number;
}

/** A tiled file whose header and table are intact; its tiles may not be. */
export class TiledFile {
  constructor(
    readonly header: Header,
    readonly grid: Grid,
    private readonly entries: readonly Entry[],
    private readonly data: Uint8Array,
  ) {}

  /** Returns a tile's coded image. Throws BitstreamError when it is cut short or damaged. */
  payload(index: number): Uint8Array {
    const { start, length, payloadChecksum } = this.entries[index];
    const payload = this.data.subarray(start, start + length);
    if (payload.length < length) throw cutShort(this.data.length, `at least ${grouped(start + length)} for this tile`);
    const computed = crc32c(payload);
    if (computed !== payloadChecksum) {
      throw new BitstreamError(
        `checksum mismatch: its bytes give ${hex32(computed)}, the table says ${hex32(payloadChecksum)}; get an ` +
          'unaltered copy, or decode the rest of the image (onError: "fill")',
      );
    }
    return payload;
  }

  symbolChecksum(index: number): number {
    return this.entries[index].symbolChecksum;
  }

  /** Returns a tile by its number and box, for messages. */
  place(index: number): string {
    const { x, y, width, height } = this.grid.box(index);
    return `tile ${index} of ${this.grid.count} (${width} x ${height} pixels at ${x}, ${y})`;
  }
}

/**
 * Checks a tiled file and reads its table.
 *
 * partial: look at nothing behind the table, which may be damaged or missing; only that nothing follows the file.
 */
export function parseTiled(data: Bytes, limits: Limits, partial: boolean): TiledFile {
  const bytes = flat(data);
  const file = partial ? null : parse(bytes, limits);
  const front = readFront(bytes);
  checkEnd(bytes, front);
  const { header } = front;
  const [columns, afterColumns] = readVarint(bytes, front.start, "tile width");
  const [rows, afterRows] = readVarint(bytes, afterColumns, "tile height");
  const [overlap, first] = readVarint(bytes, afterRows, "tile overlap");
  const grid = Grid.of(header.width, header.height, columns * CODED_MULTIPLE, rows * CODED_MULTIPLE, overlap);
  const end = first + grid.count * ENTRY;
  if (bytes.length < end + 4) throw cutShort(bytes.length, `at least ${grouped(end + 4)}`);
  const table = bytes.subarray(0, end);
  const [stored, computed] = [uint32(bytes, end), crc32c(table)];
  if (stored !== computed) {
    throw new BitstreamError(
      `checksum mismatch in the header or the table of tiles: the bytes give ${hex32(computed)}, the file says ` +
        `${hex32(stored)}; without them no tile can be decoded, get an unaltered copy`,
    );
  }
  checkFront(front, limits);
  const entries: Entry[] = [];
  let start = end + 4;
  for (let offset = first; offset < end; offset += ENTRY) {
    const [length, symbolChecksum, payloadChecksum] = [0, 4, 8].map((part) => uint32(bytes, offset + part));
    entries.push({ start, length, symbolChecksum, payloadChecksum });
    start += length;
  }
  if (start !== front.start + front.length) {
    throw new BitstreamError(
      `the tiles end at byte ${grouped(start)}, the payload at ${grouped(front.start + front.length)}; the file was ` +
        "badly written, encode the image anew",
    );
  }
  const combined = combinedChecksum(entries);
  if (file && file.symbolChecksum !== combined) {
    throw new BitstreamError(
      `the file's symbol checksum is ${hex32(file.symbolChecksum)}, its tiles' give ${hex32(combined)}; the file was ` +
        "badly written, encode the image anew",
    );
  }
  checkMemory(limits, grid.columns.extent, grid.rows.extent);
  entries.forEach(({ length }, index) => {
    const { width, height } = grid.box(index);
    checkPayload(limits, length, width, height);
  });
  return new TiledFile(header, grid, entries, bytes);
}

export function combinedChecksum(entries: readonly { symbolChecksum: number }[]): number {
  return crc32c(Uint8Array.from(entries.flatMap(({ symbolChecksum }) => littleEndian(symbolChecksum))));
}
