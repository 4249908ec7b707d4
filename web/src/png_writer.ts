// PNG files of one or three channels.

import { concatenated, crc32 } from "./bytes.js";
import { deflated } from "./deflate.js";
import type { Planes } from "./pixels.js";
import { SIGNATURE } from "./png.js";

/** Returns a PNG file of one or three channels, each row filtered by the row above. extra: chunks behind the header. */
export async function pngFile(
  { data, width, height, channels }: Planes,
  extra: readonly [name: string, content: Uint8Array][] = [],
): Promise<Uint8Array<ArrayBuffer>> {
  const columns = width * channels;
  const filtered = new Uint8Array(height * (columns + 1));
  for (let row = 0; row < height; row++) {
    const start = row * (columns + 1);
    filtered[start] = 2;
    for (let column = 0; column < columns; column++) {
      const at = row * columns + column;
      filtered[start + 1 + column] = data[at] - (row ? data[at - columns] : 0);
    }
  }
  const header = new Uint8Array(13);
  new DataView(header.buffer).setUint32(0, width);
  new DataView(header.buffer).setUint32(4, height);
  header.set([8, channels === 1 ? 0 : 2], 8);
  return concatenated([
    SIGNATURE,
    chunk("IHDR", header),
    ...extra.map(([name, content]) => chunk(name, content)),
    chunk("IDAT", await deflated(filtered, "deflate")),
    chunk("IEND", new Uint8Array()),
  ]);
}

function chunk(name: string, content: Uint8Array): Uint8Array {
  const whole = new Uint8Array(content.length + 12);
  const view = new DataView(whole.buffer);
  view.setUint32(0, content.length);
  whole.set(Array.from(name, (letter) => letter.charCodeAt(0)), 4);
  whole.set(content, 8);
  view.setUint32(8 + content.length, crc32(whole.subarray(4, 8 + content.length)));
  return whole;
}
