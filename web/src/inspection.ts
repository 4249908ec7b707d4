// Where the bits of a file went.

import { flat } from "./bytes.js";
import { parse, readFront } from "./container.js";
import { idealBits } from "./costs.js";
import { type CodedPass, split } from "./engine.js";
import { BitstreamError } from "./errors.js";
import { type Call, counted, isTiled } from "./files.js";
import { checkMemory } from "./limits.js";
import { decodeAlpha } from "./png.js";
import { hex } from "./text.js";
import { parseTiled } from "./tiles.js";
import type { Header, Inspection } from "./types.js";

/** Decodes the symbols of a file, without synthesis, and tells where its bits went. */
export async function inspectFile(call: Call, data: Uint8Array): Promise<Inspection> {
  const { engine, limits, context } = call;
  const passes: CodedPass[] = [];
  const front = readFront(data);
  let alphaBytes = 0;
  const decode = async (
    header: Header, coded: Uint8Array, checksum: number, width: number, height: number,
  ): Promise<void> => {
    const parts = split(coded, header.alpha);
    if (parts.alpha) {
      decodeAlpha(parts.alpha, width, height);
      alphaBytes += parts.alpha.length;
    }
    await engine.decodeLatents(parts.stream, checksum, width, height, context, passes);
  };
  let payloadBytes = 0;
  if (isTiled(data)) {
    const file = parseTiled(data, limits, false);
    engine.checkFits(file.header);
    counted(call, file.grid.count);
    for (let index = 0; index < file.grid.count; index++) {
      const { width, height } = file.grid.box(index);
      try {
        const payload = file.payload(index);
        payloadBytes += payload.length;
        await decode(file.header, payload, file.symbolChecksum(index), width, height);
      } catch (error) {
        throw error instanceof BitstreamError ? new BitstreamError(`${file.place(index)}: ${error.message}`) : error;
      }
    }
  } else {
    const { header, payload, symbolChecksum } = parse(data, limits);
    engine.checkFits(header);
    checkMemory(limits, header.width, header.height);
    counted(call, 1);
    payloadBytes = payload.length;
    await decode(header, payload, symbolChecksum, header.width, header.height);
  }
  const metadata = front.fileEnd - front.frameEnd;
  return {
    symbols: await digest(passes),
    parts: {
      header: data.length - metadata - payloadBytes,
      metadata,
      alpha: alphaBytes,
      symbols: payloadBytes - alphaBytes,
    },
    ...bitsOf(passes, front.header.tiled),
  };
}

async function digest(passes: readonly CodedPass[]): Promise<string> {
  const bytes = new Uint8Array(passes.reduce((total, { symbols }) => total + symbols.byteLength, 0));
  let offset = 0;
  for (const { symbols } of passes) {
    bytes.set(flat(symbols), offset);
    offset += symbols.byteLength;
  }
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));
}

/** Returns the bits of each pass, summed over tiles, and of each position of an image in one piece. */
function bitsOf(coded: readonly CodedPass[], tiled: boolean): Pick<Inspection, "passes" | "map"> {
  const passes = new Map<string, { name: string; symbols: number; bits: number }>();
  const { height = 0, width = 0 } = coded.at(-1) ?? {};
  const map = tiled ? null : { width, height, bits: new Float32Array(width * height) };
  for (const { name, tables, symbols, indexes } of coded) {
    const parity = name.endsWith("_nonanchors") ? 1 : 0;
    const place = (position: number, bits: number): void => {
      const row = Math.floor((2 * position) / width) % height;
      const column = ((2 * position) % width) + ((row & 1) ^ parity);
      map!.bits[row * width + column] += bits;
    };
    const bits = idealBits(tables, symbols, indexes, map && name !== "z" ? place : undefined);
    const before = passes.get(name) ?? { name, symbols: 0, bits: 0 };
    passes.set(name, { name, symbols: before.symbols + symbols.length, bits: before.bits + bits });
  }
  return { passes: [...passes.values()], map };
}
