// The custom element <glic-image src="photo.glic" bundle="bundle/" alt="A harbour at dusk">, which shows a `.glic` file
// as <img> shows other files. Importing this module defines the element.

import { BitstreamError, Codec, GlicError, readHeader } from "./index.js";

const HEADER_BYTES = 2048;
const AHEAD = "400px"; // lazy images are decoded this far before they can be seen
const KEPT_MS = 10_000; // that a codec without an element stays open

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
  :host { display: inline-block; max-width: 100%; overflow: hidden; vertical-align: bottom; }
  :host([hidden]) { display: none; }
  canvas, img { display: block; width: 100%; height: 100%; object-fit: inherit; object-position: inherit; }
  span { display: block; padding: 0.5em; }
`);

/** A codec that the elements of one bundle share. */
interface Shared {
  codec: Promise<Codec>;
  users: number;
}

const shared = new Map<string, Shared>();

/** Runs `work` with the codec of a bundle, which is opened by its first user and closed some time after the last. */
async function withCodec<Result>(bundleUrl: string, work: (codec: Codec) => Promise<Result>): Promise<Result> {
  const entry = shared.get(bundleUrl) ?? { codec: Codec.open(bundleUrl), users: 0 };
  shared.set(bundleUrl, entry);
  entry.users += 1;
  try {
    return await work(await entry.codec);
  } finally {
    entry.users -= 1;
    const opened = await entry.codec.catch(() => null);
    if (!opened) {
      if (shared.get(bundleUrl) === entry) shared.delete(bundleUrl); // so that the next element tries again
    } else {
      setTimeout(() => {
        if (entry.users || shared.get(bundleUrl) !== entry) return;
        shared.delete(bundleUrl);
        opened.close();
      }, KEPT_MS);
    }
  }
}

/**
 * Shows a `.glic` file.
 *
 * Attributes: `src` and `bundle` are URLs; `alt` describes the image; `width` and `height` reserve its place before the
 * file's header is there; `loading="eager"` decodes at once instead of when the element is about to be seen; `scale`
 * of 2, 4 or 8 decodes a preview; `fallback` is the URL of an image that is shown if the file cannot be.
 *
 * Dispatches `load` when the image is drawn, or `error`, an ErrorEvent whose `error` says why it is not.
 */
export class GlicImage extends HTMLElement {
  static readonly observedAttributes = ["src", "bundle", "alt", "width", "height", "loading", "scale", "fallback"];

  /** Width and height in pixels of the whole image; 0 before the header is there. */
  naturalWidth = 0;
  naturalHeight = 0;
  /** Whether the image, or what is shown instead of it, is there. */
  complete = false;

  readonly #root = this.attachShadow({ mode: "open" });
  readonly #size = new CSSStyleSheet();
  #work: AbortController | null = null;

  constructor() {
    super();
    this.#root.adoptedStyleSheets = [sheet, this.#size];
  }

  connectedCallback(): void {
    this.#restart();
  }

  disconnectedCallback(): void {
    this.#work?.abort();
    this.#work = null;
  }

  attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    if (!this.isConnected || before === after) return;
    if (name === "alt") this.#describe();
    else if (name === "width" || name === "height") this.#reserve();
    else this.#restart();
  }

  #restart(): void {
    this.#work?.abort();
    this.#work = new AbortController();
    this.complete = false;
    this.naturalWidth = this.naturalHeight = 0;
    this.#root.replaceChildren(document.createElement("canvas"));
    this.#describe();
    this.#reserve();
    if (this.hasAttribute("src")) void this.#show(this.#work.signal);
  }

  async #show(signal: AbortSignal): Promise<void> {
    try {
      this.setAttribute("aria-busy", "true");
      const url = this.#url("src");
      const bundle = this.#url("bundle");
      if (!this.#sized()) await this.#readSize(url, signal);
      if (this.getAttribute("loading") !== "eager") await visible(this, signal);
      const data = await bytes(await get(url, { signal }), Infinity);
      ({ width: this.naturalWidth, height: this.naturalHeight } = readHeader(data));
      this.#reserve();
      const scale = Number(this.getAttribute("scale") ?? 1) as 1 | 2 | 4 | 8;
      const image = await withCodec(bundle, (codec) => codec.decode(data, { signal, scale, color: "srgb" }));
      this.#draw(image);
      this.#end(new Event("load"));
    } catch (error) {
      if (!signal.aborted) this.#fail(error);
    }
  }

  /** Reads the image's size from the first bytes of the file, so that its place is reserved before it is loaded. */
  async #readSize(url: string, signal: AbortSignal): Promise<void> {
    const response = await get(url, { signal, headers: { Range: `bytes=0-${HEADER_BYTES - 1}` } });
    ({ width: this.naturalWidth, height: this.naturalHeight } = readHeader(await bytes(response, HEADER_BYTES)));
    this.#reserve();
  }

  #url(name: "src" | "bundle"): string {
    const value = this.getAttribute(name);
    if (!value) throw new GlicError(`<glic-image> has no ${name}; add the attribute ${name}="URL"`);
    return new URL(value, this.ownerDocument.baseURI).href;
  }

  #sized(): boolean {
    return this.hasAttribute("width") && this.hasAttribute("height");
  }

  /** Gives the element the size of the image, or of its attributes. Rules of the page for the element take precedence. */
  #reserve(): void {
    const [width, height] = ["width", "height"].map((name) => Math.max(0, Number(this.getAttribute(name)) || 0));
    const ratio = this.naturalWidth ? this.naturalWidth / this.naturalHeight : width && height ? width / height : 0;
    const shown = width || (height && ratio ? height * ratio : this.naturalWidth);
    this.#size.replaceSync(`:host { ${shown ? `width: ${shown}px;` : ""} ${ratio ? `aspect-ratio: ${ratio};` : ""} }`);
  }

  #describe(): void {
    const alt = this.getAttribute("alt");
    const canvas = this.#root.querySelector("canvas");
    canvas?.setAttribute("role", alt === "" ? "presentation" : "img");
    if (alt) canvas?.setAttribute("aria-label", alt);
    else canvas?.removeAttribute("aria-label");
    const image = this.#root.querySelector("img");
    if (image && alt !== null) image.alt = alt;
    const text = this.#root.querySelector("span");
    if (text) text.textContent = alt;
  }

  #draw(image: ImageData): void {
    const canvas = this.#root.querySelector("canvas") as HTMLCanvasElement;
    canvas.width = image.width;
    canvas.height = image.height;
    canvas.getContext("2d")?.putImageData(image, 0, 0);
  }

  #fail(error: unknown): void {
    const fallback = this.getAttribute("fallback");
    const instead = document.createElement(fallback ? "img" : "span");
    if (fallback && instead instanceof HTMLImageElement) {
      instead.addEventListener("load", () => {
        if (!this.#sized()) [this.naturalWidth, this.naturalHeight] = [instead.naturalWidth, instead.naturalHeight];
        this.#reserve();
      });
      instead.src = fallback;
    }
    this.#root.replaceChildren(instead);
    this.#describe();
    const message = error instanceof Error ? error.message : String(error);
    this.#end(new ErrorEvent("error", { error, message: `${this.getAttribute("src")}: ${message}` }));
  }

  #end(event: Event): void {
    this.complete = true;
    this.removeAttribute("aria-busy");
    this.dispatchEvent(event);
  }
}

/** Fetches a file. Throws GlicError if the server does not send it. */
async function get(url: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, init);
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new GlicError(`${url} cannot be fetched (${(error as Error).message}); check the address and the connection`);
  }
  if (!response.ok) {
    throw new GlicError(`${url}: the server answered ${response.status} ${response.statusText}; check the address`);
  }
  return response;
}

/** Returns at least the first `most` bytes of a response, if there are that many, and stops the transfer. */
async function bytes(response: Response, most: number): Promise<Uint8Array> {
  if (!response.body) throw new BitstreamError("the file is empty; get an unaltered copy");
  const parts: Uint8Array[] = [];
  let size = 0;
  for (const reader = response.body.getReader(); size < most; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    size += value.length;
    if (size >= most) void reader.cancel();
  }
  const all = new Uint8Array(size);
  let end = 0;
  for (const part of parts) {
    all.set(part, end);
    end += part.length;
  }
  return all;
}

/** Resolves when an element is in sight or nearly so. */
function visible(element: Element, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const observer = new IntersectionObserver(
      (entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        observer.disconnect();
        resolve();
      },
      { rootMargin: AHEAD },
    );
    observer.observe(element);
    signal.addEventListener("abort", () => {
      observer.disconnect();
      reject(signal.reason);
    });
  });
}

customElements.define("glic-image", GlicImage);

declare global {
  interface HTMLElementTagNameMap {
    "glic-image": GlicImage;
  }
}
