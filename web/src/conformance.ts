// Verifies that this browser computes the entropy path bit for bit as the bundle requires. With one wrong bit, it would
// decode files to garbage, and write files that no other machine can decode.

import { EngineError } from "./errors.js";
import type { FlatArray } from "./manifest.js";
import type { RunGraph } from "./tensors.js";
import { walk } from "./walk.js";

/** Runs the conformance vectors. Returns the number of compared values; throws EngineError for a wrong one. */
export async function check(
  groups: readonly number[],
  run: RunGraph,
  vectors: Record<string, FlatArray>,
  backend: string,
): Promise<number> {
  const [cases, , hyper, height, width] = vectors.z_symbols.shape;
  let compared = 0;
  for (let number = 0; number < cases; number++) {
    const of = (name: string): FlatArray["data"] => {
      const { data, shape } = vectors[name];
      const size = data.length / shape[0];
      return data.subarray(number * size, (number + 1) * size);
    };
    const z = { symbols: of("z_symbols") as Int16Array, hyper, height, width };
    await walk(groups, run, z, ({ name }, indexes, means) => {
      for (const [what, got] of [["indexes", indexes], ["means", means]] as const) {
        const expected = of(`${name}_${what}`);
        let wrong = 0;
        for (let i = 0; i < got.length; i++) wrong += Number(got[i] !== expected[i]);
        if (wrong || got.length !== expected.length) throw inexact(backend, wrong, got.length, what, name);
        compared += got.length;
      }
      return of(`${name}_symbols`) as Int16Array;
    });
  }
  return compared;
}

function inexact(backend: string, wrong: number, count: number, what: string, pass: string): EngineError {
  return new EngineError(
    `${backend} does not compute the entropy path exactly: ${wrong} of ${count} ${what} of ${pass} are wrong, so it ` +
      "must not encode or decode; use another browser, and report this one with its name and version",
  );
}
