// The conformance files give the digests, errors and warnings that they give everywhere.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import * as core from "../dist/test/core.js";
import { callOn, data, document, openEngine } from "./files.mjs";

const FOLDER = "conformance";
const PLAIN = { scale: 1, color: "keep", onError: "raise" };
const { valid, damaged } = document(`${FOLDER}/corpus.json`);
const { engine, vectors, run } = await openEngine();
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** Returns the bytes of some of the four channels of pixels. */
function channels(pixels, chosen) {
  const bytes = new Uint8Array((pixels.length / 4) * chosen.length);
  for (let from = 0, to = 0; from < pixels.length; from += 4) for (const c of chosen) bytes[to++] = pixels[from + c];
  return bytes;
}

const CHANNELS = { L: [0], LA: [0, 3], RGB: [0, 1, 2], RGBA: [0, 1, 2, 3] };

test("the conformance vectors", async () => {
  const { groups } = engine.manifest.model.config;
  assert.ok((await core.check(groups, run, vectors, "onnxruntime-web")) > 10000);
  vectors.slice1_anchors_means.data[7] += 1 / 4096;
  await assert.rejects(core.check(groups, run, vectors, "onnxruntime-web"), (error) => {
    assert.equal(error.name, "EngineError");
    assert.match(error.message, /1 of \d+ means of slice1_anchors are wrong/);
    return true;
  });
});

for (const [name, expected] of Object.entries(valid)) {
  test(`valid: ${name}`, async () => {
    const bytes = data(`${FOLDER}/valid/${name}`);
    const image = await core.decodeFile(callOn(engine), PLAIN, bytes);
    const inspection = await core.inspectFile(callOn(engine), bytes);
    const { metadata, ...info } = await core.Codec.read(bytes);
    const found = {
      width: image.width,
      height: image.height,
      mode: info.channels,
      symbols: inspection.symbols,
      image: sha256(channels(image.data, CHANNELS[info.channels])),
    };
    if (info.alpha) found.alpha = sha256(channels(image.data, [3]));
    const items = Object.entries(metadata).filter(([, content]) => content);
    if (items.length) found.metadata = Object.fromEntries(items.map(([key, content]) => [key, sha256(content)]));
    assert.deepEqual(found, expected);
    assert.equal(Object.values(inspection.parts).reduce((sum, part) => sum + part), bytes.length);
    if (!/^(whole|tiled|alpha_tiled|grey_alpha)/.test(name)) return;
    const [x, y] = [Math.floor(image.width / 3), Math.floor(image.height / 2)];
    const region = [x, y, image.width - x, image.height - y];
    const part = await core.decodeFile(callOn(engine), { ...PLAIN, region }, bytes);
    for (let row = 0; row < part.height; row++) {
      const start = 4 * ((y + row) * image.width + x);
      const there = part.data.subarray(4 * row * part.width, 4 * (row + 1) * part.width);
      assert.deepEqual(there, image.data.subarray(start, start + 4 * part.width), `row ${row} of the region`);
    }
  });
}

for (const [name, expected] of Object.entries(damaged)) {
  test(`damaged: ${name}`, async () => {
    const bytes = data(`${FOLDER}/damaged/${name}`);
    const found = [];
    const record = (error) => found.push(error);
    const readers = {
      decode: () => core.decodeFile(callOn(engine, record), PLAIN, bytes),
      srgb: () => core.decodeFile(callOn(engine, record), { ...PLAIN, color: "srgb" }, bytes),
      metadata: async () => core.readMetadata(bytes, { onWarning: record }),
    };
    await readers[expected.read]().catch(record);
    const seen = found.map(({ name: kind, message }) => `${kind}: ${message}`);
    const right = found.some((error) => error.name === expected.error && error.message.includes(expected.phrase));
    assert.ok(right, `gives ${seen.join("; ") || "no error"}, expected ${expected.error} with ${expected.phrase}`);
    if (expected.read !== "decode" && expected.error !== "LimitError") {
      await core.decodeFile(callOn(engine), PLAIN, bytes); // the pixels decode all the same
    }
    if (expected.read === "decode") {
      await assert.rejects(core.inspectFile(callOn(engine), bytes), { name: expected.error });
    }
  });
}

test("damaged tiles are grey with onError fill", async () => {
  const bytes = data(`${FOLDER}/damaged/tile_bit.glic`);
  const warnings = [];
  const call = callOn(engine, (warning) => warnings.push(warning));
  const image = await core.decodeFile(call, { ...PLAIN, onError: "fill" }, bytes);
  assert.deepEqual(warnings.map(({ name }) => name), ["DamagedTilesWarning"]);
  assert.match(warnings[0].message, /^1 of 2 tiles are damaged and grey/);
  assert.ok(channels(image.data, [0, 1, 2]).includes(128));
});
