"""Shared fixtures: where the large test data is, and what to say when it is not there."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver

    from export.checkpoint import Checkpoint

    from .tensorrt_simulation import SimulatedTensorRT

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data"
SAMPLE_CHECKPOINT = ROOT / "samples" / "glic_tiny.pth"
PHOTOS = ROOT / "samples" / "photos"


def large_data(relative: str) -> Path:
    """Path of a large test file or folder, under GLIC_TEST_DATA or beside the checkout; skips the test when absent."""
    base = Path(os.environ.get("GLIC_TEST_DATA", ROOT.parent / "shared"))
    path = base / relative
    if not path.exists():
        pytest.skip(f"needs {relative} of the large test data; set GLIC_TEST_DATA to the folder that holds it")
    return path


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests neither find nor leave anything in the user's cache."""
    os.environ["GLIC_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def cuda_kernels() -> None:
    """Skip the test unless PyTorch sees a GPU and the library of the CUDA kernels is built."""
    import torch

    from glic_deploy import PluginError, native

    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU and a PyTorch built for CUDA")
    try:
        native.library_path("glic_cuda")
    except PluginError as error:
        pytest.skip(f"needs the CUDA kernels: {error}; make gpu-libraries")


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    """The small trained network that ships with the project."""
    from export.checkpoint import load_checkpoint

    return load_checkpoint(SAMPLE_CHECKPOINT)


@pytest.fixture(scope="session")
def engine(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine bundle of the small network, without encoder data. Tests must not change it.

    It is a copy of one that an earlier session exported with the same exporter, where there is one: see `exported`.
    """
    from export.to_onnx import export_bundle

    path = tmp_path_factory.mktemp("bundles") / "sample"
    kept = exported()
    with alone(kept):
        if not kept.exists():
            export_bundle(checkpoint, kept, exchange=None)
    shutil.copytree(kept, path)
    return path


def heed_signals() -> None:
    """Undo in a child what the tests' own parent may have ignored, as nohup and background jobs do."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Let one test process at a time make what is at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def exported() -> Path:
    """Where the sample network's bundle is kept; changes with all that decides what an export writes."""
    digest = hashlib.sha256()
    folders = (ROOT / "export", *(ROOT / "glic_deploy" / name for name in ("bundle", "entropy")))
    sources = [path for folder in folders for path in folder.rglob("*")]
    sources += [
        *(
            ROOT / "glic_deploy" / name
            for name in ("bundle_codec.py", "container.py", "image.py", "limits.py", "scales.py")
        ),
        SAMPLE_CHECKPOINT,
    ]
    for source in sorted(path for path in sources if path.is_file() and path.suffix != ".pyc"):
        digest.update(f"{source.relative_to(ROOT)} {hashlib.sha256(source.read_bytes()).hexdigest()}\n".encode())
    for package in ("numpy", "torch", "onnx", "onnxscript"):
        digest.update(f"{package} {metadata.version(package)}\n".encode())
    folder = Path(os.environ.get("GLIC_TEST_CACHE", ROOT / "out" / "test_engines"))
    return folder / digest.hexdigest()[:16] / "sample"


@pytest.fixture(scope="session")
def golden_engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the golden network, without transforms. Tests must not change it."""
    from .golden_files import write_bundle

    return write_bundle(tmp_path_factory.mktemp("golden") / "engine").path


@pytest.fixture(scope="session")
def gpu_engine(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the graphs that TensorRT runs, in float16. Tests must not change it."""
    from export.tensorrt_bundle import add_graphs

    path = tmp_path_factory.mktemp("bundles") / "tensorrt"
    shutil.copytree(engine, path)
    add_graphs(path, "fp16")
    return path


@pytest.fixture
def simulation(gpu_engine: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatedTensorRT:
    """A simulated GPU with TensorRT, and the bundle for it."""
    from .tensorrt_simulation import simulated

    return simulated(gpu_engine, monkeypatch)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own for the test, which holds nothing."""
    monkeypatch.setenv("GLIC_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def browser() -> Iterator[WebDriver]:
    """Headless Chromium that logs what it requests. Tests that load a page set the window's size first."""
    from glic_deploy.errors import EngineError

    from .web_browser import chromium

    with ExitStack() as stack:
        try:
            started = stack.enter_context(chromium())
        except EngineError as error:
            pytest.skip(str(error))
        yield started.driver


@pytest.fixture(scope="session")
def web_page() -> Path:
    """The page of `glic view`, built from its sources with `make web`."""
    for program in ("make", "node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"the page of glic view needs {program} to be built; install make, Node.js 20 and npm")
    with alone(ROOT / "build" / "web"):
        installed = subprocess.run(["make", "-s", "web-packages"], cwd=ROOT, capture_output=True, text=True)
        if installed.returncode:
            pytest.skip(f"the page of glic view needs npm's packages: {installed.stderr.strip()[-300:]}")
        subprocess.run(["make", "-s", "web"], cwd=ROOT, check=True)
    return ROOT / "glic_deploy" / "web_page"


@pytest.fixture
def pillow_as_it_is() -> Iterator[None]:
    """Undo, at the end of the test, what the test registers in Pillow."""
    from PIL import Image

    Image.init()  # Pillow registers its own formats once, so they must be there before the registries are copied.
    with pytest.MonkeyPatch.context() as patch:
        for registry in ("ID", "OPEN", "SAVE", "EXTENSION", "MIME"):
            patch.setattr(Image, registry, Image.__dict__[registry].copy())
        yield
