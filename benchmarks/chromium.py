"""Run the graphs of a bundle with the browser's decoder, in headless Chromium."""

from __future__ import annotations

import base64
import contextlib
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glic_deploy import web_bundle
from glic_deploy.backends.base import Backend
from glic_deploy.bundle import Bundle
from glic_deploy.errors import EngineError
from tests.web_browser import DIST, chromium
from tests.web_server import PAGE, serving

_OPEN = """
const core = await import("/dist/test/core.js");
const ort = await import("/dist/ort/ort.wasm.min.mjs");
ort.env.wasm.numThreads = args[0];
ort.env.wasm.wasmPaths = `${location.origin}/dist/ort/`;
const fetched = async name => new Uint8Array(await (await fetch(`/bundle/${name}`)).arrayBuffer());
const manifest = core.readManifest(new TextDecoder().decode(await fetched("web.json")), "/bundle");
const files = {};
const halves = name => manifest.weights[name]?.half ?? 0;
const file = name => files[name] ??= fetched(name).then(bytes => core.expanded(bytes, halves(name)));
globalThis.sessions = new core.Sessions(ort, manifest, file, "wasm");
return crossOriginIsolated;
"""
_RUN = """
const types = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };
const [graph, sent] = args;
const inputs = Object.fromEntries(Object.entries(sent).map(([name, [type, dims, text]]) => {
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  return [name, { type, dims, data: new types[type](bytes.buffer) }];
}));
const outputs = await sessions.run(graph, inputs);
return Object.fromEntries(Object.entries(outputs).map(([name, { type, dims, data }]) => {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  let letters = "";
  for (let i = 0; i < bytes.length; i += 8192) letters += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return [name, [type, [...dims], btoa(letters)]];
}));
"""


class ChromiumBackend(Backend):
    """Runs the graphs of one bundle on WebAssembly. Safe to use from several threads, which take turns.

    Raises EngineError if Chromium, Selenium or web/dist is missing.
    """

    name = "chromium"

    def __init__(self, bundle: Bundle, threads: int) -> None:
        if not (DIST / "index.js").is_file():
            raise EngineError("web/dist is missing; build it: make web")
        self._bundle, self._threads, self._lock = bundle, threads, threading.Lock()
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()), "bundle")
            web_bundle.write(bundle.path, folder, encoder=True)
            url = stack.enter_context(serving({"dist": DIST, "bundle": folder}))
            self._browser = stack.enter_context(chromium())
            self._browser.open(url + PAGE)
            if not self._browser.run(_OPEN, threads):
                raise EngineError("the page is not cross-origin isolated, so threads cannot be tested")
            self._stack = stack.pop_all()

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        sent = {
            name: (value.dtype.name, list(value.shape), base64.b64encode(value.tobytes()).decode())
            for name, value in ((name, _replaced(value, np.int16, np.int32)) for name, value in inputs.items())
        }
        with self._lock:
            received = self._browser.run(_RUN, graph, sent)
        return [
            _replaced(np.frombuffer(base64.b64decode(text), dtype).reshape(dims), np.int32, np.int16)
            for dtype, dims, text in (received[name] for name in self._bundle.outputs(graph))
        ]

    def describe(self) -> dict[str, Any]:
        version = self._browser.driver.capabilities["browserVersion"]
        return {"name": self.name, "version": version, "threads": self._threads}

    def close(self) -> None:
        self._stack.close()


def _replaced(value: NDArray[Any], dtype: type[np.integer[Any]], by: type[np.integer[Any]]) -> NDArray[Any]:
    """Return a value of `dtype` as one of `by`; web bundles have int32 in place of int16."""
    return value.astype(by) if value.dtype == dtype else value
