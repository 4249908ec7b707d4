// The messages between the page and the worker.

import type { ErrorMessage } from "./errors.js";
import type { Limits } from "./limits.js";
import type { BackendName, Description, EncodeOptions, Inspection, Region, Stages } from "./types.js";

export interface OpenRequest {
  bundleUrl: string;
  threads: number;
  isolated: boolean;
  backend: BackendName;
  limits: Limits;
}

export interface DecodeRequest {
  data: Uint8Array;
  region?: Region;
  scale: number;
  color: "keep" | "srgb";
  onError: "raise" | "fill";
}

export interface EncodeRequest {
  pixels: Uint8ClampedArray;
  width: number;
  height: number;
  options: Omit<EncodeOptions, "signal" | "onProgress">;
}

/** The pixels of an image, red, green, blue and alpha, and the milliseconds of each stage. */
export interface Decoded {
  pixels: Uint8ClampedArray<ArrayBuffer>;
  width: number;
  height: number;
  stages: Stages;
}

/** The calls that a worker answers. */
export interface Calls {
  open: { request: OpenRequest; response: Description };
  decode: { request: DecodeRequest; response: Decoded };
  encode: { request: EncodeRequest; response: { data: Uint8Array; stages: Stages } };
  inspect: { request: { data: Uint8Array }; response: Inspection };
}

export type Request =
  | { [Name in keyof Calls]: { id: number; call: Name; request: Calls[Name]["request"] } }[keyof Calls]
  | { id: number; call: "abort" };

export type Reply =
  | { id: number; kind: "result"; response: Calls[keyof Calls]["response"] }
  | { id: number; kind: "error"; error: ErrorMessage }
  | { id: number; kind: "warning"; error: ErrorMessage }
  | { id: number; kind: "progress"; done: number; total: number };
