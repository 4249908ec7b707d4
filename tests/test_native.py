"""Which shared library glic_deploy.native finds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import glic_deploy
from glic_deploy import native
from glic_deploy.errors import PluginError


@pytest.fixture
def gpu_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path that holds glic-deploy-cuda of the present version, with a library of the name `extra`."""
    library = tmp_path / "glic_deploy_cuda" / "_native" / native.file_name("extra")
    library.parent.mkdir(parents=True)
    library.write_bytes(b"")
    (tmp_path / "glic_deploy_cuda" / "__init__.py").touch()
    describe(tmp_path, glic_deploy.__version__)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("GLIC_NATIVE", raising=False)
    return tmp_path


def describe(folder: Path, version: str) -> None:
    metadata = folder / "glic_deploy_cuda.dist-info" / "METADATA"
    metadata.parent.mkdir(exist_ok=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: glic-deploy-cuda\nVersion: {version}\n")


def test_the_gpu_package_is_found(gpu_package: Path) -> None:
    path = native.library_path("extra")
    assert path == gpu_package / "glic_deploy_cuda" / "_native" / native.file_name("extra")


def test_a_gpu_package_of_another_version_is_refused(gpu_package: Path) -> None:
    describe(gpu_package, "0.0.9")
    with pytest.raises(PluginError, match=r"glic-deploy-cuda 0\.0\.9, glic-deploy is .*pip install glic-deploy-cuda=="):
        native.library_path("extra")


def test_a_library_of_neither_is_missing(gpu_package: Path) -> None:
    with pytest.raises(PluginError, match=r"absent.* not found in .*_native.*do this") as caught:
        native.library_path("absent", "do this")
    assert caught.value.missing


def test_a_named_folder_comes_first(gpu_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = tmp_path / "other build"
    named.mkdir()
    (named / native.file_name("extra")).touch()
    monkeypatch.setenv("GLIC_NATIVE", str(named))
    assert native.library_path("extra").parent == named


@pytest.mark.parametrize(
    ("system", "expected"), [("linux", "librans.so"), ("darwin", "librans.dylib"), ("win32", "rans.dll")]
)
def test_names_on_each_system(system: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", system)
    assert native.file_name("rans") == expected
