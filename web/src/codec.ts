// The codec as a page uses it. Everything runs in a worker, so the page never waits.

import { readHeader } from "./container.js";
import { EngineError, fromMessage, type Warning } from "./errors.js";
import { completed, type Limits } from "./limits.js";
import { readMetadata } from "./metadata.js";
import type { Calls, Decoded, Reply, Request } from "./protocol.js";
import type {
  Bytes, DecodeOptions, Description, EncodeOptions, FileInfo, Inspection, OpenOptions, Progress, Stages,
} from "./types.js";

const MOST_THREADS = 4;

interface Pending {
  resolve: (response: never) => void;
  reject: (error: unknown) => void;
  onProgress?: Progress;
  onWarning?: (warning: Warning) => void;
}

interface Listeners {
  signal?: AbortSignal;
  onProgress?: Progress;
  onWarning?: (warning: Warning) => void;
}

export class Codec {
  /** Milliseconds of each stage of the last decode or encode. */
  stages: Stages = {};

  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #calls = 0;
  #failure: Error | null = null;
  #description!: Description;

  private constructor(worker: Worker) {
    this.#worker = worker;
    worker.onmessage = ({ data }: MessageEvent<Reply>) => this.#receive(data);
    worker.onerror = (event) => {
      this.#fail(new EngineError(`the worker failed: ${event.message || "it cannot be loaded"}; see the console`));
    };
  }

  /**
   * Opens the web bundle at a URL, in a new worker.
   *
   * Throws EngineError if the bundle cannot be fetched, if a file is not the one that it lists, or if this browser
   * computes the entropy path wrongly.
   */
  static async open(bundleUrl: string | URL, options: OpenOptions = {}): Promise<Codec> {
    const limits = completed(options.limits);
    const isolated = globalThis.crossOriginIsolated;
    const threads = isolated ? (options.threads ?? Math.min(navigator.hardwareConcurrency, MOST_THREADS)) : 1;
    if (!Number.isInteger(threads) || threads < 1) {
      throw new EngineError(`threads is ${threads}, expected an integer of at least 1`);
    }
    const codec = new Codec(new Worker(new URL("./worker.js", import.meta.url), { type: "module" }));
    const url = new URL(bundleUrl, globalThis.document?.baseURI ?? import.meta.url);
    if (!url.pathname.endsWith("/")) url.pathname += "/";
    const request = { bundleUrl: url.href, threads, isolated, backend: options.backend ?? "auto", limits };
    try {
      codec.#description = await codec.#call("open", request, options);
    } catch (error) {
      codec.close();
      throw error;
    }
    return codec;
  }

  /** Returns the header and the metadata of a file, which needs neither a bundle nor a worker. */
  static async read(data: Bytes, options: { limits?: Partial<Limits> } = {}): Promise<FileInfo> {
    const warnings: Warning[] = [];
    const metadata = readMetadata(data, { ...options, onWarning: (warning) => warnings.push(warning) });
    return { ...readHeader(data, options.limits), bytes: data.byteLength, metadata, warnings };
  }

  /** Decodes a file to pixels in red, green, blue and alpha. */
  async decode(data: Bytes, options: DecodeOptions = {}): Promise<ImageData> {
    const { region, scale = 1, color = "keep", onError = "raise" } = options;
    const request = { data: copied(data), region, scale, color, onError };
    const image: Decoded = await this.#call("decode", request, options, [request.data.buffer]);
    this.stages = image.stages;
    return new ImageData(image.pixels, image.width, image.height);
  }

  /** Encodes pixels, if the bundle has the encoder. */
  async encode(image: ImageData, options: EncodeOptions = {}): Promise<Uint8Array> {
    const { signal, onProgress, ...rest } = options;
    const pixels = image.data.slice();
    const request = { pixels, width: image.width, height: image.height, options: rest };
    const coded = await this.#call("encode", request, { signal, onProgress }, [pixels.buffer]);
    this.stages = coded.stages;
    return coded.data;
  }

  /** Decodes the symbols of a file, without synthesis, and tells where its bits went. */
  async inspect(data: Bytes, options: { signal?: AbortSignal; onProgress?: Progress } = {}): Promise<Inspection> {
    const request = { data: copied(data) };
    return this.#call("inspect", request, options, [request.data.buffer]);
  }

  describe(): Description {
    return this.#description;
  }

  /** Ends the worker. Calls in progress fail. */
  close(): void {
    this.#worker.terminate();
    this.#fail(new EngineError("the codec is closed; open another: Codec.open(bundleUrl)"));
  }

  #call<Name extends keyof Calls>(
    call: Name,
    request: Calls[Name]["request"],
    { signal, onProgress, onWarning }: Listeners,
    transfer: Transferable[] = [],
  ): Promise<Calls[Name]["response"]> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.#failure) throw this.#failure;
      const id = ++this.#calls;
      const aborted = (): void => {
        this.#post({ id, call: "abort" });
        this.#pending.delete(id);
        reject(signal?.reason);
      };
      signal?.addEventListener("abort", aborted, { once: true });
      const ended = <Value>(settle: (value: Value) => void) => (value: Value): void => {
        signal?.removeEventListener("abort", aborted);
        settle(value);
      };
      this.#pending.set(id, { resolve: ended(resolve), reject: ended(reject), onProgress, onWarning });
      this.#post({ id, call, request } as Request, transfer);
    });
  }

  #post(message: Request, transfer: Transferable[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  #receive(reply: Reply): void {
    const pending = this.#pending.get(reply.id);
    if (!pending) return; // of a call that was aborted
    if (reply.kind === "progress") {
      pending.onProgress?.(reply.done, reply.total);
    } else if (reply.kind === "warning") {
      pending.onWarning?.(fromMessage(reply.error) as Warning);
    } else {
      this.#pending.delete(reply.id);
      if (reply.kind === "result") pending.resolve(reply.response as never);
      else pending.reject(fromMessage(reply.error));
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const pending of this.#pending.values()) pending.reject(error);
    this.#pending.clear();
  }
}

function copied(data: Bytes): Uint8Array<ArrayBuffer> {
  const view = ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    : new Uint8Array(data);
  return new Uint8Array(view);
}
