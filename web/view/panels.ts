// The numbers, tables and maps below the viewer.

import type { Description, FileInfo, Inspection, Stages } from "@glic/decoder";
import type { Result } from "./entries.js";
import { readExif } from "./exif.js";

/** A node, or a text. */
type Content = Node | string;

export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Record<string, string> = {},
  ...contents: Content[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...contents);
  return made;
}

export function grouped(value: number, digits = 0): string {
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function duration(ms: number): string {
  return ms < 1000 ? `${grouped(ms)} ms` : `${grouped(ms / 1000, 2)} s`;
}

export function megabytes(bytes: number): string {
  return `${grouped(bytes / 1e6, 1)} MB`;
}

/** Returns bits for each pixel of a file, all of its bytes counted. */
export function bitsPerPixel(info: FileInfo): number {
  return (8 * info.bytes) / (info.width * info.height);
}

/** Returns the numbers that matter most, with what they mean. */
export function headline(result: Result): HTMLElement[] {
  const { info, psnr, decodeStages, encodeStages } = result;
  const cells = [
    [grouped(info.bytes), "bytes"],
    [grouped(bitsPerPixel(info), 4), "bits per pixel"],
    [duration(total(decodeStages)), "to decode"],
  ];
  if (encodeStages) cells.push([duration(total(encodeStages)), "to encode"]);
  if (psnr !== null) cells.splice(2, 0, [Number.isFinite(psnr) ? `${grouped(psnr, 2)} dB` : "equal", "PSNR, RGB"]);
  return cells.map(([value, meaning]) => element("div", {}, element("b", {}, value), element("span", {}, meaning)));
}

/** Returns a table of shares with a bar for each row, and their sum. */
function shares(head: string, rows: [name: string, value: number][], show: (value: number) => string): HTMLElement {
  const sum = total(Object.fromEntries(rows));
  const largest = Math.max(...rows.map(([, value]) => value), Number.MIN_VALUE);
  const table = element("table", {}, element("caption", { class: "unseen" }, head));
  const body = table.createTBody();
  for (const [name, value] of rows) {
    const bar = element("i");
    bar.style.setProperty("--share", `${(100 * value) / largest}%`);
    body.append(
      element(
        "tr",
        {},
        element("th", { scope: "row" }, name),
        element("td", {}, show(value)),
        element("td", {}, `${grouped(sum ? (100 * value) / sum : 0, 1)} %`),
        element("td", { class: "share", "aria-hidden": "true" }, bar),
      ),
    );
  }
  const all = element("tr", {}, element("th", { scope: "row" }, "all"), element("td", {}, show(sum)));
  all.append(element("td", { colspan: "2" }));
  table.createTFoot().append(all);
  return table;
}

function total(values: Record<string, number>): number {
  return Object.values(values).reduce((sum, value) => sum + value, 0);
}

/** Returns the table of a file's bits: of its parts, and of the passes of the entropy model. */
export function bits(inspection: Inspection): HTMLElement[] {
  const bytes = (bits: number): string => grouped(bits / 8);
  const { header, metadata, alpha, symbols } = inspection.parts;
  const coded = inspection.passes.reduce((sum, pass) => sum + pass.bits, 0);
  const parts: [string, number][] = [
    ["header and checksums", 8 * header],
    ["metadata", 8 * metadata],
    ["alpha", 8 * alpha],
    ["coder's overhead", Math.max(0, 8 * symbols - coded)],
  ];
  const passes = inspection.passes.map(({ name, bits }): [string, number] => [passName(name), bits]);
  const rows = [...passes, ...parts.filter(([, bits]) => bits > 0)];
  return [
    shares("bytes of each part of the file", rows, bytes),
    element("p", {}, "In bytes. Those of a pass are what an ideal coder spends on its symbols."),
  ];
}

function passName(name: string): string {
  const slice = /^slice(\d+)_(.*)$/.exec(name);
  return slice ? `slice ${slice[1]}, ${slice[2].replace("nonanchors", "non-anchors")}` : `${name} (hyper latent)`;
}

export function times(decode: Stages, encode: Stages | null): HTMLElement[] {
  const decoding = shares("time of each stage of decoding", Object.entries(decode), duration);
  if (!encode) return [decoding];
  const encoding = shares("time of each stage of encoding", Object.entries(encode), duration);
  return [element("h3", {}, "decode"), decoding, element("h3", {}, "encode"), encoding];
}

/** Returns what a file says about itself and its image. */
export function metadata(info: FileInfo): HTMLElement[] {
  const rows: [string, string][] = [
    ["size", `${info.width} × ${info.height}`],
    ["channels", { L: "grey", LA: "grey and alpha", RGB: "RGB", RGBA: "RGB and alpha" }[info.channels]],
    ["colours", info.profiled ? "of the ICC profile" : "sRGB"],
    ["tiles", info.tiled ? "yes" : "no"],
    ["model", info.modelFingerprint],
    ["arithmetic", `${info.arithmeticFingerprint}${info.exact ? ", exact" : ", not exact"}`],
  ];
  const { exif, xmp, icc } = info.metadata;
  for (const [name, item] of [["EXIF", exif], ["XMP", xmp], ["ICC profile", icc]] as const) {
    if (item) rows.push([name, `${grouped(item.length)} bytes`]);
  }
  if (exif) rows.push(...readExif(exif));
  const table = element("table");
  const body = table.createTBody();
  for (const [name, value] of rows) {
    body.append(element("tr", {}, element("th", { scope: "row" }, name), element("td", { class: "text" }, value)));
  }
  const parts: HTMLElement[] = [table];
  if (xmp) {
    const text = element("pre", { tabindex: "0" }, new TextDecoder().decode(xmp));
    parts.push(element("details", {}, element("summary", {}, "XMP"), text));
  }
  return parts;
}

/** Returns the bits by position as an image, from the colour of no bits to that of the most. */
export function drawBits(map: NonNullable<Inspection["map"]>): HTMLCanvasElement {
  const canvas = element("canvas", { class: "bits" });
  [canvas.width, canvas.height] = [map.width, map.height];
  const sorted = Float32Array.from(map.bits).sort();
  const most = sorted[Math.floor(0.995 * (sorted.length - 1))] || 1; // a few outliers would darken everything else
  const image = new ImageData(map.width, map.height);
  map.bits.forEach((bits, i) => image.data.set([...colour(Math.min(1, bits / most)), 255], 4 * i));
  canvas.getContext("2d")?.putImageData(image, 0, 0);
  return canvas;
}

// Of the colour map inferno, as in the report's maps.
const COLOURS = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];

function colour(share: number): number[] {
  const at = share * (COLOURS.length - 1);
  const [low, high] = [COLOURS[Math.floor(at)], COLOURS[Math.ceil(at)]];
  return low.map((value, i) => Math.round(value + (high[i] - value) * (at % 1)));
}

const CONFORMANCE: Record<Description["conformance"], string> = {
  passed: "This browser reproduced its conformance vectors now.",
  "passed before": "This browser reproduced its conformance vectors on an earlier visit.",
  "not exact": "It has no conformance vectors.",
};

/** Returns what the page runs on. */
export function engine(described: Description, version: string): HTMLElement[] {
  const threads = `${described.threads} thread${described.threads > 1 ? "s" : ""}`;
  const lines = [
    `The web bundle has ${megabytes(described.bytes)}, model ${described.modelFingerprint}, arithmetic ` +
      `${described.arithmeticFingerprint}, and ${described.encoder ? "an encoder" : "no encoder"}. It runs with ` +
      `${described.backend === "webgpu" ? "WebGPU and " : ""}WebAssembly, ${threads}. ${CONFORMANCE[described.conformance]}`,
    ...described.notices.map((notice) => `${notice[0].toUpperCase()}${notice.slice(1)}.`),
  ];
  return [...lines, `glic-deploy ${version}`].map((line) => element("p", {}, line));
}
