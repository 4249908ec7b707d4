// A web bundle: fetched with progress, kept in the browser's cache, and checked by SHA-256.

import { EngineError } from "./errors.js";
import { arraysOf, type FlatArray, type Manifest, MANIFEST, readManifest } from "./manifest.js";
import { expanded } from "./sessions.js";
import { grouped, hex } from "./text.js";
import type { Progress } from "./types.js";

const CACHE = "glic-web-bundles";
const ANEW = "load the page again, or write the bundle again: glic web-bundle";

export class WebBundle {
  readonly #files = new Map<string, Promise<Uint8Array>>();

  private constructor(
    readonly url: string,
    readonly manifest: Manifest,
    /** SHA-256 of the manifest, which lists those of all other files. */
    readonly digest: string,
    private readonly cache: Cache,
  ) {}

  /** Fetches the manifest of a bundle. Throws EngineError if there is none, or where the browser does not allow it. */
  static async open(url: string): Promise<WebBundle> {
    if (!globalThis.isSecureContext) {
      throw new EngineError("this page has no secure context, which checksums and caches need; serve it by https");
    }
    const place = new URL(MANIFEST, url).href;
    const text = new TextDecoder().decode(await received(await fetched(place, { cache: "no-cache" })));
    const digest = await sha256(new TextEncoder().encode(text));
    return new WebBundle(url, readManifest(text, place), digest, await caches.open(CACHE));
  }

  /** Bytes of the files that these graphs need, and of all arrays. */
  filesOf(graphs: readonly string[]): string[] {
    const { graphs: entries, arrays } = this.manifest;
    const used = graphs.flatMap((graph) => [entries[graph].file, entries[graph].weights]);
    return [...new Set([...used, ...Object.keys(arrays)])];
  }

  sizeOf(files: readonly string[]): number {
    return files.reduce((total, file) => total + this.manifest.files[file].bytes, 0);
  }

  /** Fetches files at once. `onProgress` receives the bytes that are there. */
  async load(files: readonly string[], onProgress?: Progress): Promise<void> {
    const total = this.sizeOf(files);
    let done = 0;
    onProgress?.(done, total);
    const count = (bytes: number): void => onProgress?.((done += bytes), total);
    await Promise.all(files.map((file) => this.file(file, count)));
  }

  /** Returns the bytes of a file; constants as the graphs read them. Throws EngineError for other bytes. */
  file(name: string, count: (bytes: number) => void = () => undefined): Promise<Uint8Array> {
    let file = this.#files.get(name);
    if (!file) {
      file = this.#load(name, count).then((bytes) => expanded(bytes, this.manifest.weights[name]?.half ?? 0));
      this.#files.set(name, file);
    }
    return file;
  }

  /** Frees files that are no longer needed. */
  forget(): void {
    this.#files.clear();
  }

  async arrays(file: string): Promise<Record<string, FlatArray>> {
    return arraysOf(this.manifest.arrays[file], await this.file(file));
  }

  /** Returns what an earlier visit found out about this bundle, as `remember` kept it. */
  async recall(what: string): Promise<string | null> {
    const kept = await this.cache.match(await this.#note(what));
    return kept ? kept.text() : null;
  }

  /** Keeps a finding that holds for this bundle, this browser and the words of `what`. */
  async remember(what: string, finding: string): Promise<void> {
    await this.#keep(await this.#note(what), finding);
  }

  async #note(what: string): Promise<string> {
    const key = new TextEncoder().encode([this.digest, navigator.userAgent, what].join("\n"));
    return new URL(`glic-findings?sha256=${await sha256(key)}`, this.url).href;
  }

  async #load(name: string, count: (bytes: number) => void): Promise<Uint8Array> {
    const entry = this.manifest.files[name];
    const place = new URL(name, this.url).href;
    const key = `${place}?sha256=${entry.sha256}`;
    const kept = await this.cache.match(key);
    if (kept) {
      const bytes = new Uint8Array(await kept.arrayBuffer());
      if ((await sha256(bytes)) === entry.sha256) {
        count(entry.bytes);
        return bytes;
      }
    }
    const bytes = await received(await fetched(place), entry.bytes, count);
    if (bytes.length !== entry.bytes) {
      throw new EngineError(
        `${place} has ${grouped(bytes.length)} bytes, its manifest says ${grouped(entry.bytes)}; ${ANEW}`,
      );
    }
    if ((await sha256(bytes)) !== entry.sha256) {
      throw new EngineError(`${place} is not the file of the manifest (its SHA-256 differs); ${ANEW}`);
    }
    await this.#keep(key, bytes);
    return bytes;
  }

  /** Writes to the cache, in place of earlier versions. A cache without space is no error: the next visit fetches anew. */
  async #keep(key: string, content: Uint8Array<ArrayBuffer> | string): Promise<void> {
    const path = key.split("?")[0];
    try {
      if (typeof content !== "string") {
        for (const { url } of await this.cache.keys(path, { ignoreSearch: true })) await this.cache.delete(url);
      }
      await this.cache.put(key, new Response(content));
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
    }
  }
}

async function fetched(url: string, options: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    throw new EngineError(`${url} cannot be fetched: ${(error as Error).message}; check the address and the connection`);
  }
  if (!response.ok) {
    throw new EngineError(`${url} cannot be fetched: status ${response.status}; is there a web bundle at this address?`);
  }
  return response;
}

/** Returns the body of a response. Throws EngineError for more than `most` bytes, before it reads them. */
async function received(
  response: Response,
  most = 4 * 2 ** 20,
  count: (bytes: number) => void = () => undefined,
): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array[] = [];
  let length = 0;
  const reader = response.body!.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    length += value.length;
    if (length > most) {
      await reader.cancel();
      throw new EngineError(`${response.url} has more than ${grouped(most)} bytes, as its manifest allows; ${ANEW}`);
    }
    parts.push(value);
    count(value.length);
  }
  const whole = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));
}
