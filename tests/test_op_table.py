"""The table of ops, `glic_deploy/ops.json`: what every op must have, and what the build refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from export.ops.functions import BODIES
from export.ops.translation import schema
from glic_deploy.ops import OPS, Op

from . import (
    test_block_ops,
    test_complexity_map,
    test_convolution,
    test_gated_ffn,
    test_integer,
    test_ops,
    test_transform_ops,
)
from .conftest import ROOT
from .hostile_ops import CASES

TABLE = "glic_deploy/ops.json"
ENTRIES = json.loads((ROOT / TABLE).read_text())

TESTS = (
    test_block_ops,
    test_complexity_map,
    test_convolution,
    test_gated_ffn,
    test_integer,
    test_ops,
    test_transform_ops,
)
ORACLES = {name for tests in TESTS for name in tests.ORACLES}

ALL_OPS = pytest.mark.parametrize("op", OPS.values(), ids=OPS)


@ALL_OPS
def test_every_op_has_a_page_an_interface_and_a_description(op: Op) -> None:
    folder = ROOT / "plugins_cpp" / op.folder
    for file, says in (("README.md", f"glic::{op.name}"), (f"{op.folder}.h", ""), ("op.h", f"struct {op.name} ")):
        assert (folder / file).is_file(), f"plugins_cpp/{op.folder}/{file} is missing: every op has one"
        assert says in (folder / file).read_text(), f"plugins_cpp/{op.folder}/{file} does not mention {says}"


@ALL_OPS
def test_every_op_has_a_function_body_with_its_inputs_and_outputs(op: Op) -> None:
    if op.maps:
        assert op.name not in BODIES, f"{op.name}: ops with constant weights have their own form in standard ONNX"
        return
    assert op.name in BODIES, f"{op.name} has no function body: add one to BODIES of export/ops/functions.py"
    header = BODIES[op.name].split("{", 1)[0]
    expected = f"({', '.join(op.inputs)}) => ({', '.join(op.outputs)})"
    assert expected in header, f"{op.name}: its function body has {header.strip()}, expected {expected}"


@ALL_OPS
def test_every_op_has_an_oracle(op: Op) -> None:
    assert op.name in ORACLES, f"{op.name} has no oracle: add one to ORACLES of tests/test_transform_ops.py"


@ALL_OPS
def test_every_op_has_a_hostile_case(op: Op) -> None:
    assert op.name in CASES, f"{op.name} has no valid node to spoil: add one to CASES of tests/hostile_ops.py"
    shapes, attributes = CASES[op.name]
    assert (len(shapes), set(attributes)) == (len(op.inputs), set(op.attributes))


@pytest.mark.parametrize("folder", [folder for folder, entry in ENTRIES.items() if entry["instruction_sets"]])
def test_every_kernel_of_several_instruction_sets_has_a_program_that_compares_them(folder: str) -> None:
    program = ROOT / "tests" / "native" / f"{folder}.cpp"
    assert program.is_file(), f"tests/native/{folder}.cpp is missing: write compare() and run() of tests/native/check.h"
    text = program.read_text()
    for op in ENTRIES[folder]["ops"]:
        assert op in text, f"tests/native/{folder}.cpp does not mention {op}"


@ALL_OPS
def test_every_op_has_a_schema(op: Op) -> None:
    made = schema(op)
    assert [parameter.name for parameter in made.inputs] == list(op.inputs)
    assert op.name == made.name


def test_no_oracle_body_or_case_is_of_an_unknown_op() -> None:
    for name in (*BODIES, *CASES, *ORACLES):
        assert name in OPS, f"{name} is no op of {TABLE}"


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
