"""The README's first lines, word for word: an empty folder, a checkpoint, an image, nothing else."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import export.to_trt as to_trt
from export.command import default_output
from export.progress import SILENT
from glic_deploy import Codec
from glic_deploy.backends import by_name
from glic_deploy.bundle import TENSORRT, Bundle
from glic_deploy.image import load_image
from glic_deploy.saving import save_image
from glic_deploy.tensorrt import RTX_CAPABILITIES, BuildOptions, installed

from .conftest import PHOTOS, ROOT, SAMPLE_CHECKPOINT

WITHOUT_RTX = 'import sys\nsys.modules["tensorrt_rtx"] = None\n'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder with glic.pth and photo.png, and beside it the `glic` command of this checkout."""
    place = tmp_path / "place"
    place.mkdir()
    shutil.copy(SAMPLE_CHECKPOINT, place / "glic.pth")
    save_image(load_image(PHOTOS / "kodim23.png")[:192, :256], place / "photo.png")
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, module in (("glic", "-m glic_deploy"), ("python", "")):
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        (commands / name).chmod(0o755)
    return place


def environment(place: Path, *more: Path) -> dict[str, str]:
    paths = os.pathsep.join(map(str, (*more, ROOT)))
    return {**os.environ, "PATH": f"{place.parent / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": paths}


def readme_blocks() -> tuple[list[str], str]:
    """The lines of the README's first block, which is the console's, and its second block, which is Python."""
    found = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (console, lines), (python, program) = found[:2]
    assert (console, python) == ("console", "python")
    return [line.removeprefix("$ ") for line in lines.splitlines()], program


def use(place: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Type everything; the result is that of the first line."""
    lines, program = readme_blocks()
    assert lines[0].startswith("python -m export.to_trt --checkpoint glic.pth ")
    commands = [*(["bash", "-c", line] for line in lines), [sys.executable, "-c", program]]
    results = []
    for command in commands:
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
        results.append(done)
    return results[0]


def test_the_readmes_first_lines(place: Path) -> None:
    exported = use(place, environment(place))
    assert exported.stdout == "glic.engine\n"
    assert "glic encode photo.png photo.glic --engine glic.engine" in exported.stderr
    assert "glic bench --engine glic.engine" in exported.stderr
    bundle = Bundle.open(place / "glic.engine")
    assert all(bundle.has_form(name, TENSORRT) for name in bundle.graphs())
    if bundle.plans():
        assert len(bundle.plans()) == len(bundle.graphs())
        assert bundle.plans()[0].capabilities == RTX_CAPABILITIES
    else:
        assert "no TensorRT plans were built" in exported.stderr
    assert {path.name for path in place.iterdir()} == {
        "glic.pth", "glic.engine", "photo.png", "photo.glic", "decoded.png"
    }  # fmt: skip


@pytest.mark.slow
def test_the_readmes_first_lines_without_tensorrt(place: Path) -> None:
    hidden = place.parent / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(WITHOUT_RTX)
    exported = use(place, environment(place, hidden))
    assert exported.stdout == "glic.engine\n"
    assert not Bundle.open(place / "glic.engine").plans()
    assert "no TensorRT plans were built: there is no GPU here; TensorRT-RTX, which builds without" in exported.stderr
    assert "builds them at first use and keeps them in its cache" in exported.stderr


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glic_deploy.backends.cuda.gpu_capability", lambda: None)


@pytest.mark.usefixtures("without_gpu")
def test_without_tensorrt_the_bundle_is_complete(
    gpu_engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = Path(shutil.copytree(gpu_engine, tmp_path / "glic.engine"))
    monkeypatch.setattr("glic_deploy.tensorrt.installed", list)
    assert to_trt.main(["--engine", str(engine)]) == 0
    said = capsys.readouterr()
    assert said.out == f"{engine}\n"
    assert "no TensorRT plans were built: there is no GPU here" in said.err
    assert "pip install tensorrt-rtx" in said.err
    with Codec(engine, threads=1, backend="onnxruntime") as codec:
        assert codec.encode(PHOTOS / "kodim23.png")
    assert to_trt.main(["--engine", str(engine), "--require-plans"]) == 1
    assert "error: there is no GPU here" in capsys.readouterr().err


@pytest.mark.usefixtures("without_gpu")
def test_the_full_tensorrt_builds_nothing_without_a_gpu(gpu_engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glic_deploy.tensorrt.installed", lambda: ["tensorrt"])
    for flavour in (None, "tensorrt"):
        with pytest.raises(to_trt.NoPlansError, match="there is no GPU here"):
            to_trt.build_plans(gpu_engine, flavour, BuildOptions(), SILENT)


@pytest.mark.usefixtures("without_gpu")
def test_a_missing_plugin_library_leaves_the_plans_out(gpu_engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "rtx" not in installed():
        pytest.skip("needs TensorRT-RTX: pip install tensorrt-rtx")
    monkeypatch.setattr("glic_deploy.tensorrt.flavours._loaded", {})
    absent = replace(by_name("tensorrt"), library="glic_absent")
    monkeypatch.setattr("glic_deploy.tensorrt.flavours.DECLARATION", absent)
    with pytest.raises(to_trt.NoPlansError, match=r"libglic_absent\.so not found.*make gpu-libraries"):
        to_trt.build_plans(gpu_engine, None, BuildOptions(), SILENT)


@pytest.mark.parametrize(
    ("checkpoint", "bundle"),
    [
        ("glic.pth", "glic.engine"),
        ("models/0.0130checkpoint_best.pth.tar", "0.0130checkpoint_best.engine"),
        ("glic.safetensors", "glic.engine"),
        ("weights", "weights.engine"),
    ],
)
def test_a_bundle_is_named_after_its_checkpoint(checkpoint: str, bundle: str) -> None:
    assert default_output(checkpoint) == Path(bundle)


def test_what_is_no_bundle_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(SAMPLE_CHECKPOINT, "glic.pth")
    Path("glic.engine").write_text("mine")
    assert to_trt.main(["--checkpoint", "glic.pth"]) == 1
    assert "is no engine bundle, so it is not replaced; name another directory: --output" in capsys.readouterr().err
    assert Path("glic.engine").read_text() == "mine"


def test_a_bundle_that_is_not_writable_is_named_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(directory: Path, precision: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(directory))

    monkeypatch.setattr(to_trt, "add_graphs", refuse)
    assert to_trt.main(["--engine", str(tmp_path / "glic.engine")]) == 1
    error = capsys.readouterr().err
    assert f"{tmp_path / 'glic.engine'}: Permission denied" in error
    assert "--output" not in error
    assert "copy it, and name the copy with --engine" in error
