// The types of the public interface.

import type { Warning } from "./errors.js";
import type { Limits } from "./limits.js";

/** Called with the work that is done and all of it, before the first part and after each. */
export type Progress = (done: number, total: number) => void;

/** The bytes of a `.glic` file. */
export type Bytes = ArrayBuffer | ArrayBufferView;

/** "auto" runs the transforms with WebGPU if a trial shows that it is faster, and everything else with WebAssembly. */
export type BackendName = "auto" | "wasm" | "webgpu";

/** A rectangle of pixels: x, y, width, height. */
export type Region = readonly [x: number, y: number, width: number, height: number];

export interface OpenOptions {
  signal?: AbortSignal;
  /** Receives the bytes of the bundle that are there. */
  onProgress?: Progress;
  /** Threads of WebAssembly. By default, the cores of the machine, at most 4; 1 without cross-origin isolation. */
  threads?: number;
  backend?: BackendName;
  limits?: Partial<Limits>;
}

export interface DecodeOptions {
  signal?: AbortSignal;
  /** Receives the runs of graphs that are done. */
  onProgress?: Progress;
  /** The part to decode, in pixels of the whole image. Of an image in tiles, only the tiles that it needs are decoded. */
  region?: Region;
  /** 1, or 2, 4 or 8 for a preview, whose sides are divided by it and rounded up. */
  scale?: 1 | 2 | 4 | 8;
  /** "keep" returns the pixels as they were coded; "srgb" converts those of a file with a colour profile to sRGB. */
  color?: "keep" | "srgb";
  /** "fill" makes damaged tiles grey and reports a DamagedTilesWarning; "raise" raises the error. */
  onError?: "raise" | "fill";
  onWarning?: (warning: Warning) => void;
}

export interface EncodeOptions {
  signal?: AbortSignal;
  onProgress?: Progress;
  /** "refuse" refuses transparent pixels, "keep" codes alpha losslessly. */
  alpha?: "refuse" | "keep";
  /** The metadata to attach. */
  metadata?: Partial<Metadata>;
  /** The most pixels of a tile's side, a multiple of 128; 0 codes the image whole. */
  tile?: number;
}

export interface Metadata {
  exif: Uint8Array | null;
  xmp: Uint8Array | null;
  icc: Uint8Array | null;
}

/** An optional field of the header. */
export interface Field {
  key: number;
  number: number;
  critical: boolean;
  attached: boolean;
  value: Uint8Array;
}

/** The fields of a `.glic` file before its payload. */
export interface Header {
  width: number;
  height: number;
  /** Whether the entropy parameters are integer arithmetic, which decodes anywhere. */
  exact: boolean;
  tiled: boolean;
  grey: boolean;
  alpha: boolean;
  /** Whether the colours are those of the attached ICC profile, not sRGB. */
  profiled: boolean;
  /** The channels by the name of Pillow's mode. */
  channels: "L" | "LA" | "RGB" | "RGBA";
  /** First 4 bytes of the fingerprints, as hexadecimal digits. */
  modelFingerprint: string;
  arithmeticFingerprint: string;
  fields: Field[];
}

/** What `Codec.read` returns: the header and the metadata. */
export interface FileInfo extends Header {
  bytes: number;
  metadata: Metadata;
  warnings: Warning[];
}

/** Milliseconds of each stage of the last decode or encode. */
export type Stages = Record<string, number>;

/** What the codec runs on. */
export interface Description {
  backend: "wasm" | "webgpu";
  threads: number;
  /** Whether the conformance vectors were run now, or on an earlier visit with the same browser and bundle. */
  conformance: "passed" | "passed before" | "not exact";
  modelFingerprint: string;
  arithmeticFingerprint: string;
  generator: string;
  /** Bytes of the bundle. */
  bytes: number;
  encoder: boolean;
  previews: boolean;
  /** What is slower than necessary, with remedies. */
  notices: string[];
}

/** Where the bits of a file went. */
export interface Inspection {
  /** SHA-256 of all symbols in the order of coding, tile after tile, each as a little-endian int16. */
  symbols: string;
  /** Bytes of the parts of the file. */
  parts: { header: number; metadata: number; alpha: number; symbols: number };
  /** Of each pass ("z", "slice0_anchors", ...): its symbols, and the bits that an ideal coder spends on them. */
  passes: { name: string; symbols: number; bits: number }[];
  /** The bits of y by position, one for each 16 x 16 pixels, row by row; null of an image in tiles. */
  map: { width: number; height: number; bits: Float32Array } | null;
}
