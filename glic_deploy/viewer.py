"""Serve the page of `glic view` to the browsers of this machine, or write the page for another web server.

The server listens on the loopback interface alone. It serves the files that it was made with, under names that are
fixed at the start, so no request can name any other file.
"""

from __future__ import annotations

import hashlib
import http.server
import importlib.util
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from . import __version__, cache, web_bundle
from .bundle import MANIFEST
from .bundle.files import open_regular, sha256, size_of
from .errors import EngineError
from .qualities import bundles_in

HOST = "127.0.0.1"
INDEX = "index.html"
_PACKAGE, _DISTRIBUTION = "glic_deploy_view", "glic-deploy-view"


def find_page(built: Path = Path(__file__).parent / "web_page") -> Path:
    """Return the folder of the page: `built`, which `make web` writes in a checkout, else that of glic-deploy-view."""
    found = importlib.util.find_spec(_PACKAGE)
    if built.is_dir() or found is None or not found.submodule_search_locations:
        return built
    return Path(found.submodule_search_locations[0]) / built.name


PAGE = find_page()
"""The folder with the built page."""

CONTENTS = "contents.json"
"""The document from which the page learns where the bundle and the files are."""

HEADERS = {
    # These two isolate the page from other origins; browsers give memory shared by threads to isolated pages alone.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob: data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""The headers of every answer. docs/view.md states why each is needed."""

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
    ".glic": "image/x-glic",
}
_KEPT_BUNDLES = 8  # in the cache
_BLOCK = 1 << 18
_TIMEOUT_S = 60  # of a connection on which nothing happens


@dataclass(frozen=True)
class Answer:
    """Hold what a path of the server stands for.

    Attributes:
        body: the file, or its bytes if it is made in memory.
        media_type: value of the header Content-Type.
    """

    body: Path | bytes
    media_type: str


def check_page(page: Path) -> None:
    """Raise EngineError if the page is missing, or of another version than this package."""
    if not (page / INDEX).is_file():
        raise EngineError(
            f"the page of glic view is missing, {page} has no {INDEX}; pip install {_DISTRIBUTION}, "
            "or build the page in a checkout of the project: make web (needs Node.js 20 and npm)"
        )
    if page.parent.name == _PACKAGE and (version := metadata.version(_DISTRIBUTION)) != __version__:
        raise EngineError(
            f"{page} is of {_DISTRIBUTION} {version}, glic-deploy is {__version__}; "
            f"pip install {_DISTRIBUTION}=={__version__}"
        )


def web_bundle_of(engine: str | os.PathLike[str]) -> Path:
    """Return a folder with the web bundle of an engine, encoder included.

    The folder is the engine itself if it is a web bundle. Otherwise, the web bundle is written into the cache, once for
    each content of the engine. Raises EngineError if the engine cannot be opened, OSError if the cache cannot be
    written.
    """
    folder = Path(engine)
    if (folder / web_bundle.MANIFEST).is_file():
        return folder
    bundle, *others = bundles_in(engine)
    if others:
        raise EngineError(
            f"{engine} holds {1 + len(others)} bundles, and the page decodes files of one; name one: {bundle.path}"
        )
    identity = hashlib.sha256(f"{__version__} {sha256(bundle.path / MANIFEST)}".encode()).hexdigest()
    kept = cache.directory() / "web" / identity[:32]
    if not (kept / web_bundle.MANIFEST).is_file():
        web_bundle.write(bundle.path, kept, encoder=True)
    os.utime(kept)
    for old in sorted(kept.parent.glob("[0-9a-f]*"), key=lambda path: path.stat().st_mtime)[:-_KEPT_BUNDLES]:
        shutil.rmtree(old, ignore_errors=True)
    return kept


def write(answers: Mapping[str, Answer], folder: Path) -> None:
    """Write all answers to an empty folder, for any web server to serve. Raises OSError."""
    for path, answer in answers.items():
        if path.endswith("/"):
            continue
        target = folder / path[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(answer.body, bytes):
            target.write_bytes(answer.body)
        else:
            shutil.copyfile(answer.body, target)


def contents(names: Sequence[str]) -> dict[str, Any]:
    """Return the document that tells the page its bundle and its files; URLs are relative to the page.

    names: the files' names to show, in the order of `files/0`, `files/1`, and so on.
    """
    files = [{"name": name, "url": f"files/{number}"} for number, name in enumerate(names)]
    return {"version": __version__, "bundle": "bundle/", "files": files}


def answers(page: Path, bundle: Path, files: Sequence[Path]) -> dict[str, Answer]:
    """Return all that the server serves, by path.

    page: folder of the built page, see `check_page`.
    bundle: folder that `glic web-bundle` wrote.
    files: `.glic` files and images to show.
    """
    shown = _of_folder(page, "/")
    described = json.dumps(contents([file.name for file in files])).encode()
    named = {f"/files/{number}": Answer(file, _media_type(file)) for number, file in enumerate(files)}
    return {
        **shown,
        **_of_folder(bundle, "/bundle/"),
        **named,
        "/": shown[f"/{INDEX}"],
        f"/{CONTENTS}": Answer(described, _TYPES[".json"]),
    }


def _of_folder(folder: Path, prefix: str) -> dict[str, Answer]:
    return {
        prefix + path.relative_to(folder).as_posix(): Answer(path, _media_type(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def _media_type(path: Path) -> str:
    return _TYPES.get(path.suffix.lower(), "application/octet-stream")


class Server(http.server.ThreadingHTTPServer):
    """Serve `answers` on the loopback interface until `shutdown` is called; close with `with` or `server_close`.

    Attributes:
        answers: what each path stands for.
        url: address of the page.
        hosts: the values of the header Host that are answered. A page of another site that makes its own name resolve
            to 127.0.0.1 (DNS rebinding) sends that name, and is refused.
    """

    daemon_threads = True

    def __init__(self, answers: Mapping[str, Answer], port: int) -> None:
        """Listen on `port`; 0 takes a free one. Raises OSError if the port is taken or not permitted."""
        self.answers = answers
        super().__init__((HOST, port), _Handler)
        number = self.server_address[1]
        self.url = f"http://{HOST}:{number}/"
        self.hosts = {f"{HOST}:{number}", f"localhost:{number}"}

    def server_bind(self) -> None:
        # The method of HTTPServer also asks the resolver for this machine's name, which can take seconds.
        super(http.server.HTTPServer, self).server_bind()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do nothing: a browser that ends a connection early is no error of the server."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = _TIMEOUT_S

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def version_string(self) -> str:
        return "glic-view"

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the command's output is for its user."""

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def _answer(self, *, with_body: bool) -> None:
        if self.headers.get_all("Host", []) not in [[host] for host in self.server.hosts]:
            self.send_error(
                HTTPStatus.MISDIRECTED_REQUEST, explain="The server answers to 127.0.0.1 and localhost alone."
            )
            return
        answer = self.server.answers.get(urlsplit(self.path).path)
        if answer is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        elif isinstance(answer.body, bytes):
            self._begin(answer, len(answer.body))
            if with_body:
                self.wfile.write(answer.body)
        else:
            try:
                stream = open_regular(answer.body)
            except OSError as error:
                self.send_error(HTTPStatus.NOT_FOUND, explain=f"{answer.body.name}: {error.strerror}")
                return
            with stream:
                self._send(answer, stream, with_body=with_body)

    def _send(self, answer: Answer, stream: BinaryIO, *, with_body: bool) -> None:
        """Send a file, unless the browser still has it: then browsers also keep the WebAssembly that they compiled."""
        size = size_of(stream)
        tag = f'"{os.fstat(stream.fileno()).st_mtime_ns:x}-{size:x}"'
        if self.headers.get("If-None-Match") == tag:
            self.send_response(HTTPStatus.NOT_MODIFIED)
            self.send_header("ETag", tag)
            self.end_headers()
            return
        self._begin(answer, size, ETag=tag)
        if with_body:
            self._copy(stream, size)

    def _begin(self, answer: Answer, size: int, **headers: str) -> None:
        self.send_response(HTTPStatus.OK)
        for name, value in {"Content-Type": answer.media_type, "Content-Length": str(size), **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _copy(self, stream: BinaryIO, size: int) -> None:
        """Send `size` bytes. If the file has become shorter, the connection ends, so that the browser sees an error."""
        while size and (block := stream.read(min(size, _BLOCK))):
            self.wfile.write(block)
            size -= len(block)
        self.close_connection |= size > 0
