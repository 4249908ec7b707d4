"""`glic view`: its server, which answers to nobody else, and its page in a browser."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from glic_deploy import cache, viewer, web_bundle
from glic_deploy.cli import exits, main, view
from glic_deploy.errors import EngineError

from .conftest import ROOT, heed_signals

SECRET = b"not for the page"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A page, a web bundle, files to show, and a file beside them that must not be served."""
    for name, content in {
        "page/index.html": b"<!doctype html>",
        "page/glic/index.js": b"export {};",
        "page/glic/ort/ort.wasm": b"\0asm",
        "bundle/web.json": b"{}",
        "photos/a.glic": b"coded",
        "photos/a.png": b"original",
        "secret.txt": SECRET,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[viewer.Server]:
    files = [folder / "photos" / name for name in ("a.glic", "a.png")]
    with serving(viewer.answers(folder / "page", folder / "bundle", files)) as server:
        yield server


class serving:
    """Serve in a thread, on a free port, within the block."""

    def __init__(self, answers: dict[str, viewer.Answer]) -> None:
        self.server = viewer.Server(answers, 0)

    def __enter__(self) -> viewer.Server:
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()
        return self.server

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def ask(
    server: viewer.Server, path: str, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(viewer.HOST, server.server_address[1], timeout=10)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    return response, response.read()


class TestServer:
    @pytest.mark.parametrize(
        ("path", "media_type", "body"),
        [
            ("/", "text/html; charset=utf-8", b"<!doctype html>"),
            ("/index.html?again=1", "text/html; charset=utf-8", b"<!doctype html>"),
            ("/glic/index.js", "text/javascript; charset=utf-8", b"export {};"),
            ("/glic/ort/ort.wasm", "application/wasm", b"\0asm"),
            ("/bundle/web.json", "application/json", b"{}"),
            ("/files/0", "image/x-glic", b"coded"),
            ("/files/1", "application/octet-stream", b"original"),
        ],
    )
    def test_answers(self, server, path, media_type, body):
        response, got = ask(server, path)
        assert (response.status, response.headers["Content-Type"], got) == (200, media_type, body)
        response, got = ask(server, path, "HEAD")
        assert (response.status, response.headers["Content-Length"], got) == (200, str(len(body)), b"")

    def test_contents_name_the_files_but_not_their_folders(self, server, folder):
        _, body = ask(server, "/contents.json")
        assert b'"name": "a.glic", "url": "files/0"' in body
        assert str(folder).encode() not in body

    @pytest.mark.parametrize(
        "path",
        [
            "/secret.txt",
            "/../secret.txt", "/files/../../secret.txt", "/files/../secret.txt", "/glic/../../secret.txt",
            "/%2e%2e/secret.txt", "/bundle/..%2f..%2fsecret.txt", "//secret.txt", "/files/2", "/files/-1", "/files/",
            "/files/a.glic", "/bundle", "/bundle/", "/glic/", "/.", "/files/0/", "/files/00", "\\..\\secret.txt",
        ],
    )  # fmt: skip
    def test_no_path_leads_to_another_file(self, server, path):
        response, body = ask(server, path)
        assert response.status in (400, 404)
        assert SECRET not in body

    def test_absolute_paths_of_the_machine_are_not_served(self, server, folder):
        for path in (str(folder / "secret.txt"), f"file://{folder}/secret.txt", f"/files/{folder}/secret.txt"):
            response, body = ask(server, path)
            assert response.status == 404
            assert SECRET not in body

    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "evil.example:{port}", "", "0.0.0.0"])
    def test_other_names_of_the_host_are_refused(self, server, host):
        """A page of another site that makes its own name resolve to this machine must read nothing."""
        response, body = ask(server, "/files/0", Host=host.format(port=server.server_address[1]))
        assert response.status == 421
        assert b"coded" not in body

    def test_two_names_of_the_host_are_refused(self, server):
        port = server.server_address[1]
        with socket.create_connection((viewer.HOST, port), timeout=10) as connection:
            request = (
                f"GET /files/0 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
            )
            connection.sendall(request.encode())
            assert connection.makefile("rb").readline().split()[1] == b"421"

    def test_localhost_is_a_name_of_the_host(self, server):
        response, _ = ask(server, "/", Host=f"localhost:{server.server_address[1]}")
        assert response.status == 200

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
    def test_nothing_is_accepted(self, server, method):
        assert ask(server, "/files/0", method)[0].status == 501

    @pytest.mark.parametrize("path", ["/", "/files/0", "/nothing"])
    def test_every_answer_has_the_headers(self, server, path):
        response, _ = ask(server, path)
        assert {name: response.headers[name] for name in viewer.HEADERS} == viewer.HEADERS
        assert "Access-Control-Allow-Origin" not in response.headers
        assert re.match("Python|BaseHTTP", response.headers["Server"]) is None

    def test_a_file_that_the_browser_has_is_not_sent_again(self, server, folder):
        tag = ask(server, "/files/0")[0].headers["ETag"]
        response, body = ask(server, "/files/0", **{"If-None-Match": tag})
        assert (response.status, body) == (304, b"")
        assert response.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        (folder / "photos" / "a.glic").write_bytes(b"coded again")
        assert ask(server, "/files/0", **{"If-None-Match": tag})[1] == b"coded again"

    def test_listens_on_the_loopback_interface_alone(self, server):
        assert server.server_address[0] == "127.0.0.1"
        assert server.socket.family == socket.AF_INET

    def test_a_file_that_is_gone_is_named(self, server, folder):
        (folder / "photos" / "a.glic").unlink()
        response, body = ask(server, "/files/0")
        assert response.status == 404
        assert b"a.glic: No such file" in body

    def test_a_file_with_any_name_is_served(self, folder):
        name = folder / "photos" / "ä\n<script>\x1b.glic"
        name.write_bytes(b"named")
        with serving(viewer.answers(folder / "page", folder / "bundle", [name])) as server:
            assert ask(server, "/files/0")[1] == b"named"
            name.unlink()
            response, body = ask(server, "/files/0")
            assert response.status == 404
            assert b"<script>" not in body

    def test_a_file_that_shrinks_while_it_is_sent_ends_the_connection(self, server, monkeypatch):
        monkeypatch.setattr(viewer, "size_of", lambda stream: 1000)
        with pytest.raises(http.client.IncompleteRead):
            ask(server, "/files/0")

    def test_a_browser_that_leaves_disturbs_nobody(self, server, capfd):
        port = server.server_address[1]
        with socket.create_connection((viewer.HOST, port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close with a reset
            connection.sendall(f"GET /files/0 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        assert ask(server, "/files/0")[1] == b"coded"
        assert capfd.readouterr() == ("", "")


def test_the_policy_is_the_same_everywhere():
    """Other servers send the headers that docs/view.md names; the page holds what a page can say of its policy."""
    policy = viewer.HEADERS["Content-Security-Policy"]
    documented = (ROOT / "docs" / "view.md").read_text()
    assert f'Content-Security-Policy "{policy}"' in documented
    for name in ("Cross-Origin-Opener-Policy", "Cross-Origin-Embedder-Policy"):
        assert f"add_header {name} {viewer.HEADERS[name]};" in documented
    html = " ".join((ROOT / "web" / "view" / "index.html").read_text().split())
    of_page = policy.replace(" frame-ancestors 'none';", "")
    assert f'content="{of_page}"' in html


class TestBundle:
    @pytest.fixture
    def made(self, tmp_path, monkeypatch) -> list[Path]:
        """Engines are folders with a manifest, and their web bundles an empty list of files; grows with each."""
        made: list[Path] = []

        def write(engine: Path, output: Path, *, encoder: bool) -> None:
            assert encoder
            made.append(engine)
            output.mkdir(parents=True)
            (output / "web.json").write_text("{}")

        monkeypatch.setenv("GLIC_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(web_bundle, "write", write)
        monkeypatch.setattr(viewer, "bundles_in", lambda path: [SimpleNamespace(path=path)])
        return made

    def test_is_made_once_for_each_content_of_an_engine(self, tmp_path, made):
        (tmp_path / "manifest.json").write_text("one")
        first = viewer.web_bundle_of(tmp_path)
        assert viewer.web_bundle_of(tmp_path) == first
        assert len(made) == 1
        (tmp_path / "manifest.json").write_text("two")
        assert viewer.web_bundle_of(tmp_path) != first
        assert len(made) == 2
        assert cache.clear() > 0
        assert not first.exists()

    def test_the_least_recently_used_are_deleted(self, tmp_path, made):
        kept = []
        for number in range(viewer._KEPT_BUNDLES + 2):
            (tmp_path / "manifest.json").write_text(str(number))
            kept.append(viewer.web_bundle_of(tmp_path))
            os.utime(kept[-1], (number, number))
        assert [path.exists() for path in kept] == [False] * 2 + [True] * viewer._KEPT_BUNDLES

    def test_a_web_bundle_is_served_as_it_is(self, folder, made):
        assert viewer.web_bundle_of(folder / "bundle") == folder / "bundle"
        assert made == []

    def test_several_bundles_are_refused(self, folder, monkeypatch):
        bundles = [SimpleNamespace(path=folder / name) for name in ("low", "high")]
        monkeypatch.setattr(viewer, "bundles_in", lambda path: bundles)
        with pytest.raises(EngineError, match=f"holds 2 bundles.*name one: {folder / 'low'}"):
            viewer.web_bundle_of(folder)


class TestCommand:
    @pytest.fixture(autouse=True)
    def page(self, folder, monkeypatch):
        monkeypatch.setattr(viewer, "PAGE", folder / "page")

    def test_writes_a_page_for_another_server(self, folder, tmp_path, capsys):
        output = tmp_path / "static"
        command = ["view", str(folder / "photos"), "--engine", str(folder / "bundle"), "--output", str(output)]
        for _ in range(2):
            assert main(command) == exits.OK
        written = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
        page = {"index.html", "glic/index.js", "glic/ort/ort.wasm"}
        assert written == page | {"contents.json", "bundle/web.json", "files/0", "files/1"}

    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            (["photos/a.tif"], exits.USAGE, "browsers cannot show"),
            (["-"], exits.USAGE, "cannot show stdin"),
            (["photos/b.glic"], exits.FILE_SYSTEM, "No such file"),
            (["--port", "65536"], exits.USAGE, "at most 65,535"),
            (["--output", "photos"], exits.USAGE, "holds other files"),
            (["--output", "secret.txt"], exits.USAGE, "is a file"),
        ],
    )
    def test_refuses(self, folder, monkeypatch, capsys, arguments, code, message):
        monkeypatch.chdir(folder)
        command = ["view", *arguments, "--engine", "bundle", "--no-browser"]
        if code == exits.USAGE:
            with pytest.raises(SystemExit) as ended:
                main(command)
            assert ended.value.code == code
        else:
            assert main(command) == code
        assert message in capsys.readouterr().err

    def test_inputs_in_the_output_are_refused(self, folder, capsys):
        (folder / "photos" / "contents.json").write_text("{}")
        with pytest.raises(SystemExit):
            main(["view", str(folder / "photos" / "a.glic"), "--engine", "x", "--output", str(folder / "photos")])
        assert "would be replaced" in capsys.readouterr().err
        assert (folder / "photos" / "a.glic").read_bytes() == b"coded"

    def test_a_page_that_is_not_built(self, folder, capsys):
        (folder / "page" / "index.html").unlink()
        assert main(["view", "--engine", str(folder / "bundle")]) == exits.BAD_ENGINE
        assert "make web" in capsys.readouterr().err

    def test_the_page_of_the_package(self, tmp_path, monkeypatch):
        """A page in the checkout comes first; that of the package must have the version of glic_deploy."""
        package = tmp_path / "glic_deploy_view"
        for path in (package / "__init__.py", package / "web_page" / "index.html"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        information = tmp_path / "glic_deploy_view-0.0.9.dist-info" / "METADATA"
        information.parent.mkdir()
        monkeypatch.syspath_prepend(str(tmp_path))
        page = viewer.find_page(tmp_path / "checkout" / "web_page")
        assert page == package / "web_page"
        information.write_text(f"Name: glic-deploy-view\nVersion: {viewer.__version__}\n")
        viewer.check_page(page)
        information.write_text("Name: glic-deploy-view\nVersion: 0.0.9\n")
        with pytest.raises(EngineError, match=r"of glic-deploy-view 0\.0\.9.*pip install glic-deploy-view=="):
            viewer.check_page(page)
        (tmp_path / "checkout" / "web_page").mkdir(parents=True)
        assert viewer.find_page(tmp_path / "checkout" / "web_page") == tmp_path / "checkout" / "web_page"

    def test_port_that_is_taken(self, folder, capsys):
        with socket.create_server((viewer.HOST, 0)) as other:
            port = str(other.getsockname()[1])
            command = ["view", "--engine", str(folder / "bundle"), "--no-browser", "--port", port]
            assert main(command) == exits.FILE_SYSTEM
        assert f"port {port}: is taken; choose another with --port" in capsys.readouterr().err

    def test_default_port_that_is_taken(self, folder, monkeypatch, capsys):
        with socket.create_server((viewer.HOST, 0)) as other:
            monkeypatch.setattr(view, "PORT", other.getsockname()[1])
            with view._server({}, None) as server:
                assert server.server_address[1] not in (0, view.PORT)
        assert f"port {view.PORT} is taken" in capsys.readouterr().err

    def test_opens_a_browser(self, folder, monkeypatch, capsys):
        opened: list[str] = []
        monkeypatch.setattr("webbrowser.open", opened.append)
        monkeypatch.setattr(viewer.Server, "serve_forever", lambda self: None)
        assert main(["view", "--engine", str(folder / "bundle"), "--port", "0"]) == exits.OK
        said = capsys.readouterr().err
        assert opened
        assert f"the page is at {opened[0]}" in said
        assert f"no browser was found; open {opened[0]}" in said  # `append` returns None as `open` returns False

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_it(self, folder, number):
        program = (
            "import sys; from pathlib import Path; from glic_deploy import viewer; from glic_deploy.cli import main; "
            f"viewer.PAGE = Path({str(folder / 'page')!r}); sys.exit(main())"
        )
        options = ["--engine", str(folder / "bundle"), "--no-browser", "--port", "0"]
        command = [sys.executable, "-c", program, "view", *options]
        started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, preexec_fn=heed_signals)
        with started as process:
            line = process.stderr.readline()
            assert "press Ctrl-C" in line
            process.send_signal(number)
            try:
                _, said = process.communicate(timeout=30)
            finally:
                process.kill()
            assert (process.returncode, said) == (exits.OK, "")
