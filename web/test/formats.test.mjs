// Deflate, PNG, checksums, headers and float16, against Node's own and the examples of docs/format.md.

import assert from "node:assert/strict";
import { test } from "node:test";
import * as zlib from "node:zlib";
import * as core from "../dist/test/core.js";
import { data } from "./files.mjs";

const random = (length, values) => Uint8Array.from({ length }, () => Math.floor(Math.random() ** 2 * values));

test("what zlib compresses expands", () => {
  const { Z_DEFAULT_STRATEGY, Z_FIXED, Z_HUFFMAN_ONLY, Z_RLE } = zlib.constants;
  for (const content of [[], [7], random(70000, 256), random(5000, 3), new Uint8Array(200000)]) {
    for (const strategy of [Z_DEFAULT_STRATEGY, Z_FIXED, Z_HUFFMAN_ONLY, Z_RLE]) {
      for (const level of [0, 1, 9]) {
        const stored = new Uint8Array(zlib.deflateRawSync(Uint8Array.from(content), { strategy, level }));
        const { content: expanded, end } = core.inflate(stored, content.length);
        assert.deepEqual(expanded, Uint8Array.from(content));
        assert.equal(end, stored.length);
      }
    }
  }
});

test("no bytes make deflate fail otherwise than with BitstreamError, and none is taken that zlib refuses", () => {
  const stored = new Uint8Array(zlib.deflateRawSync(random(300, 40)));
  for (let round = 0; round < 3000; round++) {
    const altered = Uint8Array.from(stored);
    altered[Math.floor(Math.random() * altered.length)] = Math.floor(Math.random() * 256);
    try {
      const { content, end } = core.inflate(altered, 300);
      assert.deepEqual(content, new Uint8Array(zlib.inflateRawSync(altered.subarray(0, end))));
    } catch (error) {
      assert.equal(error.name, "BitstreamError", error);
    }
  }
});

test("alpha is what was written, interlaced or not", async () => {
  for (const [width, height] of [[1, 1], [3, 2], [9, 17], [40, 5]]) {
    const alpha = random(width * height, 256);
    const png = await core.pngFile({ data: alpha, width, height, channels: 1 });
    assert.deepEqual(core.decodeAlpha(png, width, height), alpha);
    assert.deepEqual(core.decodeAlpha(interlaced(alpha, width, height), width, height), alpha);
  }
});

/** Returns a PNG file in the seven passes of Adam7, without filters. */
function interlaced(alpha, width, height) {
  const rows = [];
  for (const [left, top, across, down] of [
    [0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2],
  ]) {
    for (let y = top; y < height; y += down) {
      const row = [];
      for (let x = left; x < width; x += across) row.push(alpha[y * width + x]);
      if (row.length) rows.push(0, ...row);
    }
  }
  const chunk = (name, content) => {
    const body = Buffer.concat([Buffer.from(name, "latin1"), content]);
    const whole = Buffer.alloc(body.length + 8);
    whole.writeUInt32BE(content.length);
    body.copy(whole, 4);
    whole.writeUInt32BE(core.crc32(body), body.length + 4);
    return whole;
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width);
  header.writeUInt32BE(height, 4);
  header.set([8, 0, 0, 0, 1], 8);
  const signature = Buffer.from("89504e470d0a1a0a", "hex");
  const image = zlib.deflateSync(Buffer.from(rows));
  return new Uint8Array(
    Buffer.concat([signature, chunk("IHDR", header), chunk("IDAT", image), chunk("IEND", Buffer.alloc(0))]),
  );
}

test("checksums", () => {
  assert.equal(core.crc32c(new TextEncoder().encode("123456789")), 0xe3069283);
  assert.equal(core.crc32(new TextEncoder().encode("123456789")), 0xcbf43926);
});

test("float16 becomes float32 exactly", () => {
  const halves = Uint16Array.from({ length: 0x7c00 }, (_, i) => i);
  const floats = new Float32Array(core.expanded(new Uint8Array(halves.buffer), 2 * halves.length).buffer);
  for (const [half, value] of floats.entries()) {
    const [exponent, fraction] = [half >> 10, half & 1023];
    assert.equal(value, exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
  }
  const negative = core.expanded(Uint8Array.of(0x00, 0xc0, 0x55), 2);
  assert.deepEqual([new Float32Array(negative.buffer, 0, 1)[0], negative[4]], [-2, 0x55]);
});

test("the header of the format's example", () => {
  const header = core.readHeader(data("format/version2.glic").subarray(0, 30));
  const { width, height, channels, tiled, modelFingerprint, arithmeticFingerprint } = header;
  assert.deepEqual(
    { width, height, channels, tiled, modelFingerprint, arithmeticFingerprint },
    {
      width: 768, height: 512, channels: "RGB", tiled: false,
      modelFingerprint: "8f3a01c4", arithmeticFingerprint: "52d07be9",
    },
  );
  assert.throws(() => core.readHeader(data("format/version2.glic"), { maxSide: 700 }), { name: "LimitError" });
  assert.throws(() => core.readHeader(new Uint8Array(), { maxSides: 1 }), { name: "LimitError" });
});

test("the metadata of the format's example", async () => {
  const { metadata, fields, warnings } = await core.Codec.read(data("format/version2_metadata.glic"));
  assert.equal(metadata.exif.length, 26);
  assert.deepEqual([metadata.xmp, metadata.icc, warnings], [null, null, []]);
  assert.equal(new TextDecoder().decode(fields.find(({ number }) => number === 4096).value), "note");
});
