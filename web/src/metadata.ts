// EXIF, XMP and ICC profiles, attached to `.glic` files.

import { concatenated, flat, readVarint, writeVarint } from "./bytes.js";
import { attachedField, attachment, checkFront, readFront } from "./container.js";
import { BitstreamError, DamagedMetadataWarning, type Warning } from "./errors.js";
import { inflate } from "./inflate.js";
import { checkMetadata, completed, type Limits } from "./limits.js";
import { grouped } from "./text.js";
import type { Bytes, Field, Header, Metadata } from "./types.js";

const NUMBERS = { exif: 1, xmp: 2, icc: 3 } as const;
const NAMES = ["exif", "xmp", "icc"] as const;

/**
 * Returns the metadata of a file. No bundle is needed, and no pixel is decoded.
 *
 * An item that is damaged or cut off is left out, and `onWarning` receives a DamagedMetadataWarning. Throws
 * BitstreamError if the header is damaged, LimitError if there is more metadata than the limits allow.
 */
export function readMetadata(
  data: Bytes,
  options: { limits?: Partial<Limits>; onWarning?: (warning: Warning) => void } = {},
): Metadata {
  const limits = completed(options.limits);
  const bytes = flat(data);
  const front = readFront(bytes);
  checkFront(front, limits);
  const found: Metadata = { exif: null, xmp: null, icc: null };
  for (const name of NAMES) {
    try {
      found[name] = item(front.header, bytes.subarray(front.frameEnd), name, limits);
    } catch (error) {
      if (!(error instanceof BitstreamError)) throw error;
      options.onWarning?.(new DamagedMetadataWarning(`the metadata ${name} is left out: ${error.message}`));
    }
  }
  checkMetadata(limits, NAMES.reduce((total, name) => total + (found[name]?.length ?? 0), 0));
  return found;
}

/** Returns one item; null if the file does not have it. Throws BitstreamError if the item is damaged or cut off. */
export function item(
  header: Header,
  behind: Uint8Array,
  name: keyof Metadata,
  limits: Limits,
): Uint8Array | null {
  const content = attachment(header, behind, NUMBERS[name]);
  if (!content) return null;
  const [size, start] = readVarint(content, 0, "size of the metadata");
  checkMetadata(limits, size);
  const inflated = inflate(content.subarray(start), size);
  if (start + inflated.end !== content.length) {
    throw new BitstreamError(
      `it does not decompress to the ${grouped(size)} bytes that it states; get an unaltered copy`,
    );
  }
  return size ? inflated.content : null;
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

/** Returns bytes as deflate writes them, by the browser's own stream. */
export async function deflated(content: Uint8Array, format: "deflate" | "deflate-raw"): Promise<Uint8Array> {
  const stream = new Blob([content as Uint8Array<ArrayBuffer>]).stream().pipeThrough(new CompressionStream(format));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
