// The files on the page, and the originals among them.

import { GlicError, ImageError, type FileInfo, type Inspection, type Stages } from "@glic/decoder";

const SUFFIX = ".glic";

/** A file that was named, chosen or dropped. */
export interface Source {
  name: string;
  blob(): Promise<Blob>;
}

/** What is shown under one name: a `.glic` file, the photograph it was made of, or both. */
export interface Entry {
  name: string;
  coded: Source | null;
  original: Source | null;
  /** Bytes of the `.glic` file that the page itself made of the original. */
  encoded: Uint8Array | null;
  result: Result | null;
  error: string;
}

/** All that the page shows of an entry. */
export interface Result {
  data: Uint8Array;
  info: FileInfo;
  image: ImageData;
  original: ImageData | null;
  /** In dB; Infinity of equal images. */
  psnr: number | null;
  decodeStages: Stages;
  encodeStages: Stages | null;
  inspection: Inspection | null;
  notes: string[];
}

/** Returns a name without its suffix. Files of one stem are one entry. */
export function stem(name: string): string {
  return name.replace(/\.[^.]*$/, "");
}

/** Adds files to the entries, and returns those that changed. */
export function add(entries: Entry[], sources: readonly Source[]): Entry[] {
  const changed = new Set<Entry>();
  for (const source of sources) {
    const name = stem(source.name);
    let entry = entries.find((other) => other.name === name);
    if (!entry) {
      entry = { name, coded: null, original: null, encoded: null, result: null, error: "" };
      entries.push(entry);
    }
    if (source.name.toLowerCase().endsWith(SUFFIX)) entry.coded = source;
    else [entry.original, entry.encoded] = [source, null];
    [entry.result, entry.error] = [null, ""];
    changed.add(entry);
  }
  return [...changed];
}

/** Forgets the images of the entries that were not shown lately, if all together have more than `pixels`. */
export function forget(recent: readonly Entry[], pixels: number): void {
  let total = 0;
  for (const entry of recent) {
    const image = entry.result?.image;
    if (!image) continue;
    total += image.width * image.height;
    if (total > pixels && entry !== recent[0]) entry.result = null;
  }
}

/** Decodes a photograph with the browser: upright, in sRGB, 8 bits a channel. Throws ImageError. */
export async function readImage(source: Source): Promise<ImageData> {
  const blob = await source.blob();
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(blob, { premultiplyAlpha: "none" });
  } catch {
    throw new ImageError("this browser cannot decode the image; choose a PNG, JPEG, WebP or AVIF file, or a .glic file");
  }
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new ImageError(`this browser has no memory for ${bitmap.width} × ${bitmap.height} pixels`);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

export function isTransparent(image: ImageData): boolean {
  for (let i = 3; i < image.data.length; i += 4) if (image.data[i] !== 255) return true;
  return false;
}

/** Returns the peak signal-to-noise ratio in dB over red, green and blue, as glic_deploy/metrics.py computes it. */
export async function psnr(one: ImageData, other: ImageData): Promise<number> {
  const block = 1 << 22; // between which the page can react
  const [a, b] = [one.data, other.data];
  let sum = 0;
  for (let start = 0; start < a.length; start += block) {
    for (let i = start; i < Math.min(a.length, start + block); i += 4) {
      const [red, green, blue] = [a[i] - b[i], a[i + 1] - b[i + 1], a[i + 2] - b[i + 2]];
      sum += red * red + green * green + blue * blue;
    }
    await new Promise((resolve) => setTimeout(resolve));
  }
  return 10 * Math.log10((255 * 255 * 3 * one.width * one.height) / sum);
}

/** Returns the source for a file that the page fetches from its own server. */
export function fetched(name: string, url: string): Source {
  return {
    name,
    async blob() {
      const response = await fetch(url);
      if (!response.ok) {
        throw new GlicError(`the server has the file no longer (${response.status}); start glic view again`);
      }
      return response.blob();
    },
  };
}
