// Whole files, decoded with an engine. See glic_deploy/codec.py.

import { parse, readFront } from "./container.js";
import { type Context, type Engine, timed } from "./engine.js";
import { BitstreamError, ImageError, LimitError, type Warning } from "./errors.js";
import { reduced, regionBox } from "./geometry.js";
import { checkMemory, type Limits } from "./limits.js";
import { item } from "./metadata.js";
import { cut, type Pixels } from "./pixels.js";
import type { DecodeRequest } from "./protocol.js";
import type { Header, Progress } from "./types.js";

const SCALES = [1, 2, 4, 8];

/** What the calls on files share. */
export interface Call {
  engine: Engine;
  limits: Limits;
  context: Context;
  warn: (warning: Warning) => void;
  /** Receives the runs of graphs that are done, and all of them. */
  progress: Progress;
}

/** Decodes a file to pixels. Throws as `Codec.decode` of glic_deploy does. */
export async function decodeFile(call: Call, request: Omit<DecodeRequest, "data">, data: Uint8Array): Promise<Pixels> {
  const { engine, limits, context } = call;
  const { scale, region } = request;
  if (!SCALES.includes(scale)) throw new ImageError(`scale is ${scale}, expected ${SCALES.join(", ")}`);
  const converted = async (header: Header, image: Pixels): Promise<Pixels> => {
    if (request.color === "keep" || !header.profiled) return image;
    const icc = item(header, data.subarray(readFront(data).frameEnd), "icc", limits);
    const { toSrgb } = await import("./colour.js");
    return toSrgb(image, icc, header.grey);
  };
  if (isTiled(data)) {
    const { decodeTiled } = await import("./tiled.js");
    const { header, image } = await decodeTiled(call, request, data);
    return converted(header, image);
  }
  const { header, payload, symbolChecksum } = timed(context, "container", () => parse(data, limits));
  engine.checkFits(header);
  engine.checkScale(scale);
  checkMemory(limits, header.width, header.height);
  const box = reduced(regionBox(region, header.width, header.height), scale);
  counted(call, 1);
  const image = await engine.decode(header, payload, symbolChecksum, header.width, header.height, scale, context);
  return converted(header, cut(image, box));
}

/** Reports progress at each run of a graph from now on. */
export function counted(call: Call, images: number): void {
  const total = images * call.engine.runs;
  let done = -1;
  const turn = call.context.turn;
  call.context.turn = async () => {
    call.progress(++done, total);
    await turn();
  };
}

export function isTiled(data: Uint8Array): boolean {
  try {
    return readFront(data).header.tiled;
  } catch (error) {
    if (error instanceof BitstreamError || error instanceof LimitError) return false; // parsing raises it
    throw error;
  }
}
