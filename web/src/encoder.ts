// Pixels to `.glic` files. The worker loads this part when it encodes for the first time.

import { concatenated, symbolChecksum, writeVarint } from "./bytes.js";
import { channelsOf } from "./container.js";
import { channelIndexes, type Context, type Engine, timed } from "./engine.js";
import { ImageError } from "./errors.js";
import { type Call, counted } from "./files.js";
import { Axis, Grid } from "./grid.js";
import { checkImage, checkMemory, CODED_MULTIPLE, type Limits, networkMemory } from "./limits.js";
import { cut, padded, type Pixels } from "./pixels.js";
import { pngFile } from "./png_writer.js";
import type { EncodeRequest } from "./protocol.js";
import { Encoder } from "./rans_encoder.js";
import { tensor } from "./tensors.js";
import type { Header } from "./types.js";
import { firstColumn, type Pass, walk } from "./walk.js";
import { attach, pack, packTiled } from "./writing.js";

const SIDE = 1024;
const OVERLAP = 16;
/** Largest magnitude of a symbol, so that symbol + mean is exact in float32. */
const MAX_SYMBOL = 2047;

/** Encodes pixels to a file: grey if all of them are, and with alpha if any is not opaque. */
export async function encodeFile(call: Call, { pixels, width, height, options }: EncodeRequest): Promise<Uint8Array> {
  const { engine, limits, context } = call;
  checkImage(limits, width, height);
  const image = { data: pixels as Uint8ClampedArray<ArrayBuffer>, width, height };
  const { grey, alpha } = channels(image);
  if (alpha && options.alpha !== "keep") {
    throw new ImageError('the image has transparent pixels; encode it with alpha: "keep", or draw it on a background');
  }
  const grid = chosenGrid(width, height, options.tile, limits);
  const { fields, attachments } = await attach(options.metadata ?? {}, limits);
  const header: Header = {
    width, height, grey, alpha, fields,
    exact: engine.exact,
    tiled: grid !== null,
    profiled: false,
    channels: channelsOf(grey, alpha),
    modelFingerprint: engine.modelFingerprint,
    arithmeticFingerprint: engine.arithmeticFingerprint,
  };
  counted(call, grid?.count ?? 1);
  if (!grid) {
    const { payload, checksum } = await encode(engine, image, alpha, context);
    return pack(header, payload, checksum, attachments);
  }
  const tiles: { payload: Uint8Array; checksum: number }[] = [];
  for (let index = 0; index < grid.count; index++) {
    tiles.push(await encode(engine, cut(image, grid.box(index)), alpha, context));
  }
  return packTiled(header, grid, tiles, attachments);
}

/** Returns the tiles in which to code an image; null: whole. */
function chosenGrid(width: number, height: number, tile: number | undefined, limits: Limits): Grid | null {
  if (tile !== undefined && tile !== 0 && (tile < 2 * CODED_MULTIPLE || tile % CODED_MULTIPLE)) {
    throw new ImageError(
      `tile is ${tile}, expected a multiple of ${CODED_MULTIPLE} pixels from ${2 * CODED_MULTIPLE}, or 0 to code the ` +
        "image whole",
    );
  }
  const whole = networkMemory(width, height) <= limits.maxMemory;
  const side = tile ?? (whole ? 0 : SIDE);
  if (!side || Math.max(width, height) <= side) {
    checkMemory(limits, width, height);
    return null;
  }
  const grid = new Grid(Axis.divided(width, side, OVERLAP), Axis.divided(height, side, OVERLAP));
  checkMemory(limits, grid.columns.extent, grid.rows.extent);
  return grid;
}

function channels({ data }: Pixels): { grey: boolean; alpha: boolean } {
  let [grey, alpha] = [true, false];
  for (let i = 0; i < data.length && (grey || !alpha); i += 4) {
    grey &&= data[i] === data[i + 1] && data[i] === data[i + 2];
    alpha ||= data[i + 3] < 255;
  }
  return { grey, alpha };
}

/** Returns the coded image of pixels and its symbol checksum. */
async function encode(
  engine: Engine, pixels: Pixels, alpha: boolean, context: Context,
): Promise<{ payload: Uint8Array; checksum: number }> {
  const run = engine.runner(context, "entropy");
  const analyse = engine.runner(context, "analysis");
  const image = timed(context, "pixels", () => padded(pixels));
  const { y } = await analyse("analysis", { image: tensor("uint8", image.data, [image.height, image.width, 3]) });
  const z = (await analyse("hyper_analysis", { y })).z_symbols;
  const zSymbols = Int16Array.from(z.data);
  const [height, width] = z.dims.slice(2);
  const { groups, hyper } = engine.manifest.model.config;
  const encoder = new Encoder();
  const all: Int16Array[] = [zSymbols];
  encoder.push(engine.tables.z, zSymbols, channelIndexes(hyper, height * width));
  await walk(groups, run, { symbols: zSymbols, hyper, height, width }, (pass, indexes, means) => {
    const symbols = quantize(packed(y.data as Float32Array, pass), means);
    encoder.push(engine.tables.y, symbols, indexes);
    all.push(symbols);
    return symbols;
  });
  const stream = timed(context, "range encoder", () => encoder.finish());
  const checksum = symbolChecksum(all);
  if (!alpha) return { payload: stream, checksum };
  const opacity = Uint8Array.from({ length: pixels.width * pixels.height }, (_, i) => pixels.data[4 * i + 3]);
  const png = await pngFile({ data: opacity, width: pixels.width, height: pixels.height, channels: 1 });
  return { payload: concatenated([writeVarint(stream.length), stream, png]), checksum };
}

/** Returns the latents of one parity of a slice, packed: row by row at half width. */
function packed(y: Float32Array, pass: Pass): Float32Array {
  const values = new Float32Array(((pass.stop - pass.start) * pass.height * pass.width) / 2);
  const begin = pass.start * pass.height * pass.width;
  let next = 0;
  for (let row = 0; row < (pass.stop - pass.start) * pass.height; row++) {
    for (let column = firstColumn(row, pass); column < pass.width; column += 2) {
      values[next++] = y[begin + row * pass.width + column];
    }
  }
  return values;
}

/** Returns the symbols of latents: their differences from the means, rounded half to even, clamped. */
function quantize(y: Float32Array, means: Float32Array): Int16Array {
  return Int16Array.from(y, (value, i) => {
    const nearest = rounded(Math.fround(value - means[i]));
    return Math.max(-MAX_SYMBOL, Math.min(MAX_SYMBOL, nearest));
  });
}

function rounded(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
}
