// The range coder: interleaved rANS, written from plugins_cpp/rans/README.md. A state is below 2^31, so it is a small
// integer of JavaScript.

import { BitstreamError, EngineError } from "./errors.js";

const LOW = 1 << 23;
const TOTAL = 1 << 16;
export const FINAL_STATE = 0xffff;
export const GROUP = 32;
const MOST_LANES = 256;
export const WIDEST_CLASS = 15;
export const WIDEST_BITS = 16;
/** More than a group of lanes can read, so that the end of the stream is checked once a group. */
const PADDING = 1024;

/** Integer CDF tables of 16-bit precision, with the slot at which the search for each of 256 intervals begins. */
export class CdfTables {
  readonly rows: number;
  /** The offset of each row in `cdfs`. */
  readonly starts: Int32Array;
  readonly hints: Uint16Array;
  /** The slot of the escape, for each row. */
  readonly escapes: Int32Array;

  /**
   * cdfs: the rows one after the other. Row r has lengths[r] entries, strictly increasing from 0 to 65536. Slot v,
   * below lengths[r] - 2, is the symbol offsets[r] + v; the last slot is the escape. Throws EngineError for other tables.
   */
  constructor(
    readonly cdfs: Int32Array,
    lengths: Int32Array,
    readonly offsets: Int32Array,
  ) {
    this.rows = lengths.length;
    this.starts = new Int32Array(this.rows);
    this.hints = new Uint16Array(256 * this.rows);
    this.escapes = lengths.map((length) => length - 2);
    for (let row = 0, start = 0; row < this.rows; start += lengths[row++]) {
      this.starts[row] = start;
      const cdf = cdfs.subarray(start, start + lengths[row]);
      if (cdf[0] !== 0 || cdf.at(-1) !== TOTAL || cdf.some((entry, i) => i > 0 && cdf[i - 1] >= entry)) {
        throw new EngineError(`row ${row} of the entropy tables does not rise from 0 to ${TOTAL}; write the bundle again`);
      }
      for (let high = 0, slot = 0; high < 256; high++) {
        while (cdf[slot + 1] <= high << 8) slot++;
        this.hints[(row << 8) | high] = slot;
      }
    }
  }
}

function corrupt(): BitstreamError {
  return new BitstreamError(
    "the range-coded stream is cut or altered, or was written with other tables, indexes or passes; decode the file " +
      "that the encoder wrote, with the model that wrote it",
  );
}

/** Decodes passes of symbols from one stream. It cannot be used after an error. */
export class Decoder {
  readonly #data: Uint8Array;
  readonly #length: number;
  #next = 0;
  readonly #lanes = new Int32Array(MOST_LANES);
  readonly #slots = new Int32Array(GROUP);
  #open: number;
  /** Rows of all open lanes that are left; 0 if the first lane is alone. */
  #rows: number;
  #narrowRows = 0;

  constructor(stream: Uint8Array) {
    this.#data = new Uint8Array(stream.length + PADDING);
    this.#data.set(stream);
    this.#length = stream.length;
    const first = this.#number();
    const log = first % 8;
    this.#rows = Math.floor(first / 8);
    this.#open = 1 << log;
    if (log > 6 || log > 0 !== this.#rows > 0) throw corrupt();
    if (log === 6) {
      const second = this.#number();
      this.#narrowRows = Math.floor(second / 4);
      this.#open = 64 << (second % 4);
      if (!this.#narrowRows || this.#open > MOST_LANES) throw corrupt();
    }
    if (this.#rows) this.#start();
    else this.#startAlone();
  }

  /** Returns the symbols of the next pass. Throws BitstreamError if the stream does not contain them. */
  decode(tables: CdfTables, indexes: Uint8Array): Int16Array {
    const symbols = new Int16Array(indexes.length);
    let largest = 0;
    for (let i = 0; i < indexes.length; i++) if (indexes[i] > largest) largest = indexes[i];
    if (largest >= tables.rows) {
      throw new BitstreamError(`an index is ${largest}, but there are ${tables.rows} tables`);
    }
    let done = 0;
    while (this.#rows && done < symbols.length) {
      const stop = Math.min(done + this.#open, symbols.length);
      for (let lane = 0; done < stop; lane += GROUP) {
        const end = Math.min(done + GROUP, stop);
        this.#group(tables, indexes, symbols, done, end, lane);
        done = end;
      }
      if (--this.#rows === 0) this.#close();
    }
    if (done < symbols.length) this.#alone(tables, indexes, symbols, done);
    return symbols;
  }

  /** Throws BitstreamError unless the stream ends exactly after the last pass. */
  finish(): void {
    if (this.#rows || this.#next !== this.#length || this.#lanes[0] !== FINAL_STATE) throw corrupt();
  }

  #group(
    tables: CdfTables, indexes: Uint8Array, symbols: Int16Array, start: number, end: number, firstLane: number,
  ): void {
    const { cdfs, offsets, hints, escapes, starts } = tables;
    const lanes = this.#lanes;
    const slots = this.#slots;
    const data = this.#data;
    const count = end - start;
    let escaped = false;
    let again = false;
    let next = this.#next;
    for (let j = 0; j < count; j++) {
      const row = indexes[start + j];
      const state = lanes[firstLane + j];
      const low = state & 0xffff;
      let at = starts[row] + hints[(row << 8) | (low >>> 8)];
      while (cdfs[at + 1] <= low) at++;
      const from = cdfs[at];
      let left = Math.imul(cdfs[at + 1] - from, state >>> 16) + low - from;
      if (left < LOW) {
        left = (left << 8) | data[next++];
        again ||= left < LOW;
      }
      lanes[firstLane + j] = left;
      const slot = at - starts[row];
      slots[j] = slot;
      escaped ||= slot === escapes[row];
      symbols[start + j] = offsets[row] + slot;
    }
    for (let lane = firstLane; again && lane < firstLane + count; lane++) {
      if (lanes[lane] < LOW) lanes[lane] = (lanes[lane] << 8) | data[next++];
    }
    this.#next = next;
    if (escaped) {
      for (let j = 0; j < count; j++) {
        const row = indexes[start + j];
        if (slots[j] === escapes[row]) {
          symbols[start + j] = this.#escape(firstLane + j, offsets[row], offsets[row] + escapes[row]);
        }
      }
    }
    if (this.#next > this.#length) throw corrupt();
  }

  #alone(tables: CdfTables, indexes: Uint8Array, symbols: Int16Array, start: number): void {
    const { cdfs, offsets, hints, escapes, starts } = tables;
    for (let i = start; i < symbols.length; i++) {
      const row = indexes[i];
      const state = this.#lanes[0];
      const low = state & 0xffff;
      let at = starts[row] + hints[(row << 8) | (low >>> 8)];
      while (cdfs[at + 1] <= low) at++;
      this.#lanes[0] = Math.imul(cdfs[at + 1] - cdfs[at], state >>> 16) + low - cdfs[at];
      this.#fillAlone();
      const slot = at - starts[row];
      symbols[i] =
        slot < escapes[row] ? offsets[row] + slot : this.#escape(0, offsets[row], offsets[row] + escapes[row]);
    }
  }

  #escape(lane: number, first: number, end: number): number {
    const head = this.#bits(lane, 5);
    const length = head >> 1;
    let distance = length;
    if (length === WIDEST_CLASS) {
      distance = this.#bits(lane, WIDEST_BITS);
      if (distance < 1 << (WIDEST_CLASS - 1)) throw corrupt();
    } else if (length) {
      distance = (1 << (length - 1)) | this.#bits(lane, length - 1);
    }
    const symbol = head & 1 ? first - 1 - distance : end + distance;
    if (symbol << 16 >> 16 !== symbol) throw corrupt();
    return symbol;
  }

  #bits(lane: number, count: number): number {
    const value = this.#lanes[lane] & ((1 << count) - 1);
    this.#lanes[lane] >>>= count;
    if (this.#rows) {
      while (this.#lanes[lane] < LOW) {
        this.#lanes[lane] = (this.#lanes[lane] << 8) | this.#data[this.#next++];
        if (this.#next > this.#length) throw corrupt();
      }
    } else {
      this.#fillAlone();
    }
    return value;
  }

  #fillAlone(): void {
    while (this.#lanes[0] < LOW && this.#next < this.#length) {
      this.#lanes[0] = (this.#lanes[0] << 8) | this.#data[this.#next++];
    }
  }

  #number(): number {
    let value = 0;
    for (let place = 1; place < 2 ** 49; place *= 128) {
      if (this.#next >= this.#length) throw corrupt();
      const byte = this.#data[this.#next++];
      value += (byte & 0x7f) * place;
      if (byte < 0x80) {
        if (!byte && place > 1) throw corrupt();
        return value;
      }
    }
    throw corrupt();
  }

  #start(): void {
    const begin = 8 * this.#next;
    const bit = (place: number): number => (this.#data[place >>> 3] >>> (place & 7)) & 1;
    let place = begin + 3 * this.#open;
    for (let lane = 0; lane < this.#open; lane++) {
      const size = begin + 3 * lane;
      const bits = 23 + (bit(size) | (bit(size + 1) << 1) | (bit(size + 2) << 2));
      if (place + bits > 8 * this.#length) throw corrupt();
      let state = 1 << bits;
      for (let i = 0; i < bits; i++) state |= bit(place++) << i;
      this.#lanes[lane] = state;
    }
    for (; place & 7; place++) if (bit(place)) throw corrupt();
    this.#next = place >>> 3;
  }

  #startAlone(): void {
    if (this.#next >= this.#length || this.#data[this.#next] === 0) throw corrupt();
    this.#fillAlone();
  }

  /** Puts the states of the lanes that end here in front of the next bytes. */
  #close(): void {
    const kept = this.#narrowRows ? GROUP : 1;
    for (let lane = this.#open - 1; lane >= kept; lane--) {
      const state = this.#lanes[lane];
      if (state >>> 24 !== 1) throw corrupt();
      this.#next -= 3; // there are more bytes behind: the states of the lanes came from them
      this.#data[this.#next] = state >>> 16;
      this.#data[this.#next + 1] = state >>> 8;
      this.#data[this.#next + 2] = state;
    }
    this.#open = kept;
    this.#rows = this.#narrowRows;
    this.#narrowRows = 0;
  }
}
