// The entropy tables of a bundle.

import type { FlatArray } from "./manifest.js";
import { CdfTables } from "./rans.js";

export interface Tables {
  y: CdfTables;
  z: CdfTables;
}

/** Returns the tables of y, with one row a scale, and those of z, with one row a channel. */
export function readTables(arrays: Record<string, FlatArray>): Tables {
  const of = (latent: string): CdfTables => {
    const [cdfs, lengths, offsets] = ["cdfs", "lengths", "offsets"].map(
      (part) => arrays[`${latent}_${part}`].data as Int32Array,
    );
    return new CdfTables(cdfs, lengths, offsets);
  };
  return { y: of("y"), z: of("z") };
}
