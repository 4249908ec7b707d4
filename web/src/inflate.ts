// Raw deflate (RFC 1951), to a size that is known. Browsers' own streams cannot tell where a stream ends.

import { BitstreamError } from "./errors.js";

const CODE_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
const LONGEST = 15;

/** The first value of each code, and its further bits. */
function ranges(bits: readonly number[], first: number): { base: Uint16Array; bits: Uint8Array } {
  const base = new Uint16Array(bits.length);
  let next = first;
  bits.forEach((count, i) => {
    base[i] = next;
    next += 1 << count;
  });
  return { base, bits: Uint8Array.from(bits) };
}

const LENGTHS = ranges([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0], 3);
LENGTHS.base[28] = 258;
const DISTANCES = ranges(Array.from({ length: 30 }, (_, i) => Math.max(0, (i >> 1) - 1)), 1);

interface Code {
  counts: Uint16Array;
  symbols: Uint16Array;
}

const FIXED_LITERALS = code(Array.from({ length: 288 }, (_, i) => (i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8)), "");
const FIXED_DISTANCES = code(new Array<number>(30).fill(5), "");

function failed(problem: string): BitstreamError {
  return new BitstreamError(`it does not decompress: ${problem}; get an unaltered copy`);
}

/** Returns the canonical code of these lengths. Throws BitstreamError for an incomplete or oversubscribed one. */
function code(lengths: readonly number[], name: string): Code {
  const counts = new Uint16Array(LONGEST + 1);
  for (const length of lengths) counts[length]++;
  counts[0] = 0;
  const starts = new Uint16Array(LONGEST + 2);
  let left = 1;
  for (let length = 1; length <= LONGEST; length++) {
    left = 2 * left - counts[length];
    if (left < 0) throw failed(`the code of ${name} has too many words`);
    starts[length + 1] = starts[length] + counts[length];
  }
  const used = starts[LONGEST + 1];
  const single = used === 1 && counts[1] === 1 && name !== "lengths";
  if (name && left > 0 && used && !single) throw failed(`the code of ${name} is incomplete`);
  const symbols = new Uint16Array(used);
  lengths.forEach((length, symbol) => {
    if (length) symbols[starts[length]++] = symbol;
  });
  return { counts, symbols };
}

/**
 * Returns the `size` bytes that raw deflate made of `data`, and the offset behind the stream.
 *
 * Throws BitstreamError for other bytes, before it writes more than `size`.
 */
export function inflate(data: Uint8Array, size: number): { content: Uint8Array<ArrayBuffer>; end: number } {
  const content = new Uint8Array(size);
  let done = 0;
  let next = 0;
  let buffer = 0;
  let held = 0;

  function bits(count: number): number {
    while (held < count) {
      if (next >= data.length) throw failed("the stream is cut short");
      buffer |= data[next++] << held;
      held += 8;
    }
    const value = buffer & ((1 << count) - 1);
    buffer >>>= count;
    held -= count;
    return value;
  }

  function symbol({ counts, symbols }: Code): number {
    let word = 0;
    let first = 0;
    let index = 0;
    for (let length = 1; length <= LONGEST; length++) {
      word |= bits(1);
      const count = counts[length];
      if (word - first < count) return symbols[index + word - first];
      index += count;
      first = (first + count) << 1;
      word <<= 1;
    }
    throw failed("a word is not in the code");
  }

  function room(length: number): void {
    if (done + length > size) {
      throw new BitstreamError(
        `it does not decompress to the ${size.toLocaleString("en-US")} bytes that it states; get an unaltered copy`,
      );
    }
  }

  function stored(): void {
    buffer = held = 0; // whole bytes are never held back
    const length = bits(16);
    if (bits(16) !== (length ^ 0xffff)) throw failed("the length of a block is damaged");
    room(length);
    if (next + length > data.length) throw failed("the stream is cut short");
    content.set(data.subarray(next, next + length), done);
    next += length;
    done += length;
  }

  function codes(): [Code, Code] {
    const [literals, distances, used] = [bits(5) + 257, bits(5) + 1, bits(4) + 4];
    if (literals > 286 || distances > 30) throw failed("there are too many words");
    const lengths = new Array<number>(19).fill(0);
    for (let i = 0; i < used; i++) lengths[CODE_ORDER[i]] = bits(3);
    const ofLengths = code(lengths, "lengths");
    const all: number[] = [];
    while (all.length < literals + distances) {
      const word = symbol(ofLengths);
      if (word < 16) {
        all.push(word);
        continue;
      }
      if (word === 16 && !all.length) throw failed("a length repeats none");
      const repeated = word === 16 ? all[all.length - 1] : 0;
      const times = word === 16 ? 3 + bits(2) : word === 17 ? 3 + bits(3) : 11 + bits(7);
      for (let i = 0; i < times; i++) all.push(repeated);
    }
    if (all.length > literals + distances) throw failed("there are too many lengths");
    if (!all[256]) throw failed("the end of a block has no word");
    return [code(all.slice(0, literals), "literals"), code(all.slice(literals), "distances")];
  }

  function compressed([literals, distances]: [Code, Code]): void {
    for (;;) {
      const word = symbol(literals);
      if (word < 256) {
        room(1);
        content[done++] = word;
      } else if (word === 256) {
        return;
      } else {
        const of = word - 257;
        if (of >= LENGTHS.base.length) throw failed("a length is out of range");
        const length = LENGTHS.base[of] + bits(LENGTHS.bits[of]);
        const at = symbol(distances);
        if (at >= DISTANCES.base.length) throw failed("a distance is out of range");
        const distance = DISTANCES.base[at] + bits(DISTANCES.bits[at]);
        if (distance > done) throw failed("a distance is too far back");
        room(length);
        for (let i = 0; i < length; i++, done++) content[done] = content[done - distance];
      }
    }
  }

  for (let last = 0; !last; ) {
    last = bits(1);
    const kind = bits(2);
    if (kind === 0) stored();
    else if (kind === 3) throw failed("a block is of no kind");
    else compressed(kind === 1 ? [FIXED_LITERALS, FIXED_DISTANCES] : codes());
  }
  room(0);
  if (done !== size) {
    throw new BitstreamError(
      `it does not decompress to the ${size.toLocaleString("en-US")} bytes that it states; get an unaltered copy`,
    );
  }
  return { content, end: next };
}
