// The coding order of the latents: z, then the anchors and the non-anchors of each slice of y. Encoder and decoder run
// the same passes with the same graphs; only the source of the symbols differs. See glic_deploy/entropy/passes.py.

import { type RunGraph, type Tensor, tensor } from "./tensors.js";

/** One pass over a slice of y. */
export interface Pass {
  /** The graph: "slice0_anchors". */
  name: string;
  /** First channel of the slice, and the channel behind its last. */
  start: number;
  stop: number;
  /** 0 for the anchors, 1 for the non-anchors. */
  parity: 0 | 1;
  height: number;
  width: number;
}

/** Returns the symbols of a pass, for its indexes and means, both (channels, height, width / 2). */
export type Step = (pass: Pass, indexes: Uint8Array, means: Float32Array) => Int16Array;

export interface Latents {
  data: Float32Array;
  channels: number;
  height: number;
  width: number;
}

/**
 * Runs all passes of y and returns y_hat.
 *
 * groups: the channels of each slice. z: the symbols of z, (hyper, height / 4, width / 4), and its sides.
 */
export async function walk(
  groups: readonly number[],
  run: RunGraph,
  z: { symbols: Int16Array; hyper: number; height: number; width: number },
  step: Step,
): Promise<Latents> {
  const zSymbols = tensor("int32", Int32Array.from(z.symbols), [1, z.hyper, z.height, z.width]);
  const { hyper } = await run("hyper_synthesis", { z_symbols: zSymbols });
  const [height, width] = [4 * z.height, 4 * z.width];
  const area = height * width;
  const channels = groups.reduce((sum, group) => sum + group, 0);
  const data = new Float32Array(channels * area);
  let start = 0;
  for (const [k, group] of groups.entries()) {
    const stop = start + group;
    const before: Record<string, Tensor> = { hyper };
    if (k) before.y_hat = tensor("float32", data.subarray(0, start * area), [1, start, height, width]);
    const names = [`slice${k}_anchors`, `slice${k}_nonanchors`];
    const pass = { start, stop, height, width };
    const first = await run(names[0], before);
    const anchors = data.subarray(start * area, stop * area);
    addLatents({ ...pass, name: names[0], parity: 0 }, first, step, anchors);
    const inputs = { anchors: tensor("float32", anchors, [1, group, height, width]), support: first.support };
    addLatents({ ...pass, name: names[1], parity: 1 }, await run(names[1], inputs), step, anchors);
    start = stop;
  }
  return { data, channels, height, width };
}

function addLatents(pass: Pass, outputs: Record<string, { data: unknown }>, step: Step, latents: Float32Array): void {
  const means = outputs.means.data as Float32Array;
  const symbols = step(pass, outputs.indexes.data as Uint8Array, means);
  let packed = 0;
  for (let row = 0; row < (pass.stop - pass.start) * pass.height; row++) {
    const first = firstColumn(row, pass);
    for (let column = first; column < pass.width; column += 2, packed++) {
      latents[row * pass.width + column] = symbols[packed] + means[packed];
    }
  }
}

/** Heights are multiples of 8, so rows of all channels can be counted on. */
export function firstColumn(row: number, { parity }: Pass): number {
  return (row & 1) ^ parity;
}
