"""The check on a machine with a GPU: its steps, what it resumes, and its pieces. No GPU is needed."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from benchmarks import gpu_check
from benchmarks.gpu_check import Piece, Step, check


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "passed.json"


def recorded(calls: list[str], name: str, result: bool) -> Step:
    def step(piece: Piece) -> bool:
        calls.append(name)
        return result

    return step


def test_what_has_passed_is_not_run_again_in_the_same_state(record: Path) -> None:
    calls: list[str] = []
    todo = {name: recorded(calls, name, name != "b") for name in "abc"}
    expected = {"a": True, "b": False, "c": True}
    assert check(todo, record, "state", None) == expected
    assert calls == ["a", "b", "c"]
    assert check(todo, record, "state", None) == expected
    assert calls == ["a", "b", "c", "b"]
    check(todo, record, "another state", None)  # other sources, another GPU or driver
    assert calls[4:] == ["a", "b", "c"]


def test_a_piece_ends_in_time_and_the_next_goes_on(record: Path, tmp_path: Path) -> None:
    survivor = tmp_path / "survivor"
    child = f"import time; time.sleep(2); open({str(survivor)!r}, 'w')"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    calls: list[str] = []

    def slow(piece: Piece) -> bool:
        return piece.run(sys.executable, "-c", parent)

    start = time.monotonic()
    todo = {"quick": recorded(calls, "quick", True), "slow": slow, "last": recorded(calls, "last", True)}
    assert check(todo, record, "state", 0.5) == {"quick": True, "slow": None, "last": None}
    assert time.monotonic() - start < 2
    assert json.loads(record.read_text())["passed"] == {"quick": True}
    assert check(todo | {"slow": recorded(calls, "slow", True)}, record, "state", 0.5) == dict.fromkeys(todo, True)
    assert calls == ["quick", "slow", "last"]
    time.sleep(max(0, start + 3 - time.monotonic()))
    assert not survivor.exists(), "a process of the ended step went on"


def test_no_command_starts_after_the_end_of_a_piece() -> None:
    with pytest.raises(gpu_check.OutOfTimeError):
        Piece(0).run("false")


@pytest.mark.parametrize("tensorrt", [False, True])
def test_the_commands_of_the_steps_exist(tensorrt: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every step runs modules and tests that exist, on bundles that an earlier step has made."""
    made: set[Path] = set()
    monkeypatch.setattr(gpu_check, "OUT", tmp_path)
    monkeypatch.setattr(gpu_check, "sanitizer", lambda: "compute-sanitizer")

    class Recording(Piece):
        def run(self, *command: str | Path, **environment: str) -> bool:
            words = [str(part) for part in command]
            module = words[words.index("-m") + 1]
            if module != "pytest":
                assert (gpu_check.ROOT / f"{module.replace('.', '/')}.py").exists(), module
            for test in (word for word in words if word.startswith("tests/")):
                path, _, function = test.partition("::")
                assert not function or f"def {function}(" in (gpu_check.ROOT / path).read_text()
            if "--engine" in words:
                assert Path(words[words.index("--engine") + 1]) in made
            if "--output" in words:
                made.add(Path(words[words.index("--output") + 1]))
            return True

    steps = gpu_check.steps(tensorrt)
    assert all(step(Recording(None)) for step in steps.values())
    assert any("plans" in name for name in steps) == tensorrt
