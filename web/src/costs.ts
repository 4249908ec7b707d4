// The bits that an ideal coder spends on symbols under the CDF tables, escapes included.

import { type CdfTables, WIDEST_BITS, WIDEST_CLASS } from "./rans.js";

const TOTAL_BITS = 16;
const ESCAPE_HEAD = 5;

/** Returns the bits of a pass. `each` receives the position and the bits of every symbol. */
export function idealBits(
  { cdfs, offsets, escapes, starts }: CdfTables,
  symbols: Int16Array,
  indexes: Uint8Array,
  each?: (position: number, bits: number) => void,
): number {
  let total = 0;
  for (let i = 0; i < symbols.length; i++) {
    const row = indexes[i];
    const relative = symbols[i] - offsets[row];
    const escape = escapes[row];
    const escaped = relative < 0 || relative >= escape;
    const at = starts[row] + (escaped ? escape : relative);
    let bits = TOTAL_BITS - Math.log2(cdfs[at + 1] - cdfs[at]);
    if (escaped) bits += escapeBits(relative < 0 ? -1 - relative : relative - escape);
    each?.(i, bits);
    total += bits;
  }
  return total;
}

function escapeBits(distance: number): number {
  const length = Math.min(32 - Math.clz32(distance), WIDEST_CLASS);
  return ESCAPE_HEAD + (length === WIDEST_CLASS ? WIDEST_BITS : Math.max(length - 1, 0));
}
