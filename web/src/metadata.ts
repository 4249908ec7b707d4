// EXIF, XMP and ICC profiles, attached to `.glic` files.

import { flat, readVarint } from "./bytes.js";
import { attachment, checkFront, readFront } from "./container.js";
import { BitstreamError, DamagedMetadataWarning, type Warning } from "./errors.js";
import { inflate } from "./inflate.js";
import { checkMetadata, completed, type Limits } from "./limits.js";
import { grouped } from "./text.js";
import type { Bytes, Header, Metadata } from "./types.js";

export const NUMBERS = { exif: 1, xmp: 2, icc: 3 } as const;
export const NAMES = ["exif", "xmp", "icc"] as const;

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
