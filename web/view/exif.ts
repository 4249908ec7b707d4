// Reads what people look for in EXIF: camera, lens, time and exposure. Damaged entries are skipped.

const TAGS: Record<number, string> = {
  0x010f: "maker", 0x0110: "camera", 0x0131: "software", 0x013b: "artist", 0x8298: "copyright",
  0x829a: "exposure", 0x829d: "aperture", 0x8827: "ISO", 0x9003: "taken", 0x920a: "focal length", 0xa434: "lens",
};
const EXIF_DIRECTORY = 0x8769;
const [ASCII, SHORT, LONG, RATIONAL] = [2, 3, 4, 5];
const MOST_ENTRIES = 1000;

/** Returns names and values of an EXIF block, which begins with its TIFF header. */
export function readExif(bytes: Uint8Array): [name: string, value: string][] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found: [string, string][] = [];
  try {
    const little = view.getUint16(0) === 0x4949;
    readDirectory(view, view.getUint32(4, little), little, found, true);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // it points outside of itself
  }
  return found;
}

function readDirectory(view: DataView, at: number, little: boolean, found: [string, string][], first: boolean): void {
  const count = Math.min(MOST_ENTRIES, view.getUint16(at, little));
  for (let entry = at + 2; entry < at + 2 + 12 * count; entry += 12) {
    const tag = view.getUint16(entry, little);
    if (tag === EXIF_DIRECTORY && first) readDirectory(view, view.getUint32(entry + 8, little), little, found, false);
    if (!(tag in TAGS)) continue;
    const value = valueOf(view, entry, little);
    if (value !== null) found.push([TAGS[tag], shown(tag, value)]);
  }
}

function valueOf(view: DataView, entry: number, little: boolean): string | number | null {
  const [type, count] = [view.getUint16(entry + 2, little), view.getUint32(entry + 4, little)];
  const offset = view.getUint32(entry + 8, little);
  if (type === ASCII) {
    const start = count > 4 ? offset : entry + 8;
    if (start + count > view.byteLength) return null;
    const text = new TextDecoder().decode(new Uint8Array(view.buffer, view.byteOffset + start, count));
    return text.replace(/\0.*$/s, "").trim() || null;
  }
  if (type === SHORT) return view.getUint16(entry + 8, little);
  if (type === LONG) return offset;
  if (type !== RATIONAL) return null;
  if (offset + 8 > view.byteLength) return null;
  const ratio = view.getUint32(offset, little) / view.getUint32(offset + 4, little);
  return Number.isFinite(ratio) ? ratio : null;
}

function shown(tag: number, value: string | number): string {
  if (typeof value === "string") return value;
  if (TAGS[tag] === "exposure") return value < 0.5 && value > 0 ? `1/${Math.round(1 / value)} s` : `${+value.toFixed(1)} s`;
  if (TAGS[tag] === "aperture") return `f/${+value.toFixed(1)}`;
  if (TAGS[tag] === "focal length") return `${+value.toFixed(1)} mm`;
  return String(value);
}
