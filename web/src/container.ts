// The `.glic` file: a frame with checksums around the coded image, and attachments behind it (docs/format.md).

import { ALTERED, crc32c, cutShort, flat, readVarint, uint32 } from "./bytes.js";
import { BitstreamError } from "./errors.js";
import { checkImage, checkMetadata, checkPayload, completed, type Limits } from "./limits.js";
import { grouped, hex, hex32, shown } from "./text.js";
import type { Bytes, Field, Header } from "./types.js";

export const MAGIC = Uint8Array.of(0x8d, 0x47, 0x4c, 0x49, 0x43, 0x0d, 0x0a);
export const VERSION = 2;
const FINGERPRINT_BYTES = 4;
const FLAGS_OFFSET = MAGIC.length + 1;
const FRAME_END = 8;
const SHORTEST_FILE = FLAGS_OFFSET + 1 + 1 + 1 + 2 * FINGERPRINT_BYTES + 1 + 1 + FRAME_END;
const MOST_FIELD_BYTES = 1024;
export const FLAGS = ["exact", "tiled", "grey", "alpha", "profiled"] as const;
const KNOWN_FLAGS = (1 << FLAGS.length) - 1;
const CRITICAL = 1;
export const ATTACHED = 2;

// How a transfer as text changes the magic: the first byte loses its eighth bit, becomes UTF-8 or a replacement for
// characters, or is lost; line ends change; a byte-order mark is put in front. Each character stands for a byte.
const TEXT_DAMAGE = /^(?:\xef\xbb\xbf)?(?:(?:\x8d|\r|\?|\xc2\x8d|\xef\xbf\xbd)GLIC|GLIC[\r\n])/;

/** A parsed file whose frame is intact. Its attachments may be damaged or missing. */
export interface File {
  header: Header;
  payload: Uint8Array;
  symbolChecksum: number;
}

/** The fields at the start of a file, which no checksum has verified yet. */
export interface Front {
  header: Header;
  flags: number;
  /** Offset of the payload. */
  start: number;
  /** Bytes of the payload. */
  length: number;
  /** Offset of the first attachment. */
  frameEnd: number;
  /** Bytes of the whole file. */
  fileEnd: number;
}

export interface Attachment {
  number: number;
  /** Offset behind the frame. */
  start: number;
  size: number;
  checksum: number;
}

/**
 * Parses and verifies the frame of a whole file, without copying the payload.
 *
 * Throws BitstreamError for damage and LimitError for an image above the limits, in the order of docs/format.md.
 */
export function parse(data: Bytes, limits: Limits): File {
  const bytes = flat(data);
  const front = readFront(bytes);
  if (bytes.length < front.frameEnd) throw cutShort(bytes.length, grouped(front.fileEnd));
  checkEnd(bytes, front);
  const end = front.start + front.length;
  const computed = crc32c(bytes.subarray(0, end + 4));
  const stored = uint32(bytes, end + 4);
  if (computed !== stored) {
    throw new BitstreamError(
      `checksum mismatch: the file's bytes give ${hex32(computed)}, it says ${hex32(stored)}; the file was altered or ` +
        "damaged, get an unaltered copy",
    );
  }
  checkFront(front, limits);
  return { header: front.header, payload: bytes.subarray(front.start, end), symbolChecksum: uint32(bytes, end) };
}

/**
 * Returns the header from the first bytes of a file (2,048 suffice), for example to learn the size of the image.
 *
 * No checksum is verified. Throws as decoding does.
 */
export function readHeader(data: Bytes, limits?: Partial<Limits>): Header {
  const all = completed(limits);
  const front = readFront(flat(data));
  checkFront(front, all);
  return front.header;
}

/**
 * Returns the content of the attached field with this number; null if the file has none.
 *
 * `behind` are the bytes behind the frame. Throws BitstreamError if the attachment is cut short or damaged.
 */
export function attachment(header: Header, behind: Uint8Array, number: number): Uint8Array | null {
  const part = attachments(header.fields).find((found) => found.number === number);
  if (!part) return null;
  const content = behind.subarray(part.start, part.start + part.size);
  if (content.length < part.size) throw cutShort(content.length, `${grouped(part.size)} for this attachment`);
  const computed = crc32c(content);
  if (computed !== part.checksum) {
    throw new BitstreamError(
      `checksum mismatch: the attachment's bytes give ${hex32(computed)}, the header says ${hex32(part.checksum)}; get ` +
        "an unaltered copy",
    );
  }
  return content;
}

/** Reads the fields before the payload. */
export function readFront(bytes: Uint8Array): Front {
  if (MAGIC.some((byte, i) => i < bytes.length && bytes[i] !== byte)) throw notGlic(bytes);
  if (bytes.length <= FLAGS_OFFSET) throw cutShort(bytes.length, `at least ${SHORTEST_FILE}`);
  const version = bytes[MAGIC.length];
  const flags = bytes[FLAGS_OFFSET];
  if (version !== VERSION) {
    throw new BitstreamError(
      `the file needs a reader of format version ${version}, this glic-deploy reads version ${VERSION}; ` +
        (version > VERSION ? "upgrade glic-deploy" : "get an unaltered copy"),
    );
  }
  const [width, afterWidth] = readVarint(bytes, FLAGS_OFFSET + 1, "width");
  const [height, afterHeight] = readVarint(bytes, afterWidth, "height");
  const fingerprint = (index: number): string =>
    hex(bytes.subarray(afterHeight + index * FINGERPRINT_BYTES, afterHeight + (index + 1) * FINGERPRINT_BYTES));
  const [total, fieldsStart] = readVarint(
    bytes, afterHeight + 2 * FINGERPRINT_BYTES, "length of the optional fields",
  );
  if (total > MOST_FIELD_BYTES) {
    throw new BitstreamError(
      `the optional fields have ${grouped(total)} bytes, at most ${grouped(MOST_FIELD_BYTES)} allowed; ${ALTERED}`,
    );
  }
  const fieldsEnd = fieldsStart + total;
  if (bytes.length < fieldsEnd) throw cutShort(bytes.length, `at least ${grouped(fieldsEnd + FRAME_END + 1)}`);
  const fields = readFields(bytes.subarray(0, fieldsEnd), fieldsStart);
  const [length, start] = readVarint(bytes, fieldsEnd, "payload length");
  const [exact, tiled, grey, alpha, profiled] = FLAGS.map((_, bit) => Boolean(flags & (1 << bit)));
  const header: Header = {
    width, height, exact, tiled, grey, alpha, profiled, fields,
    channels: channelsOf(grey, alpha),
    modelFingerprint: fingerprint(0),
    arithmeticFingerprint: fingerprint(1),
  };
  const frameEnd = start + length + FRAME_END;
  const attached = attachments(fields).reduce((size, part) => size + part.size, 0);
  return { header, flags, start, length, frameEnd, fileEnd: frameEnd + attached };
}

export function channelsOf(grey: boolean, alpha: boolean): Header["channels"] {
  return `${grey ? "L" : "RGB"}${alpha ? "A" : ""}`;
}

/** Throws BitstreamError if bytes follow the end of the file. */
export function checkEnd(bytes: Uint8Array, front: Front): void {
  if (bytes.length > front.fileEnd) {
    throw new BitstreamError(
      `the file has ${grouped(bytes.length)} bytes, its header says ${grouped(front.fileEnd)}; it was altered, or ` +
        "something was appended: get an unaltered copy",
    );
  }
}

/** Throws BitstreamError for a header that breaks a rule of the format, LimitError for one above the limits. */
export function checkFront(front: Front, limits: Limits): void {
  const { header, flags } = front;
  if (flags & ~KNOWN_FLAGS) {
    throw new BitstreamError(
      `flags byte is 0x${hex(Uint8Array.of(flags))}, this glic-deploy knows 0x${hex(Uint8Array.of(KNOWN_FLAGS))}; the ` +
        "file needs a newer one: upgrade glic-deploy",
    );
  }
  const critical = header.fields.find((found) => found.critical);
  if (critical) {
    throw new BitstreamError(
      `the file has the critical field ${critical.number}, which this glic-deploy does not know; the file needs a ` +
        "newer one: upgrade glic-deploy",
    );
  }
  if (header.width === 0 || header.height === 0) {
    throw new BitstreamError(
      `the file says ${header.width} x ${header.height} pixels, expected at least 1 x 1; encode the image again`,
    );
  }
  checkImage(limits, header.width, header.height);
  if (!header.tiled) checkPayload(limits, front.length, header.width, header.height); // tiles are checked separately
  checkMetadata(limits, front.fileEnd - front.frameEnd);
}

function notGlic(bytes: Uint8Array): BitstreamError {
  const start = bytes.subarray(0, 16);
  const text = String.fromCharCode(...start);
  if (TEXT_DAMAGE.test(text)) {
    return new BitstreamError(
      `the .glic file was changed by a transfer as text: it starts with ${shown(start.subarray(0, 8))}, expected ` +
        `${shown(MAGIC)}; transfer the original again as binary data`,
    );
  }
  if (text.startsWith("GLIC\x01")) {
    return new BitstreamError(
      "the file is of format version 1, which only development versions of glic-deploy wrote; this glic-deploy reads " +
        `version ${VERSION}: encode the image again`,
    );
  }
  if (text.startsWith("GLIC")) {
    return new BitstreamError(
      `the file starts with ${shown(start.subarray(0, 8))}, like files of the glitch-art codec GLIC, which have the ` +
        `same suffix; glic-deploy reads files that start with ${shown(MAGIC)}`,
    );
  }
  return new BitstreamError(
    `not a .glic file: it starts with ${shown(start.subarray(0, MAGIC.length))}, expected ${shown(MAGIC)}; encode ` +
      "images of other formats first",
  );
}

function readFields(area: Uint8Array, start: number): Field[] {
  const fields: Field[] = [];
  let offset = start;
  try {
    while (offset < area.length) {
      const [key, afterKey] = readVarint(area, offset, "key of a field");
      const [size, afterSize] = readVarint(area, afterKey, "length of a field");
      offset = afterSize + size;
      fields.push(field(key, area.slice(afterSize, offset)));
    }
    attachments(fields);
  } catch (error) {
    if (!(error instanceof BitstreamError)) throw error;
    offset = -1;
  }
  if (offset !== area.length || fields.some((found, i) => i > 0 && fields[i - 1].key >= found.key)) {
    throw new BitstreamError(
      `the optional fields at bytes ${start} to ${area.length} break a rule of the format; ${ALTERED}`,
    );
  }
  return fields;
}

export function field(key: number, value: Uint8Array): Field {
  return {
    key, value,
    number: Math.floor(key / 4),
    critical: Boolean(key & CRITICAL),
    attached: Boolean(key & ATTACHED),
  };
}

/** Returns the attachments in the order in which they follow the frame. */
function attachments(fields: readonly Field[]): Attachment[] {
  const found: Attachment[] = [];
  let start = 0;
  for (const { number, attached, value } of fields) {
    if (!attached) continue;
    const [size, end] = readVarint(value, 0, "size of an attachment");
    if (value.length !== end + 4) {
      throw new BitstreamError(`field ${number} has ${value.length} bytes, expected ${end + 4}; ${ALTERED}`);
    }
    found.push({ number, start, size, checksum: uint32(value, end) });
    start += size;
  }
  return found;
}
