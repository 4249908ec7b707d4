// The bytes of `.glic` files (docs/format.md).

import { concatenated, crc32c, littleEndian, UINT32_MAX, writeVarint } from "./bytes.js";
import { ATTACHED, field, FLAGS, MAGIC, VERSION } from "./container.js";
import { deflated } from "./deflate.js";
import type { Grid } from "./grid.js";
import { checkMetadata, CODED_MULTIPLE, type Limits } from "./limits.js";
import { NAMES, NUMBERS } from "./metadata.js";
import { combinedChecksum } from "./tiles.js";
import type { Field, Header, Metadata } from "./types.js";

/** Returns the bytes of a file. `attachments` are the contents of the attached fields, in order. */
export function pack(
  header: Header,
  payload: Uint8Array,
  symbolChecksum: number,
  attachments: readonly Uint8Array[] = [],
): Uint8Array<ArrayBuffer> {
  const body = concatenated([packFront(header, payload.length), payload, littleEndian(symbolChecksum)]);
  return concatenated([body, littleEndian(crc32c(body)), ...attachments]);
}

/** Returns the bytes of a file before a payload of `length` bytes. */
export function packFront(header: Header, length: number): Uint8Array {
  if (length > UINT32_MAX) throw new RangeError(`payload has ${length} bytes, at most ${UINT32_MAX} fit a file`);
  const fields = header.fields.flatMap(({ key, value }) => [...writeVarint(key), ...writeVarint(value.length), ...value]);
  return concatenated([
    MAGIC,
    [VERSION, FLAGS.reduce((flags, name, bit) => flags | (Number(header[name]) << bit), 0)],
    writeVarint(header.width),
    writeVarint(header.height),
    fromHex(header.modelFingerprint),
    fromHex(header.arithmeticFingerprint),
    writeVarint(fields.length),
    fields,
    writeVarint(length),
  ]);
}

/** Returns the field of an attachment, which may be ignored. */
export function attachedField(number: number, content: Uint8Array): Field {
  return field(4 * number + ATTACHED, concatenated([writeVarint(content.length), littleEndian(crc32c(content))]));
}

/** Returns the bytes of a tiled file. `tiles` are the coded image and the symbol checksum of each tile, in order. */
export function packTiled(
  header: Header,
  grid: Grid,
  tiles: readonly { payload: Uint8Array; checksum: number }[],
  attachments: readonly Uint8Array[],
): Uint8Array<ArrayBuffer> {
  const entries = tiles.map(({ payload, checksum }) => ({
    symbolChecksum: checksum,
    bytes: [payload.length, checksum, crc32c(payload)].flatMap(littleEndian),
  }));
  const table = concatenated([
    ...[grid.columns.extent / CODED_MULTIPLE, grid.rows.extent / CODED_MULTIPLE, grid.overlap].map(writeVarint),
    ...entries.map(({ bytes }) => bytes),
  ]);
  const length = table.length + 4 + tiles.reduce((total, { payload }) => total + payload.length, 0);
  const checksum = crc32c(concatenated([packFront(header, length), table]));
  const body = concatenated([table, littleEndian(checksum), ...tiles.map(({ payload }) => payload)]);
  return pack(header, body, combinedChecksum(entries), attachments);
}

/** Returns the fields and the attachments of a file for this metadata. */
export async function attach(
  metadata: Partial<Metadata>,
  limits: Limits,
): Promise<{ fields: Field[]; attachments: Uint8Array[] }> {
  const fields: Field[] = [];
  const attachments: Uint8Array[] = [];
  let total = 0;
  for (const name of NAMES) {
    const content = metadata[name];
    if (!content?.length) continue;
    total += content.length;
    const stored = concatenated([writeVarint(content.length), await deflated(content, "deflate-raw")]);
    fields.push(attachedField(NUMBERS[name], stored));
    attachments.push(stored);
  }
  checkMetadata(limits, Math.max(total, attachments.reduce((size, part) => size + part.length, 0)));
  return { fields, attachments };
}

function fromHex(digits: string): number[] {
  return (digits.match(/../g) ?? []).map((pair) => parseInt(pair, 16));
}
