// What tests and benchmarks use in Node, where there is neither a worker nor a page.

export * from "./index.js";
export { crc32, crc32c } from "./bytes.js";
export { check } from "./conformance.js";
export { idealBits } from "./costs.js";
export { Engine } from "./engine.js";
export { encodeFile } from "./encoder.js";
export { decodeFile } from "./files.js";
export { inflate } from "./inflate.js";
export { inspectFile } from "./inspection.js";
export { completed } from "./limits.js";
export { arraysOf, readManifest } from "./manifest.js";
export { decodeAlpha } from "./png.js";
export { pngFile } from "./png_writer.js";
export { CdfTables, Decoder } from "./rans.js";
export { Encoder } from "./rans_encoder.js";
export { expanded, Sessions } from "./sessions.js";
export { readTables } from "./tables.js";
