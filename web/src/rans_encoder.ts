// The range encoder: see rans.ts. A decoder accepts any number of lanes, so this one writes 32 at most.

import { writeVarint } from "./bytes.js";
import { idealBits } from "./costs.js";
import { type CdfTables, FINAL_STATE, WIDEST_BITS, WIDEST_CLASS } from "./rans.js";

/** The lanes that pay for their states, by the bytes of the stream. */
const LADDER: readonly [bytes: number, lanes: number][] = [[18000, 32], [7000, 16], [1000, 8], [100, 4], [0, 2]];

/** Encodes passes of symbols to one stream. */
export class Encoder {
  readonly #passes: { tables: CdfTables; symbols: Int16Array; indexes: Uint8Array }[] = [];

  push(tables: CdfTables, symbols: Int16Array, indexes: Uint8Array): void {
    this.#passes.push({ tables, symbols, indexes });
  }

  finish(): Uint8Array<ArrayBuffer> {
    const bits = this.#passes.reduce((sum, pass) => sum + idealBits(pass.tables, pass.symbols, pass.indexes), 0);
    const lanes = LADDER.find(([bytes]) => bits >= 8 * bytes)![1];
    return new Writer(this.#passes, lanes).stream();
  }
}

/** Codes backwards: a decoder reads the bytes in the opposite order. */
class Writer {
  #buffer = new Uint8Array(1 << 16);
  #written = 0;
  readonly #states: Int32Array;
  #open = 1;
  #rows = 0;

  constructor(
    private readonly passes: readonly { tables: CdfTables; symbols: Int16Array; indexes: Uint8Array }[],
    private readonly lanes: number,
  ) {
    this.#states = new Int32Array(lanes);
    this.#states[0] = FINAL_STATE;
  }

  /** Returns the stream. */
  stream(): Uint8Array<ArrayBuffer> {
    for (const { tables, symbols, indexes } of [...this.passes].reverse()) {
      for (let row = Math.ceil(symbols.length / this.lanes) - 1; row >= 0; row--) {
        this.#openLanes();
        const start = row * this.lanes;
        const end = Math.min(start + this.lanes, symbols.length);
        if (this.#open > 1) {
          this.#rows++;
          this.#row(tables, symbols, indexes, start, end);
        } else {
          for (let i = end - 1; i >= start; i--) {
            this.#put(this.#encode(0, tables, symbols[i], indexes[i]));
          }
        }
      }
    }
    return this.#open > 1 ? this.#withLanes() : this.#withOneLane();
  }

  /** Opens all lanes as soon as there are bytes for their states. */
  #openLanes(): void {
    if (this.#open > 1 || this.lanes === 1 || this.#written < 3 * (this.lanes - 1)) return;
    for (let lane = 1; lane < this.lanes; lane++) {
      const [first, second, third] = [this.#take(), this.#take(), this.#take()];
      this.#states[lane] = (1 << 24) | (first << 16) | (second << 8) | third;
    }
    this.#open = this.lanes;
  }

  #row(tables: CdfTables, symbols: Int16Array, indexes: Uint8Array, start: number, end: number): void {
    const rounds: [number[], number[]] = [[], []];
    for (let i = end - 1; i >= start; i--) {
      this.#put(this.#escapeBits(i - start, tables, symbols[i], indexes[i]));
    }
    for (let i = end - 1; i >= start; i--) {
      const bytes = this.#step(i - start, tables, symbols[i], indexes[i]);
      bytes.reverse().forEach((byte, round) => rounds[round].push(byte));
    }
    this.#put(rounds[1]);
    this.#put(rounds[0]);
  }

  /** Returns the bytes of a symbol in the order of writing, which is backwards. */
  #encode(lane: number, tables: CdfTables, symbol: number, row: number): number[] {
    return [...this.#escapeBits(lane, tables, symbol, row), ...this.#step(lane, tables, symbol, row)];
  }

  #step(lane: number, { cdfs, offsets, escapes, starts }: CdfTables, symbol: number, row: number): number[] {
    const relative = symbol - offsets[row];
    const slot = relative >= 0 && relative < escapes[row] ? relative : escapes[row];
    const from = cdfs[starts[row] + slot];
    const frequency = cdfs[starts[row] + slot + 1] - from;
    const bytes = this.#shrink(lane, frequency * 2 ** 15);
    const state = this.#states[lane];
    this.#states[lane] = (Math.floor(state / frequency) << 16) + (state % frequency) + from;
    return bytes;
  }

  #escapeBits(lane: number, { offsets, escapes }: CdfTables, symbol: number, row: number): number[] {
    const relative = symbol - offsets[row];
    if (relative >= 0 && relative < escapes[row]) return [];
    const distance = relative < 0 ? -1 - relative : relative - escapes[row];
    const length = Math.min(32 - Math.clz32(distance), WIDEST_CLASS);
    const bits = length === WIDEST_CLASS ? WIDEST_BITS : Math.max(length - 1, 0);
    const tail = this.#pushBits(lane, bits, distance & ((1 << bits) - 1));
    return [...tail, ...this.#pushBits(lane, 5, (length << 1) | Number(relative < 0))];
  }

  #pushBits(lane: number, count: number, value: number): number[] {
    const bytes = this.#shrink(lane, 2 ** (31 - count));
    this.#states[lane] = (this.#states[lane] << count) | value;
    return bytes;
  }

  /** Writes bytes of a state until it is below a bound. */
  #shrink(lane: number, bound: number): number[] {
    const bytes: number[] = [];
    while (this.#states[lane] >= bound) {
      bytes.push(this.#states[lane] & 255);
      this.#states[lane] >>>= 8;
    }
    return bytes;
  }

  #put(bytes: readonly number[]): void {
    if (this.#written + bytes.length > this.#buffer.length) {
      const larger = new Uint8Array(2 * this.#buffer.length);
      larger.set(this.#buffer);
      this.#buffer = larger;
    }
    for (const byte of bytes) this.#buffer[this.#written++] = byte;
  }

  #take(): number {
    return this.#buffer[--this.#written];
  }

  #withLanes(): Uint8Array<ArrayBuffer> {
    const bits: number[] = [];
    const push = (value: number, count: number): void => {
      for (let i = 0; i < count; i++) bits.push((value >>> i) & 1);
    };
    const sizes = Array.from(this.#states, (state) => 31 - Math.clz32(state));
    for (const size of sizes) push(size - 23, 3);
    sizes.forEach((size, lane) => push(this.#states[lane], size));
    const states = new Uint8Array(Math.ceil(bits.length / 8));
    bits.forEach((bit, place) => (states[place >>> 3] |= bit << (place & 7)));
    return this.#joined([...writeVarint(8 * this.#rows + Math.log2(this.lanes)), ...states]);
  }

  #withOneLane(): Uint8Array<ArrayBuffer> {
    const state: number[] = [];
    for (let rest = this.#states[0]; rest; rest >>>= 8) state.unshift(rest & 255);
    return this.#joined([0, ...state]);
  }

  #joined(front: readonly number[]): Uint8Array<ArrayBuffer> {
    const stream = new Uint8Array(front.length + this.#written);
    stream.set(front);
    stream.set(this.#buffer.subarray(0, this.#written).reverse(), front.length);
    return stream;
  }
}
