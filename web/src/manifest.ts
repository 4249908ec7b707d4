// The manifest of a web bundle, as `glic web-bundle` writes it (docs/web.md).

import { EngineError } from "./errors.js";
import type { TypedArrays } from "./tensors.js";

const FORMAT = 1;
export const MANIFEST = "web.json";

export interface FileEntry {
  bytes: number;
  sha256: string;
}

/** An array in a flat file: its type, its shape, and the offset of its first byte. */
export interface ArrayEntry {
  dtype: "int16" | keyof TypedArrays;
  shape: number[];
  offset: number;
}

export interface Port {
  name: string;
  dtype: keyof TypedArrays;
  /** Numbers, and fractions of the sides of the padded image: "H", "W/16". */
  shape: (number | string)[];
}

export interface GraphEntry {
  role: "transform" | "entropy";
  file: string;
  /** The name in `weights` of the file with its constants. */
  weights: string;
  inputs: Port[];
  outputs: Port[];
}

export interface Manifest {
  format: number;
  generator: string;
  model: { fingerprint: string; config: { latent: number; hyper: number; groups: number[] } };
  arithmetic: { profile: "exact" | "float"; fingerprint: string };
  graphs: Record<string, GraphEntry>;
  /** Flat files of arrays: "tables.bin" and "conformance.bin". */
  arrays: Record<string, Record<string, ArrayEntry>>;
  /** The bytes at the start of each file of constants that are float16 and become float32. */
  weights: Record<string, { half: number }>;
  files: Record<string, FileEntry>;
}

/** Reads a manifest. Throws EngineError for one of another format. */
export function readManifest(text: string, url: string): Manifest {
  let manifest: Manifest;
  try {
    manifest = JSON.parse(text) as Manifest;
  } catch {
    throw new EngineError(`${url} is no JSON document; write the bundle again: glic web-bundle`);
  }
  if (manifest.format !== FORMAT) {
    throw new EngineError(
      `${url} is of web bundle format ${manifest.format}, this decoder reads format ${FORMAT}; write the bundle with ` +
        "the glic-deploy of this decoder: glic web-bundle",
    );
  }
  return manifest;
}

/** Returns the arrays of a flat file as views. */
export function arraysOf(entries: Record<string, ArrayEntry>, file: Uint8Array): Record<string, FlatArray> {
  return Object.fromEntries(
    Object.entries(entries).map(([name, { dtype, shape, offset }]) => {
      const count = shape.reduce((product, side) => product * side, 1);
      const data = new ARRAYS[dtype](file.buffer as ArrayBuffer, file.byteOffset + offset, count);
      return [name, { data, shape }];
    }),
  );
}

export interface FlatArray {
  data: Int32Array | Float32Array | Int16Array | Uint8Array;
  shape: number[];
}

const ARRAYS = { int32: Int32Array, float32: Float32Array, int16: Int16Array, uint8: Uint8Array };
