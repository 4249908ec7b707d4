"""Each program in examples/ runs as its docstring says, and is short enough to copy."""

from __future__ import annotations

import ast
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glic_deploy import Codec
from glic_deploy.image import load_image
from glic_deploy.saving import save_image

from .conftest import PHOTOS, ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SIDE = (192, 256)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of two images of one size."""
    folder = tmp_path / "photos"
    folder.mkdir()
    photo = load_image(PHOTOS / "kodim23.png")
    for number, name in enumerate("ab"):
        save_image(photo[: SIDE[0], 100 * number :][:, : SIDE[1]], folder / f"{name}.png")
    return folder


def run(name: str, *arguments: str | Path) -> str:
    """The standard output of an example, run in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short_and_says_how_to_run_it(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 40
    assert f"\npython examples/{path.name} " in (ast.get_docstring(ast.parse(text)) or "")
    assert f"]({path.name})" in (ROOT / "examples" / "README.md").read_text()


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES} == {"ask_server", "encode_folder", "read_region", "torch_dataset"}


def test_encode_folder_and_torch_dataset(engine: Path, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs torch, of the export extra")
    (photos / "broken.png").write_bytes(b"no image")
    said = run("encode_folder.py", engine, photos, tmp_path / "coded")
    assert [line.split(":")[0] for line in said.splitlines()] == ["a.png", "b.png"]
    assert run("torch_dataset.py", engine, tmp_path / "coded").startswith(f"(2, 3, {SIDE[0]}, {SIDE[1]}) mean 0.")


def test_read_region(engine: Path, photos: Path, tmp_path: Path) -> None:
    Image.open(photos / "a.png").resize((520, 300)).save(tmp_path / "scan.png")
    assert run("read_region.py", engine, tmp_path / "scan.png", tmp_path / "region.png").startswith("128x96 pixels")
    with Codec(engine, threads=1, backend="onnxruntime") as codec:
        whole = codec.decode((tmp_path / "region.glic").read_bytes())
    region = load_image(tmp_path / "region.png").astype(int)
    assert np.abs(whole[32:128, 64:192] - region).max() <= 1


def test_ask_server(engine: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's requests reach the served models through a stand-in for Triton's connection."""
    pytest.importorskip("tritonclient.http", reason="needs tritonclient: pip install 'tritonclient[grpc,http]'")
    from tritonclient import http

    from glic_deploy.serving.repository import write_repository
    from glic_deploy.serving.settings import Settings

    from . import triton_simulation as simulation

    repository = tmp_path / "models"
    write_repository(engine, repository, Settings(threads=1, backend="onnxruntime"), reference=True)

    class Answer:
        def __init__(self, output: np.ndarray) -> None:
            self.output = output

        def as_numpy(self, name: str) -> np.ndarray:
            assert name in ("glic", "image")
            return self.output

    class Connection:
        def __init__(self, url: str) -> None:
            assert url == "localhost:8000"

        def infer(self, model: str, inputs: list[http.InferInput]) -> Answer:
            sent = {tensor.name(): np.frombuffer(tensor._raw_data, np.uint8) for tensor in inputs}
            with simulation.load(repository / model, monkeypatch) as instance:
                return Answer(instance.infer(**sent))

    monkeypatch.setattr(http, "InferenceServerClient", Connection)
    monkeypatch.setattr(sys, "argv", ["", "localhost:8000", str(photos / "a.png"), str(tmp_path / "decoded.png")])
    runpy.run_path(str(ROOT / "examples" / "ask_server.py"), run_name="__main__")
    assert load_image(tmp_path / "decoded.png").shape == (*SIDE, 3)


@pytest.mark.slow
def test_ask_a_real_server(engine: Path, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("tritonclient.http", reason="needs tritonclient: pip install 'tritonclient[grpc,http]'")
    python = ROOT / ".venv-triton" / "bin" / "python"
    if not python.exists():
        pytest.skip("needs Triton Inference Server: make triton-env")
    from benchmarks.serving import serve

    with serve(python, "--engine", str(engine), log=tmp_path / "serve.log") as served:
        said = run("ask_server.py", f"127.0.0.1:{served.http}", photos / "a.png", tmp_path / "decoded.png")
    assert said.endswith(f"{SIDE[1]}x{SIDE[0]} pixels\n")
