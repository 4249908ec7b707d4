// The sizes of images and files are checked from their headers, before anything is allocated, decoded or inferred.

import { LimitError } from "./errors.js";
import { grouped } from "./text.js";

/** The sides of a coded image are multiples of this many pixels. */
export const CODED_MULTIPLE = 128;

export interface Limits {
  /** Width times height, before padding. */
  maxPixels: number;
  /** Bytes that coding may use, as `networkMemory` estimates them. WebAssembly has 4 GiB at most. */
  maxMemory: number;
  /** Maximum of width and height. */
  maxSide: number;
  /** Payload bits per coded pixel. */
  maxPayloadBpp: number;
  /** Bytes of all metadata together, both in the file and decompressed. */
  maxMetadata: number;
}

const DEFAULTS: Limits = {
  maxPixels: 2 ** 28,
  maxMemory: 4 * 2 ** 30,
  maxSide: 2 ** 15,
  maxPayloadBpp: 64,
  maxMetadata: 16 * 2 ** 20,
};

/** Returns the limits with the defaults of glic_deploy for those that are not set. Throws LimitError for a bad one. */
export function completed(limits: Partial<Limits> = {}): Limits {
  for (const [name, value] of Object.entries(limits)) {
    if (!(name in DEFAULTS)) throw new LimitError(`there is no limit ${name}; use ${Object.keys(DEFAULTS).join(", ")}`);
    if (!Number.isSafeInteger(value) || value < 1) {
      throw new LimitError(`${name} is ${value}, expected an integer of at least 1`);
    }
  }
  return { ...DEFAULTS, ...limits };
}

export function roundedUp(pixels: number, multiple = CODED_MULTIPLE): number {
  return Math.ceil(pixels / multiple) * multiple;
}

export function codedPixels(width: number, height: number): number {
  return roundedUp(width) * roundedUp(height);
}

/** Returns an upper estimate of the memory, in bytes, that coding an image of this size as a whole needs. */
export function networkMemory(width: number, height: number): number {
  return 600 * 2 ** 20 + 1600 * codedPixels(width, height);
}

export function checkImage(limits: Limits, width: number, height: number): void {
  for (const [name, side] of [["width", width], ["height", height]] as const) {
    if (side > limits.maxSide) {
      throw new LimitError(
        `${name} is ${grouped(side)} pixels, at most ${grouped(limits.maxSide)} allowed; raise the limit maxSide`,
      );
    }
  }
  const pixels = width * height;
  if (pixels > limits.maxPixels) {
    throw new LimitError(
      `the image has ${grouped(width)} x ${grouped(height)} = ${grouped(pixels)} pixels, at most ` +
        `${grouped(limits.maxPixels)} allowed; raise the limit maxPixels`,
    );
  }
}

/** Throws LimitError unless an image or a tile of this size may be coded as a whole. */
export function checkMemory(limits: Limits, width: number, height: number): void {
  const needed = networkMemory(width, height);
  if (needed > limits.maxMemory) {
    throw new LimitError(
      `coding ${grouped(width)} x ${grouped(height)} pixels at once takes up to ${gib(needed)} GiB of memory, at most ` +
        `${gib(limits.maxMemory)} GiB allowed; encode in tiles, or raise the limit maxMemory`,
    );
  }
}

export function checkPayload(limits: Limits, length: number, width: number, height: number): void {
  const allowed = Math.floor((codedPixels(width, height) * limits.maxPayloadBpp) / 8);
  if (length > allowed) {
    throw new LimitError(
      `payload has ${grouped(length)} bytes, at most ${grouped(allowed)} allowed for ${grouped(width)} x ` +
        `${grouped(height)} pixels; no encoder writes that much: get an unaltered copy, or raise the limit maxPayloadBpp`,
    );
  }
}

export function checkMetadata(limits: Limits, length: number): void {
  if (length > limits.maxMetadata) {
    throw new LimitError(
      `the metadata has ${grouped(length)} bytes, at most ${grouped(limits.maxMetadata)} allowed; raise the limit ` +
        "maxMetadata",
    );
  }
}

function gib(bytes: number): string {
  return (bytes / 2 ** 30).toFixed(1);
}
