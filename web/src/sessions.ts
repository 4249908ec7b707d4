// Graphs on onnxruntime-web.

import type * as Ort from "onnxruntime-web";
import { EngineError } from "./errors.js";
import type { Manifest } from "./manifest.js";
import type { RunGraph, Tensor } from "./tensors.js";

export type Runtime = typeof Ort;
export type Provider = "wasm" | "webgpu";

/** Returns the bytes of a file of the bundle: a graph, or constants as `expanded` returns them. */
export type FileOf = (name: string) => Uint8Array | Promise<Uint8Array>;

export class Sessions {
  readonly #sessions = new Map<string, Promise<Ort.InferenceSession>>();

  /** provider: runs the transforms. The entropy path always runs on WebAssembly. */
  constructor(
    private readonly runtime: Runtime,
    private readonly manifest: Manifest,
    private readonly file: FileOf,
    readonly provider: Provider,
  ) {}

  /** The version of onnxruntime-web. */
  get version(): string {
    return this.runtime.env.versions.web ?? "";
  }

  /** Prepares a graph, which otherwise happens at its first run. */
  prepare(graph: string): Promise<Ort.InferenceSession> {
    let session = this.#sessions.get(graph);
    if (!session) {
      session = this.#create(graph);
      this.#sessions.set(graph, session);
    }
    return session;
  }

  readonly run: RunGraph = async (graph, inputs) => {
    const session = await this.prepare(graph);
    const feeds = Object.fromEntries(
      Object.entries(inputs).map(([name, { type, data, dims }]) => [name, new this.runtime.Tensor(type, data, dims)]),
    );
    try {
      return (await session.run(feeds)) as unknown as Record<string, Tensor>;
    } catch (error) {
      throw failed(graph, "run", error);
    }
  };

  async #create(graph: string): Promise<Ort.InferenceSession> {
    const { role, file, weights } = this.manifest.graphs[graph];
    const [model, constants] = await Promise.all([this.file(file), this.file(weights)]);
    const onGpu = role === "transform" && this.provider === "webgpu";
    try {
      return await this.runtime.InferenceSession.create(model, {
        executionProviders: onGpu ? ["webgpu", "wasm"] : ["wasm"],
        // Sequential execution plans the reuse of memory, which takes longer than to run a small graph of many nodes.
        executionMode: role === "entropy" ? "parallel" : "sequential",
        graphOptimizationLevel: onGpu ? "all" : "disabled", // the bundle's graphs are optimized for any processor
        externalData: [{ path: weights, data: constants }],
      });
    } catch (error) {
      throw failed(graph, "opened", error);
    }
  }
}

function failed(graph: string, what: string, error: unknown): EngineError {
  const problem = error instanceof Error ? error.message : String(error);
  return new EngineError(`graph ${graph} cannot be ${what}: ${problem}; a smaller image or tiles need less memory`);
}

/** Returns a file of constants as the graphs read it: its first `half` bytes are float16 and become float32. */
export function expanded(file: Uint8Array, half: number): Uint8Array {
  if (!half) return file;
  const whole = new Uint8Array(file.length + half);
  const floats = new Uint32Array(whole.buffer, 0, half / 2);
  const halves = new Uint16Array(file.buffer, file.byteOffset, half / 2);
  for (let i = 0; i < halves.length; i++) floats[i] = asFloat32(halves[i]);
  whole.set(file.subarray(half), 2 * half);
  return whole;
}

/** Returns the bits of a float32 that equals a float16. The bundle holds neither infinities nor NaN. */
function asFloat32(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >>> 10) & 31;
  const fraction = half & 0x3ff;
  if (exponent) return sign | ((exponent + 112) << 23) | (fraction << 13);
  if (!fraction) return sign;
  const shift = Math.clz32(fraction) - 21; // until the leading one is bit 10
  return sign | ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13);
}
