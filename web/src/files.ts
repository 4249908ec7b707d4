// Whole files, decoded with an engine. See glic_deploy/codec.py.

import { flat } from "./bytes.js";
import { parse, readFront } from "./container.js";
import { type Context, type Engine, timed } from "./engine.js";
import { BitstreamError, DamagedTilesWarning, ImageError, LimitError, type Warning } from "./errors.js";
import { type Box, reduced, regionBox } from "./geometry.js";
import { checkMemory, type Limits } from "./limits.js";
import { item } from "./metadata.js";
import { blank, boxReduced, cut, joined, type Pixels } from "./pixels.js";
import type { DecodeRequest } from "./protocol.js";
import { parseTiled, type TiledFile } from "./tiles.js";
import type { Header, Progress } from "./types.js";

const SCALES = [1, 2, 4, 8];
const FILL = 128;

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
    const partial = region !== undefined || request.onError === "fill";
    const file = timed(context, "container", () => parseTiled(data, limits, partial));
    engine.checkFits(file.header);
    engine.checkScale(scale);
    const box = regionBox(region, file.header.width, file.header.height);
    return converted(file.header, await decodeTiles(call, request, file, box, scale));
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

async function decodeTiles(
  call: Call, request: Pick<DecodeRequest, "onError">, file: TiledFile, box: Box, scale: number,
): Promise<Pixels> {
  const { engine, context } = call;
  const { grid, header } = file;
  const smallBox = reduced(box, scale);
  if (grid.overlap % scale) {
    // Of another encoder: a preview's pixels would lie across the edges of its tiles.
    const [x, y] = [smallBox.x * scale, smallBox.y * scale];
    const whole = {
      x, y,
      width: Math.min((smallBox.x + smallBox.width) * scale, header.width) - x,
      height: Math.min((smallBox.y + smallBox.height) * scale, header.height) - y,
    };
    const image = await decodeTiles(call, request, file, whole, 1);
    const planes = { data: flat(image.data), width: image.width, height: image.height, channels: 4 };
    const small = boxReduced(planes, scale);
    return { data: new Uint8ClampedArray(small.data), width: small.width, height: small.height };
  }
  const needed = grid.touching(box).flat();
  counted(call, needed.length);
  const small = grid.reduced(scale);
  const damaged: Box[] = [];
  const image = await joined(small, smallBox, async (index) => {
    const { width, height } = grid.box(index);
    try {
      const payload = file.payload(index);
      return await engine.decode(header, payload, file.symbolChecksum(index), width, height, scale, context);
    } catch (error) {
      if (!(error instanceof BitstreamError)) throw error;
      if (request.onError === "raise") throw new BitstreamError(`${file.place(index)}: ${error.message}`);
      damaged.push(grid.box(index));
      const size = small.box(index);
      return blank(size.width, size.height, FILL);
    }
  });
  if (damaged.length) {
    const places = damaged.map(({ x, y, width, height }) => `${width} x ${height} pixels at ${x}, ${y}`);
    call.warn(
      new DamagedTilesWarning(
        `${damaged.length} of ${needed.length} tiles are damaged and grey in the image: ${places.join(", ")}; get an ` +
          "unaltered copy",
      ),
    );
  }
  return image;
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
