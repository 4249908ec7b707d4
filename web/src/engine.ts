// The codec of one bundle: coded images to pixels, and back. See glic_deploy/bundle_codec.py and channel_codec.py.

import { ALTERED, readVarint, symbolChecksum } from "./bytes.js";
import { BitstreamError, EngineError, ModelMismatchError } from "./errors.js";
import { shrunk } from "./geometry.js";
import { CODED_MULTIPLE } from "./limits.js";
import type { Manifest } from "./manifest.js";
import { boxReduced, cropped, type Pixels, type Planes, withChannels } from "./pixels.js";
import { type CdfTables, Decoder } from "./rans.js";
import type { Tables } from "./tables.js";
import { type RunGraph, tensor } from "./tensors.js";
import { grouped } from "./text.js";
import type { Header, Stages } from "./types.js";
import { type Latents, walk } from "./walk.js";

const PREVIEW = "preview";
const PREVIEW_SCALE = 2;
const FINGERPRINT_DIGITS = 8;

/** One pass that was decoded. name: "z", or the graph of the pass. */
export interface CodedPass {
  name: string;
  tables: CdfTables;
  symbols: Int16Array;
  indexes: Uint8Array;
  /** The sides of the map of latents, in which a pass of y holds every second position. */
  height: number;
  width: number;
}

/** What belongs to one call. */
export interface Context {
  stages: Stages;
  /** Called before each run of a graph; throws if the call was aborted. */
  turn: () => Promise<void>;
}

export class Engine {
  constructor(
    readonly manifest: Manifest,
    readonly tables: Tables,
    private readonly runGraph: RunGraph,
    private readonly url = "",
  ) {}

  get modelFingerprint(): string {
    return this.manifest.model.fingerprint.slice(0, FINGERPRINT_DIGITS);
  }

  get arithmeticFingerprint(): string {
    return this.manifest.arithmetic.fingerprint.slice(0, FINGERPRINT_DIGITS);
  }

  get exact(): boolean {
    return this.manifest.arithmetic.profile === "exact";
  }

  has(graph: string): boolean {
    return graph in this.manifest.graphs;
  }

  /** The runs of graphs that decode an image of one tile. */
  get runs(): number {
    return 2 + 2 * this.manifest.model.config.groups.length;
  }

  /** Throws ModelMismatchError unless this bundle decodes files with this header. */
  checkFits(header: Header): void {
    for (const [what, needed, found] of [
      ["model", header.modelFingerprint, this.modelFingerprint],
      ["entropy arithmetic", header.arithmeticFingerprint, this.arithmeticFingerprint],
    ]) {
      if (needed !== found) {
        throw new ModelMismatchError(
          `the file was written with ${what} ${needed}, this bundle (${this.url}) has ${found}; decode it with the ` +
            "bundle of the checkpoint that wrote it",
        );
      }
    }
    if (header.exact !== this.exact) {
      throw new ModelMismatchError(
        `the file needs ${profile(header.exact)} entropy arithmetic, this bundle (${this.url}) has ` +
          `${profile(this.exact)}; decode it with the bundle that wrote it`,
      );
    }
  }

  /** Throws EngineError if the bundle cannot decode at this scale. */
  checkScale(scale: number): void {
    if (scale > 1 && !this.has(PREVIEW)) {
      throw new EngineError(`${this.url} has no previews, so its files decode at full size only; decode with scale 1`);
    }
  }

  /** Decodes a coded image. Throws BitstreamError if it is damaged. */
  async decode(
    header: Header, coded: Uint8Array, checksum: number, width: number, height: number, scale: number, context: Context,
  ): Promise<Pixels> {
    const { stream, alpha } = split(coded, header.alpha);
    let opacity: Uint8Array | null = null;
    if (alpha) {
      const { decodeAlpha } = await import("./png.js");
      opacity = timed(context, "alpha", () => decodeAlpha(alpha, width, height));
    }
    const latents = await this.decodeLatents(stream, checksum, width, height, context);
    const colours = await this.#reconstruct(latents, width, height, scale, context);
    return timed(context, "pixels", () => {
      const planes = opacity && boxReduced({ data: opacity, width, height, channels: 1 }, scale);
      return withChannels(colours, header.grey, planes && planes.data);
    });
  }

  /** Decodes the latents of a coded image. `passes` receives the symbols and indexes of each pass. */
  async decodeLatents(
    stream: Uint8Array, checksum: number, width: number, height: number, context: Context, passes?: CodedPass[],
  ): Promise<Latents> {
    const [rows, columns] = [height, width].map((side) => 2 * Math.ceil(side / CODED_MULTIPLE));
    const { groups, hyper } = this.manifest.model.config;
    const decoded: CodedPass[] = [];
    const decoder = timed(context, "range decoder", () => new Decoder(stream));
    const decodePass = (
      name: string, tables: CdfTables, indexes: Uint8Array, sides: { height: number; width: number },
    ): Int16Array => {
      const symbols = timed(context, "range decoder", () => decoder.decode(tables, indexes));
      decoded.push({ name, tables, symbols, indexes, height: sides.height, width: sides.width });
      return symbols;
    };
    const sides = { height: rows, width: columns };
    const symbols = decodePass("z", this.tables.z, channelIndexes(hyper, rows * columns), sides);
    const latents = await walk(groups, this.runner(context, "entropy"), { symbols, hyper, ...sides }, (pass, indexes) =>
      decodePass(pass.name, this.tables.y, indexes, pass),
    );
    timed(context, "range decoder", () => decoder.finish());
    if (timed(context, "container", () => symbolChecksum(decoded.map((pass) => pass.symbols))) !== checksum) {
      throw new BitstreamError(
        "the decoded symbols differ from the encoded ones (their checksums differ); " +
          (this.exact
            ? "this browser computes wrongly: please report it with its name and version"
            : "a file with floating-point entropy parameters decodes only in the configuration that wrote it"),
      );
    }
    passes?.push(...decoded);
    return latents;
  }

  async #reconstruct(
    latents: Latents, width: number, height: number, scale: number, context: Context,
  ): Promise<Planes> {
    const [graph, graphScale] = scale === 1 ? ["synthesis", 1] : [PREVIEW, PREVIEW_SCALE];
    const { data, channels } = latents;
    const input = tensor("float32", data, [1, channels, latents.height, latents.width]);
    const { image } = await this.runner(context, "synthesis")(graph, { y_hat: input });
    return timed(context, "pixels", () => {
      const planes = { data: image.data as Uint8Array, height: image.dims[0], width: image.dims[1], channels: 3 };
      const visible = cropped(planes, shrunk(width, graphScale), shrunk(height, graphScale));
      return boxReduced(visible, scale / graphScale);
    });
  }

  /** Returns what runs graphs for one call, as a part of a stage. */
  runner(context: Context, stage: string): RunGraph {
    return async (graph, inputs) => {
      await context.turn();
      if (!this.has(graph)) throw new EngineError(`${this.url} has no graph ${graph}; write the bundle with it`);
      const start = performance.now();
      const outputs = await this.runGraph(graph, inputs);
      spent(context, stage, start);
      this.#check(graph, inputs, outputs);
      return outputs;
    };
  }

  /** Throws EngineError unless the outputs of a graph have the types and shapes of the manifest. */
  #check(graph: string, inputs: Parameters<RunGraph>[1], outputs: Awaited<ReturnType<RunGraph>>): void {
    const entry = this.manifest.graphs[graph];
    const sides: Record<string, number> = {};
    for (const port of entry.inputs) {
      port.shape.forEach((side, i) => {
        if (typeof side === "string") sides[side[0]] = inputs[port.name].dims[i] * divisor(side);
      });
    }
    for (const { name, dtype, shape } of entry.outputs) {
      const expected = shape.map((side) => (typeof side === "string" ? sides[side[0]] / divisor(side) : side));
      const got = outputs[name];
      if (got?.type !== dtype || got.dims.join() !== expected.join()) {
        throw new EngineError(
          `graph ${graph} returned ${name} ${got?.type}[${got?.dims}], expected ${dtype}[${expected}]; the graph belongs ` +
            "to another network: write the bundle again",
        );
      }
    }
  }
}

function divisor(side: string): number {
  return Number(side.slice(2)) || 1;
}

/** Returns the stream of the colours and the PNG file of the alpha, null if there is none. */
export function split(coded: Uint8Array, alpha: boolean): { stream: Uint8Array; alpha: Uint8Array | null } {
  if (!alpha) return { stream: coded, alpha: null };
  const [length, start] = readVarint(coded, 0, "length of the colour's stream");
  const end = start + length;
  if (end > coded.length) {
    throw new BitstreamError(
      `the colour's stream has ${grouped(length)} bytes, ${grouped(coded.length - start)} are left; ${ALTERED}`,
    );
  }
  return { stream: coded.subarray(start, end), alpha: coded.subarray(end) };
}

/** Runs a function and adds its milliseconds to a stage. */
export function timed<Value>(context: Context, stage: string, work: () => Value): Value {
  const start = performance.now();
  const value = work();
  spent(context, stage, start);
  return value;
}

function spent({ stages }: Context, stage: string, start: number): void {
  stages[stage] = (stages[stage] ?? 0) + performance.now() - start;
}

/** Returns the index of the CDF table for every element of z, which is its channel. */
export function channelIndexes(channels: number, area: number): Uint8Array {
  const indexes = new Uint8Array(channels * area);
  for (let channel = 0; channel < channels; channel++) indexes.fill(channel, channel * area, (channel + 1) * area);
  return indexes;
}

function profile(exact: boolean): string {
  return exact ? "exact" : "floating-point";
}
