"""The conformance files, and those of all earlier releases, on every CPU backend and instruction set."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from glic_deploy import PluginError, container, errors
from glic_deploy.backends.declarations import BACKENDS
from glic_deploy.bundle import Bundle
from glic_deploy.entropy.rans import InstructionSet
from glic_deploy.metadata import EXIF, ICC, XMP

from . import releases
from .conformance_check import FOLDER, LIST
from .conformance_corpus import Corpus
from .conftest import ROOT

# A form of the graphs and the instruction sets of the kernels and of the range coder.
RUNS = [
    ("onnxruntime", "native", "portable", "scalar"),
    ("onnxruntime", "native", "avx2", "avx2"),
    ("onnxruntime", "native", "avx512", "avx512"),
    ("onnxruntime", "native", "neon", "neon"),
    ("onnxruntime", "base", "portable", "best"),
    pytest.param("openvino", "native", "portable", "scalar", marks=pytest.mark.slow),
    ("openvino", "native", "avx512", "best"),
]


def check(python: list[str], bundle: Path, *options: str, kernels: str = "") -> None:
    command = [*python, "-m", "tests.conformance_check", "--bundle", str(bundle), *options]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"GLIC_ISA": kernels}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize(("backend", "form", "kernels", "coder"), RUNS)
def test_all_files_on(golden_engine: Path, backend: str, form: str, kernels: str, coder: str) -> None:
    """In a process of its own, since the kernels choose their instruction set once."""
    declaration = next(declared for declared in BACKENDS if declared.name == backend)
    if not declaration.is_installed():
        pytest.skip(f"needs {backend}: {declaration.remedy}")
    if form == "native":
        try:
            declaration.library_path()
        except PluginError as error:
            pytest.skip(f"needs the native library of {backend}: {error}")
    if not InstructionSet[coder.upper()].available():
        pytest.skip(f"needs a CPU with {coder}")
    check([sys.executable], golden_engine, "--backend", backend, "--form", form, "--isa", coder, kernels=kernels)


@pytest.mark.slow
@pytest.mark.parametrize(("kernels", "coder"), [("", "best"), ("neon", "neon"), ("portable", "scalar")])
def test_all_files_on_arm64(golden_engine: Path, kernels: str, coder: str) -> None:
    python = os.environ.get("GLIC_ARM64_PYTHON")
    if not python:
        pytest.skip(
            "needs a Python for ARM64 with glic_deploy installed, on an emulator or a machine that sees this folder: "
            "set GLIC_ARM64_PYTHON to the command that runs it"
        )
    check(shlex.split(python), golden_engine, "--isa", coder, kernels=kernels)


def test_equal_images_give_equal_files(golden_engine: Path) -> None:
    """Files with alpha or metadata apart, whose deflate streams depend on the version of zlib."""
    compared = 0
    for name, data in Corpus(Bundle.open(golden_engine)).valid():
        header = container.parse_header(data)
        if not header.alpha and not any(field.number in (EXIF, XMP, ICC) for field in header.fields):
            assert data == (FOLDER / "valid" / f"{name}.glic").read_bytes(), name
            compared += 1
    assert compared > 20


class TestCheck:
    """The check itself finds what is wrong."""

    @pytest.fixture
    def copy(self, tmp_path: Path) -> Path:
        return shutil.copytree(FOLDER, tmp_path / "corpus")

    def run(self, golden_engine: Path, folder: Path) -> str:
        with pytest.raises(AssertionError) as caught:
            check([sys.executable], golden_engine, "--folder", str(folder))
        return str(caught.value)

    def test_other_results_are_found(self, golden_engine: Path, copy: Path) -> None:
        listed = json.loads((copy / LIST).read_text())
        valid, damaged = listed["valid"], listed["damaged"]
        valid["whole.glic"]["symbols"] = valid["tiled.glic"]["symbols"]
        valid["alpha.glic"]["alpha"] = valid["alpha_tiled.glic"]["alpha"]
        valid["metadata.glic"]["metadata"]["xmp"] = valid["metadata.glic"]["metadata"]["icc"]
        damaged["appended.glic"]["error"] = "LimitError"
        damaged["stream_cut.glic"]["phrase"] = "no such words"
        (copy / LIST).write_text(json.dumps(listed))
        shutil.copy(copy / "valid" / "whole.glic", copy / "damaged" / "cut_in_payload.glic")
        shutil.copy(copy / "valid" / "whole.glic", copy / "valid" / "unlisted.glic")
        (copy / "valid" / "pixel.glic").unlink()
        found = self.run(golden_engine, copy)
        for words in (
            "valid/whole.glic: AssertionError: decodes to", "valid/alpha.glic: ", "valid/metadata.glic: ",
            "damaged/appended.glic: AssertionError: gives [('BitstreamError'", "damaged/stream_cut.glic: ",
            "damaged/cut_in_payload.glic: AssertionError: gives no error", "valid/unlisted.glic is not in the list",
            "valid/pixel.glic is missing",
        ):  # fmt: skip
            assert words in found
        assert found.count(".glic") == 8

    def test_every_error_is_a_class_of_the_package(self) -> None:
        listed = json.loads((FOLDER / LIST).read_text())
        assert {entry["error"] for entry in listed["damaged"].values()} <= vars(errors).keys()


class TestReleases:
    @pytest.mark.parametrize("version", releases.RELEASES or [None])
    def test_files_of_earlier_releases_decode(self, golden_engine: Path, version: str | None) -> None:
        if version is None:
            pytest.skip("nothing has been released yet")
        check([sys.executable], golden_engine, "--folder", str(releases.FOLDER / version))

    def test_files_of_earlier_releases_are_there(self) -> None:
        changelog = (ROOT / "CHANGELOG.md").read_text()
        assert releases.problems(releases.FOLDER, releases.RELEASES, changelog) == []

    def test_what_was_released_cannot_change_unnoticed(self, tmp_path: Path) -> None:
        line = releases.add("1.0.0", tmp_path)
        recorded, changelog = json.loads("{" + line.rstrip(",") + "}"), "## [Unreleased]\n\n## [1.0.0] - 2030-01-01\n"
        assert releases.problems(tmp_path, recorded, changelog) == []
        assert releases.problems(tmp_path, {}, changelog) == ["1.0.0 has files and is not in RELEASES"]
        (tmp_path / "1.0.0" / "valid" / "pixel.glic").unlink()
        (problem,) = releases.problems(tmp_path, recorded, changelog)
        assert problem.startswith("a file of 1.0.0 was changed, added or removed")
        shutil.rmtree(tmp_path / "1.0.0")
        missing = releases.problems(tmp_path, recorded, changelog)
        assert [text.split(": ")[0] for text in missing] == [
            "1.0.0 is released and has no files", "the files of 1.0.0 are gone"
        ]  # fmt: skip
