"""The table of ops, `glic_deploy/ops.json`: the build refuses a folder that it lacks, and an entry without a folder."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import ROOT

TABLE = "glic_deploy/ops.json"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of what CMake reads."""
    if shutil.which("cmake") is None:
        pytest.skip("needs cmake: pip install cmake")
    copy = tmp_path / "source"
    for folder in ("cmake", "plugins_cpp", "third_party"):
        shutil.copytree(ROOT / folder, copy / folder)
    (copy / "glic_deploy").mkdir()
    for file in ("CMakeLists.txt", TABLE):
        shutil.copy(ROOT / file, copy / file)
    return copy


def refusal(source: Path) -> str:
    """The error with which the configuration of a source tree ends, as one line."""
    command = ["cmake", "-S", source, "-B", source / "build"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode != 0, done.stdout
    return " ".join(done.stderr.split())


def test_a_folder_that_is_not_listed_is_refused(source: Path) -> None:
    (source / "plugins_cpp" / "new_op").mkdir()
    assert f"plugins_cpp/new_op is listed nowhere: add the ops of the folder to {TABLE}" in refusal(source)


def test_a_listed_op_without_its_folder_is_refused(source: Path) -> None:
    (source / "plugins_cpp" / "gate").rename(source / "plugins_cpp" / "rans" / "gate")
    assert "plugins_cpp/gate does not exist, but is listed" in refusal(source)


@pytest.mark.parametrize("key", ["libraries", "instruction_sets"])
def test_an_unknown_word_of_the_table_is_refused(source: Path, key: str) -> None:
    table = json.loads((source / TABLE).read_text())
    table["gate"][key].append("openvimo")
    (source / TABLE).write_text(json.dumps(table))
    assert f'{TABLE}: gate: {key} has "openvimo", expected one of' in refusal(source)
