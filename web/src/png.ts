// The alpha channel: a PNG file of one grey channel with 8 bits. Browsers' own decoders may change pixels.

import { ALTERED, concatenated, crc32 } from "./bytes.js";
import { BitstreamError } from "./errors.js";
import { inflate } from "./inflate.js";

export const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
const MODES: Record<string, string> = { "0 8": "L", "0 1": "1", "0 16": "I;16", "2 8": "RGB", "3 8": "P", "4 8": "LA", "6 8": "RGBA" };
/** Left, top and the steps of each pass of Adam7. */
const INTERLACED = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];

/** Returns the alpha (height, width) of a PNG file. Its size is checked before anything is allocated by it. */
export function decodeAlpha(encoded: Uint8Array, width: number, height: number): Uint8Array {
  try {
    return decode(encoded, width, height);
  } catch (error) {
    if (!(error instanceof BitstreamError) || error.message.startsWith("the alpha")) throw error;
    throw new BitstreamError(`the alpha image cannot be read: ${error.message}; ${ALTERED}`);
  }
}

function decode(encoded: Uint8Array, width: number, height: number): Uint8Array {
  if (SIGNATURE.some((byte, i) => encoded[i] !== byte)) throw new BitstreamError("it is no PNG file");
  const view = new DataView(encoded.buffer, encoded.byteOffset, encoded.byteLength);
  const parts: Uint8Array[] = [];
  let interlaced = false;
  let ended = false;
  for (let offset = SIGNATURE.length; !ended; ) {
    if (offset + 12 > encoded.length) throw new BitstreamError("it is cut short");
    const length = view.getUint32(offset);
    const end = offset + 8 + length;
    if (end + 4 > encoded.length) throw new BitstreamError("it is cut short");
    const name = String.fromCharCode(...encoded.subarray(offset + 4, offset + 8));
    if (crc32(encoded.subarray(offset + 4, end)) !== view.getUint32(end)) {
      throw new BitstreamError(`the checksum of ${name} is wrong`);
    }
    if ((offset === SIGNATURE.length) !== (name === "IHDR")) throw new BitstreamError(`${name} is out of place`);
    if (name === "IHDR") {
      if (length !== 13) throw new BitstreamError("its header has another length");
      checkForm(view, offset + 8, width, height);
      interlaced = encoded[end - 1] === 1;
    } else if (name === "IDAT") {
      parts.push(encoded.subarray(offset + 8, end));
    } else if (name === "IEND") {
      ended = true;
    }
    offset = end + 4;
  }
  const passes = interlaced ? INTERLACED : [[0, 0, 1, 1]];
  const sizes = passes.map(([left, top, across, down]) => [
    Math.ceil(Math.max(0, width - left) / across), Math.ceil(Math.max(0, height - top) / down),
  ]);
  const bytes = sizes.reduce((total, [columns, rows]) => total + (columns ? rows * (columns + 1) : 0), 0);
  const filtered = unzipped(concatenated(parts), bytes);
  const alpha = new Uint8Array(width * height);
  let start = 0;
  passes.forEach(([left, top, across, down], pass) => {
    const [columns, rows] = sizes[pass];
    if (!columns) return;
    unfilter(filtered.subarray(start, start + rows * (columns + 1)), columns, rows);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        alpha[(top + row * down) * width + left + column * across] = filtered[start + row * (columns + 1) + 1 + column];
      }
    }
    start += rows * (columns + 1);
  });
  return alpha;
}

function checkForm(view: DataView, offset: number, width: number, height: number): void {
  const [columns, rows] = [view.getUint32(offset), view.getUint32(offset + 4)];
  const form = `${view.getUint8(offset + 9)} ${view.getUint8(offset + 8)}`;
  if (columns !== width || rows !== height || MODES[form] !== "L") {
    throw new BitstreamError(
      `the alpha image has ${columns} x ${rows} pixels of mode ${MODES[form] ?? form}, expected ${width} x ${height} ` +
        `of mode L; ${ALTERED}`,
    );
  }
}

/** Returns the bytes of a zlib stream (RFC 1950). */
function unzipped(data: Uint8Array, size: number): Uint8Array {
  if ((data[0] & 15) !== 8 || data[1] & 32 || ((data[0] << 8) | data[1]) % 31) {
    throw new BitstreamError("its data is no zlib stream");
  }
  const { content, end } = inflate(data.subarray(2), size);
  const stored = [0, 1, 2, 3].reduce((sum, i) => sum * 256 + data[2 + end + i], 0);
  if (stored !== adler32(content)) throw new BitstreamError("the checksum of its data is wrong");
  return content;
}

function adler32(bytes: Uint8Array): number {
  let [low, high] = [1, 0];
  for (const byte of bytes) {
    low = (low + byte) % 65521;
    high = (high + low) % 65521;
  }
  return high * 65536 + low;
}

/** Undoes the filters of rows of `columns` bytes, each behind the byte of its filter, in place. */
function unfilter(data: Uint8Array, columns: number, rows: number): void {
  const stride = columns + 1;
  for (let row = 0; row < rows; row++) {
    const start = row * stride;
    const filter = data[start];
    if (filter > 4) throw new BitstreamError(`a row has the unknown filter ${filter}`);
    for (let i = start + 1; i <= start + columns; i++) {
      const left = i > start + 1 ? data[i - 1] : 0;
      const above = row ? data[i - stride] : 0;
      const corner = row && i > start + 1 ? data[i - stride - 1] : 0;
      data[i] += [0, left, above, (left + above) >> 1, filter === 4 ? paeth(left, above, corner) : 0][filter];
    }
  }
}

function paeth(left: number, above: number, corner: number): number {
  const estimate = left + above - corner;
  const [a, b, c] = [Math.abs(estimate - left), Math.abs(estimate - above), Math.abs(estimate - corner)];
  return a <= b && a <= c ? left : b <= c ? above : corner;
}
