// What several tests share: the corpus, the web bundle of the golden network, and onnxruntime-web in Node.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import * as core from "../dist/test/core.js";

const DATA = fileURLToPath(new URL("../../tests/data/", import.meta.url));
const WRITTEN = process.env.GLIC_WEB_FILES;
if (!WRITTEN) throw new Error("set GLIC_WEB_FILES to a folder that python -m tests.web_files wrote");

export const data = (name) => new Uint8Array(readFileSync(DATA + name));
export const document = (name) => JSON.parse(readFileSync(DATA + name, "utf8"));
export const written = (name) => new Uint8Array(readFileSync(`${WRITTEN}/${name}`));

/** Returns an engine of the golden network on one thread, without a cache of bundles. */
export async function openEngine() {
  const ort = await import("../node_modules/onnxruntime-web/dist/ort.node.min.mjs");
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  const read = (name) => written(`golden/${name}`);
  const manifest = core.readManifest(new TextDecoder().decode(read("web.json")), "golden");
  const file = (name) => core.expanded(read(name), manifest.weights[name]?.half ?? 0);
  const sessions = new core.Sessions(ort, manifest, file, "wasm");
  const tables = core.readTables(core.arraysOf(manifest.arrays["tables.bin"], read("tables.bin")));
  const vectors = core.arraysOf(manifest.arrays["conformance.bin"], read("conformance.bin"));
  return { engine: new core.Engine(manifest, tables, sessions.run, "golden"), vectors, run: sessions.run };
}

/** Returns what a call of `decodeFile` or `inspectFile` needs. */
export function callOn(engine, warn = (warning) => { throw warning; }) {
  const context = { stages: {}, turn: async () => undefined };
  return { engine, limits: core.completed(), context, warn, progress: () => undefined };
}
