// Bytes, unsigned LEB128 numbers and checksums (docs/format.md).

import { BitstreamError } from "./errors.js";
import { grouped, hex } from "./text.js";
import type { Bytes } from "./types.js";

export const ALTERED = "the file was altered or badly written, get an unaltered copy";
export const UINT32_MAX = 0xffffffff;

const MOST_VARINT_BYTES = 5;

/** Returns a view of the bytes of a buffer. */
export function flat(data: Bytes): Uint8Array {
  return ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    : new Uint8Array(data);
}

/** Returns the error for a file that ends too early. */
export function cutShort(got: number, expected: string): BitstreamError {
  return new BitstreamError(
    `the file is cut short: got ${grouped(got)} bytes, expected ${expected}; get a whole copy`,
  );
}

export function uint32(bytes: Uint8Array, offset: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(offset, true);
}

/** Reads a value; throws BitstreamError unless it is the shortest encoding of a number of 32 bits. */
export function readVarint(bytes: Uint8Array, offset: number, name: string): [value: number, end: number] {
  let value = 0;
  for (let position = 0; position < MOST_VARINT_BYTES; position++) {
    if (offset + position >= bytes.length) throw cutShort(bytes.length, `at least ${grouped(bytes.length + 1)}`);
    const byte = bytes[offset + position];
    value += (byte & 0x7f) * 2 ** (7 * position); // shifts would lose the sign bit
    if (byte < 0x80) {
      if ((position && !byte) || value > UINT32_MAX) break;
      return [value, offset + position + 1];
    }
  }
  throw new BitstreamError(
    `${name} at byte ${offset} is ${hex(bytes.subarray(offset, offset + MOST_VARINT_BYTES))}, expected a 32-bit ` +
      `number as the shortest varint; ${ALTERED}`,
  );
}

export function writeVarint(value: number): number[] {
  const bytes: number[] = [];
  while (value > 0x7f) {
    bytes.push((value % 128) | 0x80);
    value = Math.floor(value / 128);
  }
  bytes.push(value);
  return bytes;
}

export function littleEndian(value: number): number[] {
  return [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24];
}

export function concatenated(parts: readonly ArrayLike<number>[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

/** Returns the function that computes a reflected CRC of 32 bits, continued from `start`: four bytes at a time. */
function crc(polynomial: number): (bytes: Uint8Array, start?: number) => number {
  const [last, third, second, first] = Array.from({ length: 4 }, () => new Int32Array(256));
  for (let byte = 0; byte < 256; byte++) {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ polynomial : value >>> 1;
    last[byte] = value;
  }
  for (let byte = 0; byte < 256; byte++) {
    third[byte] = (last[byte] >>> 8) ^ last[last[byte] & 255];
    second[byte] = (third[byte] >>> 8) ^ last[third[byte] & 255];
    first[byte] = (second[byte] >>> 8) ^ last[second[byte] & 255];
  }
  return (bytes, start = 0) => {
    const whole = bytes.length & ~3;
    let value = ~start;
    for (let i = 0; i < whole; i += 4) {
      value ^= bytes[i] | (bytes[i + 1] << 8) | (bytes[i + 2] << 16) | (bytes[i + 3] << 24);
      value = first[value & 255] ^ second[(value >>> 8) & 255] ^ third[(value >>> 16) & 255] ^ last[value >>> 24];
    }
    for (let i = whole; i < bytes.length; i++) value = (value >>> 8) ^ last[(value ^ bytes[i]) & 255];
    return ~value >>> 0;
  };
}

export const crc32c = crc(0x82f63b78);
export const crc32 = crc(0xedb88320);

/** Returns the CRC-32C of symbols, each as a little-endian int16. All platforms of WebAssembly are little-endian. */
export function symbolChecksum(passes: Iterable<Int16Array>): number {
  let crc = 0;
  for (const symbols of passes) crc = crc32c(flat(symbols), crc);
  return crc;
}
