"""Serves folders on the loopback interface as a page's server does: with the headers of cross-origin isolation."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGE = "/page.html"
_HTML = b"<!doctype html><meta charset=utf-8><title>test</title><link rel=icon href=data:,>"
ISOLATION = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def __init__(
        self, *args: object, folders: Mapping[str, Path], headers: Mapping[str, str], requested: list[str]
    ) -> None:
        self._folders, self._headers, self._requested = folders, headers, requested
        super().__init__(*args)  # type: ignore[arg-type]

    def translate_path(self, path: str) -> str:
        name, _, rest = path.partition("?")[0].lstrip("/").partition("/")
        return str(self._folders.get(name, Path("/nowhere")) / rest)

    def do_GET(self) -> None:
        self._requested.append(self.path)
        if self.path.partition("?")[0] != PAGE:
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(_HTML)))
        self.end_headers()
        self.wfile.write(_HTML)

    def end_headers(self) -> None:
        for name, value in self._headers.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def serving(
    folders: Mapping[str, Path], headers: Mapping[str, str] = ISOLATION, requested: list[str] | None = None
) -> Iterator[str]:
    """Serve folders by their names, and an empty page at PAGE. Yields the address of the server.

    requested: receives the paths of all requests.
    """
    handler = partial(_Handler, folders=folders, headers=headers, requested=[] if requested is None else requested)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
