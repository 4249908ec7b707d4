// The range coder against golden streams, and against itself.

import assert from "node:assert/strict";
import { test } from "node:test";
import * as core from "../dist/test/core.js";
import { written } from "./files.mjs";

const places = JSON.parse(new TextDecoder().decode(written("rans.json")));
const arrays = core.arraysOf(places, written("rans.bin"));
const PASSES = 5;

/** Returns tables whose rows have padding, as they lie in the file. */
function tablesOf(kind) {
  const [cdfs, lengths, offsets] = ["cdfs", "lengths", "offsets"].map((part) => arrays[kind + part].data);
  const width = cdfs.length / lengths.length;
  const rows = Array.from(lengths, (length, row) => [...cdfs.subarray(row * width, row * width + length)]);
  return new core.CdfTables(Int32Array.from(rows.flat()), lengths, offsets);
}

const tables = [tablesOf("prior_"), ...new Array(PASSES - 1).fill(tablesOf(""))];
const passes = tables.map((table, k) => ({
  table, symbols: arrays[`symbols${k}`].data, indexes: arrays[`indexes${k}`].data,
}));

function decoded(stream, of = passes) {
  const decoder = new core.Decoder(stream);
  const symbols = of.map(({ table, indexes }) => decoder.decode(table, indexes));
  decoder.finish();
  return symbols;
}

for (const lanes of [1, 2, 4, 8, 16, 32, 64, 128, 256]) {
  const stream = arrays[`stream${lanes}`].data;

  test(`the golden stream of ${lanes} lanes`, () => {
    decoded(stream).forEach((symbols, k) => assert.deepEqual(symbols, passes[k].symbols));
  });

  test(`damaged streams of ${lanes} lanes`, () => {
    const refused = { name: "BitstreamError" };
    for (let cut = 0; cut < stream.length; cut += 97) assert.throws(() => decoded(stream.subarray(0, cut)), refused);
    assert.throws(() => decoded(Uint8Array.of(...stream, 0)), refused);
    assert.throws(() => decoded(stream, passes.slice(0, -1)), refused);
    let noticed = 0;
    for (let place = 0; place < 100; place++) {
      const altered = Uint8Array.from(stream);
      altered[(place * 7919) % stream.length] ^= 1 << place % 8;
      try {
        decoded(altered);
      } catch (error) {
        assert.equal(error.name, "BitstreamError");
        noticed++;
      }
    }
    assert.ok(noticed > 75, `${noticed} of 100 changes were noticed`);
  });
}

for (const length of [0, 1, 50, 500, 5000, 50000]) {
  test(`what the encoder writes of ${length} symbols, escapes included, decodes`, () => {
    const table = new core.CdfTables(
      Int32Array.of(0, 1, 65534, 65535, 65536, 0, 9000, 56000, 65500, 65536), Int32Array.of(5, 5), Int32Array.of(-1, -1),
    );
    let seed = 12345;
    const random = () => (seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff) / 0x80000000;
    const made = [0, 1].map(() => ({
      table,
      symbols: Int16Array.from({ length }, () => {
        const value = Math.floor(random() * 3) - 1;
        return random() < 0.02 ? value * Math.floor(32767 * random() ** 4) : value;
      }),
      indexes: Uint8Array.from({ length }, () => (random() < 0.5 ? 0 : 1)),
    }));
    const encoder = new core.Encoder();
    for (const { symbols, indexes } of made) encoder.push(table, symbols, indexes);
    const stream = encoder.finish();
    decoded(stream, made).forEach((symbols, k) => assert.deepEqual(symbols, made[k].symbols));
    const bits = made.reduce((sum, { symbols, indexes }) => sum + core.idealBits(table, symbols, indexes), 0);
    assert.ok(stream.length <= 12 + (1.001 * bits) / 8 + (bits > 144000 ? 12 : 0), `${stream.length} bytes of ${bits / 8}`);
  });
}

test("tables that do not rise are refused", () => {
  for (const row of [[0, 5, 5, 65536], [0, 9, 65535], [1, 9, 65536]]) {
    assert.throws(() => new core.CdfTables(Int32Array.from(row), Int32Array.of(row.length), Int32Array.of(0)), {
      name: "EngineError",
    });
  }
});
