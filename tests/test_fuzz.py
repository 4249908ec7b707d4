"""The fuzz targets with a fixed seed, for a short while, and the driver's own rules; `make fuzz` takes longer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT
from .fuzz import run, targets

SECONDS = 6  # of fuzzing, for all targets together; starting them takes as long again


@pytest.fixture(scope="module")
def report(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the driver reports of each target."""
    path = tmp_path_factory.mktemp("fuzz") / "report.json"
    options = ["--seconds", str(SECONDS / 2), "--jobs", "2", "--engine", "own", "--seed", "1", "--json", str(path)]
    run.main([*options, "--bundle", str(engine), *(f"--target={name}" for name in targets.NAMES)])
    return {row["target"]: row for row in json.loads(path.read_text())}


@pytest.mark.parametrize("name", targets.NAMES)
def test_nothing_is_found(report: dict[str, dict[str, Any]], name: str) -> None:
    row = report[name]
    assert not row["failed"], row["failed"]
    assert row["inputs"] > 0
    assert not row["finds"], run.details([run.Result(**row)])


BROKEN = {
    "exception": "KeyError",
    "rule": "an input was replaced",
    "hang": "Hang",
    "reserve": "MemoryError",
    "grow": "memory",
    "end": "Ended with -9",
}


def test_every_broken_rule_is_told_and_its_input_kept(tmp_path: Path) -> None:
    folder = tmp_path / "planted"
    folder.mkdir()
    for data in ("fine", "refused", *BROKEN):
        (folder / data).write_bytes(data.encode())
    report = tmp_path / "report.json"
    options = ["--bundle", str(tmp_path), "--out", str(tmp_path / "out"), "--json", str(report), "--engine", "own"]
    code = run.main([*options, "--replay", *map(str, sorted(folder.iterdir()))])
    (row,) = json.loads(report.read_text())
    assert code == 1
    found = {Path(find["files"][0]).read_bytes().decode(): find for find in row["finds"]}
    assert found.keys() == BROKEN.keys()
    for data, start in BROKEN.items():
        assert found[data]["key"].startswith(start)
        assert found[data]["trace"] or data == "end"


@pytest.mark.slow
def test_nothing_is_reported_by_the_sanitizers(engine: Path) -> None:
    if not shutil.which("cmake") or not shutil.which("g++"):
        pytest.skip("needs cmake and g++ to build the libraries with sanitizers")
    command = [sys.executable, "-m", "tests.fuzz.sanitize", "--short", "--seconds", "15", "--bundle", str(engine)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1800)
    if "has no libasan" in done.stderr:
        pytest.skip("needs the compiler's AddressSanitizer and UndefinedBehaviorSanitizer runtimes (libasan, libubsan)")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
