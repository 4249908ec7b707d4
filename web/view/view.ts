// The page of `glic view`: takes files, decodes them, and shows each beside its original.

import { Codec, type Description, EngineError, GlicError } from "@glic/decoder";
import { compare } from "../../glic_deploy/report/viewer.js";
import { add, type Entry, fetched, forget, isTransparent, psnr, readImage, type Result, type Source } from "./entries.js";
import * as panels from "./panels.js";

/** The document from which the page learns where the bundle and the files are. */
interface Contents {
  version: string;
  bundle: string;
  files: { name: string; url: string }[];
}

const KEPT_PIXELS = 64e6; // of decoded images, for switching among them

function at<Kind extends HTMLElement = HTMLElement>(id: string): Kind {
  return document.getElementById(id) as Kind;
}

const shown = at("shown");
const viewer = shown.querySelector(".viewer") as HTMLElement;
const [before, after] = [".before", ".after"].map((name) => shown.querySelector(name) as HTMLElement);
const leftTag = shown.querySelector(".tag.left") as HTMLElement;
const comparison = compare(shown);

const entries: Entry[] = [];
const recent: Entry[] = [];
let selected: Entry | null = null;
let codec: Codec | null = null;
let work = new AbortController();

/** Tells what happens now. Screen readers read it out, so it changes seldom. */
function say(text: string): void {
  at("status").textContent = text;
}

function progress(done: number, total: number): void {
  const bar = at<HTMLProgressElement>("progress");
  bar.hidden = false;
  [bar.max, bar.value] = [Math.max(1, total), done];
}

function rest(text: string): void {
  say(text);
  at("progress").hidden = true;
  at("stop").hidden = true;
}

function explain(...problems: string[]): void {
  at("problems").replaceChildren(...problems.map((text) => panels.element("p", {}, text)));
}

function reason(error: unknown): string {
  if (error instanceof GlicError) return error.message;
  if (error instanceof RangeError) return `${error.message}; the browser has too little memory: close other pages`;
  return error instanceof Error ? `${error.message}; this is unexpected: see the browser's console` : String(error);
}

async function open(contents: Contents): Promise<void> {
  say("The decoder is loading.");
  const onProgress = (done: number, total: number): void => {
    progress(done, total);
    if (done < total) return;
    say("The decoder is starting.");
    at("progress").removeAttribute("value"); // for as long as the browser compiles
  };
  try {
    codec = await Codec.open(contents.bundle, { onProgress });
  } catch (error) {
    rest("The decoder cannot be used.");
    explain(`The decoder cannot be used: ${reason(error)}`);
    throw error;
  }
  const described = codec.describe();
  at("engine").replaceChildren(...panels.engine(described, contents.version));
  invite(described);
}

function invite(described: Description): void {
  if (described.encoder) at("accepts").textContent = "or drop .glic files or photographs here.";
  rest("The decoder is ready. Choose or drop a file.");
}

/** Takes files in, and shows the first of them. */
function take(sources: readonly Source[]): void {
  const [first] = add(entries, sources);
  listEntries();
  if (first) void select(first);
}

function listEntries(): void {
  at("files").hidden = entries.length < 2;
  const buttons = entries.map((entry) => {
    const result = entry.result;
    const rate = result ? `, ${panels.bitsPerPixel(result.info).toFixed(2)} bpp` : "";
    const button = panels.element("button", { type: "button" }, `${entry.name}${rate}`);
    if (entry === selected) button.setAttribute("aria-current", "true");
    button.classList.toggle("failed", entry.error !== "");
    button.addEventListener("click", () => void select(entry));
    return panels.element("li", {}, button);
  });
  const focused = [...at("files").querySelectorAll("button")].indexOf(document.activeElement as HTMLButtonElement);
  const list = at("files").firstElementChild as HTMLElement;
  list.replaceChildren(...buttons);
  const current = list.querySelector<HTMLElement>("[aria-current]");
  if (current) list.scrollLeft = current.offsetLeft - list.offsetLeft - list.clientWidth / 3; // only this list scrolls
  if (focused >= 0) list.querySelectorAll("button")[focused]?.focus();
}

/** Decodes and shows an entry; what was in progress for another one stops. */
async function select(entry: Entry): Promise<void> {
  selected = entry;
  work.abort();
  work = new AbortController();
  const { signal } = work;
  if (!codec) return; // `main` selects again when it is there
  explain();
  listEntries();
  try {
    entry.result ??= await decode(codec, entry, signal);
    if (signal.aborted) return;
    entry.error = "";
    recent.splice(0, recent.length, entry, ...recent.filter((other) => other !== entry));
    forget(recent, KEPT_PIXELS);
    show(entry.name, entry.result);
    rest(`${entry.name} is decoded.`);
    explain(...entry.result.notes);
  } catch (error) {
    if (signal.aborted) return;
    const name = (entry.coded ?? entry.original)?.name ?? entry.name;
    entry.error = `${name}: ${reason(error)}`;
    hide();
    rest(`${name} cannot be shown.`);
    explain(entry.error);
    if (!(error instanceof GlicError)) console.error(error);
  }
  listEntries();
}

async function decode(codec: Codec, entry: Entry, signal: AbortSignal): Promise<Result> {
  const listeners = { signal, onProgress: progress };
  const notes: string[] = [];
  at("stop").hidden = false;
  let original = entry.original && (await readImage(entry.original));
  let encodeStages = null;
  if (!entry.coded && !entry.encoded && original) {
    if (!codec.describe().encoder) {
      throw new EngineError(
        "the web bundle has no encoder, so the page cannot encode photographs; choose the .glic file of this " +
          "photograph, or make the bundle with glic web-bundle --encoder",
      );
    }
    say(`${entry.name} is being encoded.`);
    entry.encoded = await codec.encode(original, { ...listeners, alpha: isTransparent(original) ? "keep" : "refuse" });
    encodeStages = codec.stages;
  }
  const data = entry.coded ? new Uint8Array(await (await entry.coded.blob()).arrayBuffer()) : entry.encoded;
  if (!data) throw new GlicError("there is no file to decode; choose it again");
  signal.throwIfAborted();
  say(`${entry.name} is being decoded.`);
  const image = await codec.decode(data, {
    ...listeners,
    color: "srgb",
    onError: "fill",
    onWarning: (warning) => notes.push(`${entry.name}: ${warning.message}`),
  });
  const decodeStages = codec.stages;
  const info = await Codec.read(data);
  if (original && (original.width !== image.width || original.height !== image.height)) {
    notes.push(
      `${entry.original?.name} has ${original.width} × ${original.height} pixels and ${entry.coded?.name} has ` +
        `${image.width} × ${image.height}, so the page does not compare them; choose the photograph that was encoded.`,
    );
    original = null;
  }
  const error = original && (await psnr(original, image));
  const inspection = await codec.inspect(data, { signal });
  return { data, info, image, original, psnr: error, decodeStages, encodeStages, inspection, notes };
}

function show(name: string, result: Result): void {
  const { info, image, original, inspection } = result;
  const changed = at("name").textContent !== name;
  at("name").textContent = name;
  at("facts").textContent = `${info.width}×${info.height}`;
  viewer.style.aspectRatio = `${info.width} / ${info.height}`;
  viewer.style.width = `min(100%, calc(82vh * ${info.width / info.height}))`;
  after.replaceChildren(drawn(image, `${name}, decoded`));
  const map = inspection?.map ?? null;
  const sides = {
    original: original && drawn(original, `${name}, original`),
    bits: map && panels.drawBits(map),
  };
  sides.bits?.setAttribute("role", "img");
  sides.bits?.setAttribute("aria-label", `${name}, bits by position: bright places take many bits`);
  const choose = (side: "original" | "bits" | null): void => {
    const left = side && sides[side];
    before.replaceChildren(...(left ? [left] : []));
    leftTag.textContent = left ? side : "";
    viewer.classList.toggle("single", !left);
    at("split").hidden = !left;
    for (const other of ["original", "bits"] as const) {
      at(`left-${other}`).setAttribute("aria-pressed", String(other === side));
    }
    comparison.refresh();
  };
  for (const side of ["original", "bits"] as const) {
    const button = at<HTMLButtonElement>(`left-${side}`);
    button.disabled = !sides[side];
    button.onclick = () => choose(button.getAttribute("aria-pressed") === "true" ? null : side);
  }
  at("save-png").onclick = () => void save(`${name}.png`, () => asPng(image));
  at("save-glic").onclick = () => void save(`${name}.glic`, async () => new Blob([result.data.slice()]));
  at("headline").replaceChildren(...panels.headline(result));
  at("bits").replaceChildren(...(inspection ? panels.bits(inspection) : []));
  at("times").replaceChildren(...panels.times(result.decodeStages, result.encodeStages));
  at("metadata").replaceChildren(...panels.metadata(info));
  at("shown").hidden = at("details").hidden = false;
  if (changed) comparison.reset();
  choose(sides.original ? "original" : null);
}

function hide(): void {
  at("shown").hidden = at("details").hidden = true;
  at("name").textContent = "";
}

function drawn(image: ImageData, label: string): HTMLCanvasElement {
  const canvas = panels.element("canvas", { role: "img", "aria-label": label });
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext("2d")?.putImageData(image, 0, 0);
  return canvas;
}

async function asPng(image: ImageData): Promise<Blob> {
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext("2d")?.putImageData(image, 0, 0);
  return canvas.convertToBlob();
}

async function save(name: string, make: () => Promise<Blob>): Promise<void> {
  try {
    const url = URL.createObjectURL(await make());
    panels.element("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } catch (error) {
    explain(`${name} cannot be saved: ${reason(error)}`);
  }
}

function listen(): void {
  const choose = at<HTMLInputElement>("choose");
  const takeFiles = (files: Iterable<File>): void => {
    take([...files].map((file) => ({ name: file.name, blob: async () => file })));
  };
  choose.addEventListener("change", () => {
    takeFiles(choose.files ?? []);
    choose.value = ""; // so that the same file can be chosen again
  });
  at("stop").addEventListener("click", () => {
    work.abort();
    rest("Stopped.");
  });
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"] as const) {
    window.addEventListener(kind, (event) => {
      event.preventDefault();
      at("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
      if (kind === "drop") takeFiles(event.dataTransfer?.files ?? []);
    });
  }
}

async function main(): Promise<void> {
  listen();
  const response = await fetch("contents.json");
  if (!response.ok) throw new GlicError(`the server has no contents.json (${response.status}); build the page again`);
  const contents: Contents = await response.json();
  add(entries, contents.files.map(({ name, url }) => fetched(name, url)));
  await open(contents);
  const first = selected ?? entries[0];
  if (first) await select(first);
}

main().catch((error: unknown) => {
  if (!at("problems").hasChildNodes()) explain(`The page cannot start: ${reason(error)}`);
  console.error(error);
});
