// The worker: opens a bundle and answers the calls of the page, one after the other.

import { WebBundle } from "./bundle.js";
import { type Context, Engine } from "./engine.js";
import { asMessage, EngineError } from "./errors.js";
import { type Call, decodeFile } from "./files.js";
import type { Limits } from "./limits.js";
import type { Calls, OpenRequest, Reply, Request } from "./protocol.js";
import { type Provider, type Runtime, Sessions } from "./sessions.js";
import { readTables } from "./tables.js";
import { tensor } from "./tensors.js";
import type { Description } from "./types.js";

const RUNTIMES: Record<Provider, string> = { wasm: "./ort/ort.wasm.min.mjs", webgpu: "./ort/ort.webgpu.min.mjs" };
const ENCODER = ["analysis", "hyper_analysis"];
const PREVIEW = "preview";
const WARM_UP_SIDE = 8; // of the latents: those of 128 x 128 pixels

interface Opened {
  engine: Engine;
  limits: Limits;
}

let opened: Opened | null = null;
let last: Promise<void> = Promise.resolve();
const aborted = new Set<number>();

self.onmessage = ({ data }: MessageEvent<Request>) => {
  if (data.call === "abort") aborted.add(data.id);
  else last = last.then(() => answer(data));
};

async function answer(message: Exclude<Request, { call: "abort" }>): Promise<void> {
  const { id } = message;
  try {
    const [response, transfer] = await respond(message);
    post({ id, kind: "result", response }, transfer);
  } catch (error) {
    post({ id, kind: "error", error: asMessage(error) });
  } finally {
    aborted.delete(id);
  }
}

async function respond(
  message: Exclude<Request, { call: "abort" }>,
): Promise<[Calls[keyof Calls]["response"], Transferable[]]> {
  const { id } = message;
  if (message.call === "open") return [await open(message.request, id), []];
  const call = callOf(id);
  const { stages } = call.context;
  if (message.call === "decode") {
    const { data, ...request } = message.request;
    const { data: pixels, width, height } = await decodeFile(call, request, data);
    return [{ pixels, width, height, stages }, [pixels.buffer]];
  }
  if (message.call === "encode") {
    const { encodeFile } = await import("./encoder.js");
    return [{ data: await encodeFile(call, message.request), stages }, []];
  }
  const { inspectFile } = await import("./inspection.js");
  return [await inspectFile(call, message.request.data), []];
}

function callOf(id: number): Call {
  if (!opened) throw new EngineError("the bundle is not open");
  const context: Context = { stages: {}, turn: () => turn(id) };
  return {
    ...opened,
    context,
    warn: (warning) => post({ id, kind: "warning", error: asMessage(warning) }),
    progress: (done, total) => post({ id, kind: "progress", done, total }),
  };
}

/** Lets the messages in that wait, among which may be one that aborts the call. */
async function turn(id: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
  if (aborted.has(id)) throw new EngineError("the call was aborted");
}

function post(reply: Reply, transfer: Transferable[] = []): void {
  self.postMessage(reply, { transfer });
}

async function open(request: OpenRequest, id: number): Promise<Description> {
  const { bundleUrl, threads, limits, isolated } = request;
  const gpu = request.backend !== "wasm" && (await hasGpu());
  if (!gpu) load("wasm", threads).then(start, () => undefined); // while the bundle is fetched
  const bundle = await WebBundle.open(bundleUrl);
  const { manifest } = bundle;
  const decoder = Object.keys(manifest.graphs).filter((graph) => ![...ENCODER, PREVIEW].includes(graph));
  const loading = bundle.load(bundle.filesOf(decoder), (done, total) => post({ id, kind: "progress", done, total }));
  const [{ sessions, notices }] = await Promise.all([chosen(bundle, request, gpu), loading]);
  await warmUp(sessions, manifest.model.config.latent);
  for (const graph of decoder) await sessions.prepare(graph);
  const engine = new Engine(manifest, readTables(await bundle.arrays("tables.bin")), sessions.run, bundleUrl);
  const conformance = await ensure(bundle, engine, sessions, threads);
  opened = { engine, limits };
  if (!isolated) notices.push("one thread only: the page is not cross-origin isolated (headers COOP and COEP)");
  if (!engine.exact) notices.push("floating-point entropy parameters: files decode only where they were written");
  return {
    backend: sessions.provider,
    threads, conformance, notices,
    modelFingerprint: engine.modelFingerprint,
    arithmeticFingerprint: engine.arithmeticFingerprint,
    generator: manifest.generator,
    bytes: bundle.sizeOf(Object.keys(manifest.files)),
    encoder: ENCODER.every((graph) => engine.has(graph)),
    previews: engine.has(PREVIEW),
  };
}

/** Synthesises a small image, whose kernels the browser then compiles to faster code beside all that follows. */
async function warmUp(sessions: Sessions, channels: number): Promise<void> {
  const sides = [1, channels, WARM_UP_SIDE, WARM_UP_SIDE];
  const data = new Float32Array(channels * WARM_UP_SIDE ** 2);
  await sessions.run("synthesis", { y_hat: tensor("float32", data, sides) });
}

/** Runs the conformance vectors unless an earlier visit did, with the same browser, backend and bundle. */
async function ensure(
  bundle: WebBundle, engine: Engine, sessions: Sessions, threads: number,
): Promise<Description["conformance"]> {
  if (!engine.exact) return "not exact";
  const what = `conformance ${sessions.version} ${sessions.provider} ${threads}`;
  if ((await bundle.recall(what)) === "passed") return "passed before";
  const { check } = await import("./conformance.js");
  const { groups } = bundle.manifest.model.config;
  await check(groups, sessions.run, await bundle.arrays("conformance.bin"), `onnxruntime-web ${sessions.version}`);
  await bundle.remember(what, "passed");
  return "passed";
}

/** Opens the runtime that the request names, or the one that a trial finds faster. */
async function chosen(
  bundle: WebBundle, { backend, threads }: OpenRequest, gpu: boolean,
): Promise<{ sessions: Sessions; notices: string[] }> {
  const notices: string[] = [];
  const file = (name: string): Promise<Uint8Array> => bundle.file(name);
  const sessionsOn = (runtime: Runtime, provider: Provider): Sessions =>
    new Sessions(runtime, bundle.manifest, file, provider);
  if (backend === "webgpu" && !gpu) {
    throw new EngineError('this browser offers no WebGPU; open the bundle with backend: "wasm" or "auto"');
  }
  const found = backend === "auto" && gpu ? await bundle.recall(`trial ${threads}`) : null;
  if (!gpu || found === "wasm") return { sessions: sessionsOn(await load("wasm", threads), "wasm"), notices };
  const runtime = await load("webgpu", threads);
  const onGpu = sessionsOn(runtime, "webgpu");
  if (backend === "webgpu" || found === "webgpu") return { sessions: onGpu, notices };
  const onCpu = sessionsOn(runtime, "wasm");
  const { trial } = await import("./trial.js");
  const winner = await trial(onCpu, onGpu, bundle.manifest.model.config.latent);
  await bundle.remember(`trial ${threads}`, winner.provider);
  return { sessions: winner, notices };
}

async function hasGpu(): Promise<boolean> {
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<unknown> } };
  return Boolean(gpu && (await gpu.requestAdapter()));
}

async function load(provider: Provider, threads: number): Promise<Runtime> {
  const runtime = (await import(RUNTIMES[provider])) as Runtime;
  runtime.env.logLevel = "error";
  runtime.env.wasm.numThreads = threads;
  runtime.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
  return runtime;
}

/** Compiles WebAssembly and starts its threads. A session that is created later reports why this fails. */
async function start(runtime: Runtime): Promise<void> {
  const noGraph = new Uint8Array(0);
  await runtime.InferenceSession.create(noGraph, { executionProviders: ["wasm"] }).catch(() => undefined);
}
