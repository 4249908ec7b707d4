"""`glic serve` with the real Triton Inference Server, asked by Triton's own clients over HTTP and gRPC on loopback."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tritonclient.grpc", reason="needs tritonclient: pip install 'tritonclient[grpc,http]'")

from tritonclient.utils import InferenceServerException

from benchmarks.serving import PROTOCOLS, Client, Served, free_ports, load, serve
from glic_deploy import Codec

from .conftest import PHOTOS, ROOT
from .pages import runnable

pytestmark = pytest.mark.slow

PYTHON = ROOT / ".venv-triton" / "bin" / "python"
QUEUE = 6
EVERY_PROTOCOL = pytest.mark.parametrize("protocol", PROTOCOLS)
CODES = {"http": ("400", "503"), "grpc": ("StatusCode.INVALID_ARGUMENT", "StatusCode.UNAVAILABLE")}


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter that has the server."""
    if not PYTHON.exists():
        pytest.skip("needs Triton Inference Server: make triton-env")
    return PYTHON


@pytest.fixture(scope="module")
def repository(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Self-contained, with a short queue."""
    path = tmp_path_factory.mktemp("served") / "models"
    export = [sys.executable, "-m", "export.to_triton", "--engine", engine, "--output", path]
    subprocess.run([*export, f"--queue={QUEUE}"], check=True, cwd=ROOT)
    return path


@pytest.fixture(scope="module")
def served(repository: Path, python: Path) -> Iterator[Served]:
    """One server for all tests."""
    with serve(python, "--repository", str(repository), log=repository.parent / "serve.log") as served:
        yield served


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.asarray(Image.open(PHOTOS / "kodim23.png"))[:256, :384].copy()


@pytest.fixture(scope="module")
def glic(served: Served, picture: np.ndarray) -> np.ndarray:
    with served.client("http") as client:
        return client.encode(image=picture)


@pytest.fixture
def client(served: Served, protocol: str) -> Iterator[Client]:
    with served.client(protocol) as client:
        yield client


@EVERY_PROTOCOL
def test_pictures_there_and_back(client, engine, picture, glic):
    np.testing.assert_array_equal(client.encode(image=picture), glic)
    np.testing.assert_array_equal(client.encode(file=png(picture)), glic)
    decoded = client.decode(glic)
    with Codec(engine, backend="onnxruntime", threads=1) as codec:
        here = codec.decode(glic.tobytes())
    assert np.abs(decoded.astype(int) - here).max() <= 1


@EVERY_PROTOCOL
def test_bad_input_is_refused_and_the_server_lives_on(client, picture, glic, protocol):
    altered = glic.copy()
    altered[40] ^= 1
    refused(client, protocol, "RequestError: got neither", lambda: client.encode())
    refused(client, protocol, "unexpected shape", lambda: client.encode(image=picture[..., 0].copy()))
    refused(client, protocol, "ImageError: .*not an image", lambda: client.encode(file=glic))
    refused(client, protocol, "ImageError: .*cannot be read", lambda: client.encode(file=png(picture)[:3000]))
    refused(client, protocol, "LimitError", lambda: client.encode(image=np.zeros((9000, 9000, 3), np.uint8)))
    refused(client, protocol, "BitstreamError: .*cut short", lambda: client.decode(glic[:-1]))
    refused(client, protocol, "BitstreamError: .*cut short", lambda: client.decode(glic[:0]))
    refused(client, protocol, "BitstreamError: checksum", lambda: client.decode(altered))
    refused(client, protocol, "BitstreamError: not a .glic", lambda: client.decode(np.zeros(50_000_000, np.uint8)))
    np.testing.assert_array_equal(client.encode(image=picture), glic)
    assert client.decode(glic).shape == picture.shape


@EVERY_PROTOCOL
def test_what_the_queue_cannot_hold_is_refused_at_once(client, served, picture, glic, protocol):
    def ask(_: int) -> str:
        try:
            with served.client(protocol) as one_of_many:
                return "right" if np.array_equal(one_of_many.encode(image=picture), glic) else "wrong"
        except InferenceServerException as error:
            return f"{error.status()} {error.message()}"

    with ThreadPoolExecutor(4 * QUEUE) as pool:
        answers = list(pool.map(ask, range(4 * QUEUE)))
    refusals = [answer for answer in answers if answer != "right"]
    assert refusals
    assert len(refusals) <= 3 * QUEUE
    assert all(answer.startswith(CODES[protocol][1]) and "maximum queue size" in answer for answer in refusals)
    assert client.decode(glic).shape == picture.shape


def test_both_protocols_and_models_at_once(served, picture):
    rows = load(served, picture, clients=1, duration=10)
    assert not [message for row in rows for message in row.wrong]
    assert all(row.seconds for row in rows)


@pytest.mark.parametrize("protocol", ["http"])
def test_an_instance_that_is_killed_is_replaced(client, repository, picture, glic):
    victims = processes_of(repository / "glic_decode")
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    assert victims
    end = time.monotonic() + 60
    while set(processes_of(repository / "glic_decode")) <= set(victims):
        assert time.monotonic() < end
        np.testing.assert_array_equal(client.encode(image=picture), glic)
    while client.connection.is_model_ready("glic_decode"):
        with contextlib.suppress(InferenceServerException):
            assert client.decode(glic).shape == picture.shape
            break
    assert not set(processes_of(repository / "glic_decode")) & set(victims)


def test_health_and_metrics(served):
    for path in ("live", "ready"):
        assert get(served.http, f"v2/health/{path}") == (200, "")
    for model in ("glic_encode", "glic_decode"):
        assert get(served.http, f"v2/models/{model}/ready")[0] == 200
    assert 'nv_inference_request_success{model="glic_encode"' in get(served.metrics, "metrics")[1]


@pytest.mark.parametrize("path", ["v2/logging", "v2/trace/setting", "v2/systemsharedmemory/status"])
def test_the_servers_own_settings_are_out_of_reach(served, path):
    status, message = get(served.http, path)
    assert (status, "restricted" in message) == (403, True)


def test_a_server_that_cannot_start_says_so(served, engine, python):
    command = [python, "-m", "glic_deploy", "serve", "--engine", engine, *served.arguments()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 6
    assert "glic serve: error: the server ended with exit code 1" in done.stderr


def test_it_answers_what_it_has_begun_and_leaves_nothing(engine, python, tmp_path, picture, glic):
    ports = Served(*free_ports(3))
    command = [python, "-m", "glic_deploy", "serve", "--engine", engine, *ports.arguments()]
    (tmp_path / "temporary").mkdir()
    shared_memory = set(Path("/dev/shm").iterdir())
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    )
    said = next(line for line in process.stderr if line.startswith("glic serve:"))
    assert f"http://127.0.0.1:{ports.http}" in said
    with ThreadPoolExecutor(1) as pool, ports.client("grpc") as client:
        answer = pool.submit(lambda: client.encode(image=picture))
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        np.testing.assert_array_equal(answer.result(), glic)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert not list((tmp_path / "temporary").glob("glic*"))
    assert set(Path("/dev/shm").iterdir()) <= shared_memory


def test_the_pages_commands_run(engine, python, tmp_path):
    """Every console block of docs/serving.md that is not about installing, and its Python, in order."""
    ports = Served(*free_ports(3))
    moved = dict(zip(("8000", "8001", "8002"), vars(ports).values(), strict=True))
    os.symlink(engine, tmp_path / "engine")
    os.symlink(PHOTOS / "kodim23.png", tmp_path / "photo.png")
    path = os.pathsep.join((str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    glic = tmp_path / "glic"
    glic.write_text(f'#!/bin/sh\nexec {python} -m glic_deploy "$@"\n')
    glic.chmod(0o755)
    servers = []
    try:
        for block in runnable("docs/serving.md"):
            body = re.sub(r"\b800[012]\b", lambda port: str(moved[port[0]]), block.body)
            for command in body.splitlines() if block.language == "console" else [body]:
                if command.startswith(("pip", "make", "docker")):
                    continue
                if command.startswith("glic serve"):
                    servers.append(_start([*command.split(), *ports.arguments()], tmp_path, environment))
                    continue
                run = ["sh", "-ec", command] if block.language == "console" else [sys.executable, "-c", command]
                subprocess.run(run, cwd=tmp_path, env=environment, check=True, timeout=120)
    finally:
        for server in servers:
            server.terminate()
            server.wait()
    assert (tmp_path / "decoded.png").exists()
    assert len(servers) == 1


def _start(command: list[str], directory: Path, environment: dict[str, str]) -> subprocess.Popen:
    log = directory / "serve.log"
    with open(log, "wb") as stream:
        server = subprocess.Popen(command, cwd=directory, env=environment, stderr=stream)
    while "glic serve: ready" not in log.read_text():
        assert server.poll() is None, log.read_text()
        time.sleep(0.1)
    return server


def refused(client: Client, protocol: str, message: str, request: Callable[[], object]) -> None:
    with pytest.raises(InferenceServerException, match=message) as error:
        request()
    assert error.value.status() == CODES[protocol][0]


def png(picture: np.ndarray) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return np.frombuffer(stream.getvalue(), np.uint8)


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def processes_of(model: Path) -> list[int]:
    """Process numbers of a model's instances, by the file that Triton gives them to run."""
    marker = f"{model}/1/model.py".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if marker in path.read_bytes():
                found.append(int(path.parent.name))
    return found
