// Pixels in the colours of an ICC profile, converted to sRGB by the browser: from a PNG file that carries the profile.

import { concatenated } from "./bytes.js";
import { BitstreamError, ImageError } from "./errors.js";
import { deflated } from "./deflate.js";
import type { Pixels } from "./pixels.js";
import { pngFile } from "./png_writer.js";
import { shown } from "./text.js";

const SPACE_OFFSET = 16;
const SIGNATURE_OFFSET = 36;
const SHORTEST_PROFILE = 128;

/** Converts pixels with a profile to sRGB. Throws ImageError for a profile that does not fit the pixels. */
export async function toSrgb(image: Pixels, icc: Uint8Array | null, grey: boolean): Promise<Pixels> {
  if (!icc) {
    throw new BitstreamError(
      'the colours are those of an ICC profile, which the file lacks; decode with color: "keep"',
    );
  }
  const text = (offset: number): string => shown(icc.subarray(offset, offset + 4));
  const space = grey ? "GRAY" : "RGB ";
  if (icc.length < SHORTEST_PROFILE || text(SIGNATURE_OFFSET) !== "acsp" || text(SPACE_OFFSET) !== space) {
    throw new ImageError(
      `the ICC profile does not convert ${grey ? "grey" : "colours"} to sRGB: expected a profile of ${space.trim()}; ` +
        'decode with color: "keep"',
    );
  }
  const { data, width, height } = image;
  const channels = grey ? 1 : 3; // without alpha, by which browsers would multiply
  const rows = new Uint8Array(width * height * channels);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    for (let channel = 0; channel < channels; channel++) rows[to++] = data[from + channel];
  }
  const name = [...Array.from("ICC", (letter) => letter.charCodeAt(0)), 0, 0];
  const profile = concatenated([name, await deflated(icc, "deflate")]);
  const png = await pngFile({ data: rows, width, height, channels }, [["iCCP", profile]]);
  const bitmap = await createImageBitmap(new Blob([png], { type: "image/png" }));
  const context = new OffscreenCanvas(width, height).getContext("2d", { colorSpace: "srgb" })!;
  context.drawImage(bitmap, 0, 0);
  const converted = context.getImageData(0, 0, width, height).data;
  for (let i = 3; i < data.length; i += 4) converted[i] = data[i];
  return { data: converted as Uint8ClampedArray<ArrayBuffer>, width, height };
}
