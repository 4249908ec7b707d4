// Builds dist/: the library and its worker, and the files of onnxruntime-web that the worker loads from beside itself,
// with their licence and notices, which the package onnxruntime-web lacks.
import { cp, mkdir, rm } from "node:fs/promises";
import { build } from "esbuild";

const ORT = "node_modules/onnxruntime-web/dist";
const NOTICES = "../third_party/onnxruntime";
const RUNTIMES = ["ort.wasm.min.mjs", "ort.webgpu.min.mjs"];
const BINARIES = ["ort-wasm-simd-threaded", "ort-wasm-simd-threaded.asyncify"].flatMap((name) => [
  `${name}.mjs`,
  `${name}.wasm`,
]);

await rm("dist", { recursive: true, force: true });
await mkdir("dist/ort", { recursive: true });
const options = { bundle: true, minify: true, format: "esm", target: "es2022", logLevel: "warning", external: ["./ort/*"] };
const library = { index: "src/index.ts", worker: "src/worker.ts", "glic-image": "src/element.ts" };
await build({ ...options, entryPoints: library, outdir: "dist", splitting: true });
await build({ ...options, entryPoints: ["src/core.ts"], outfile: "dist/test/core.js" });
for (const file of [...RUNTIMES, ...BINARIES]) {
  await cp(`${ORT}/${file}`, `dist/ort/${file}`);
}
for (const file of ["LICENSE", "ThirdPartyNotices.txt"]) {
  await cp(`${NOTICES}/${file}`, `dist/ort/${file}`);
}
