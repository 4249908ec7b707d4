"""Fuzzes everything that reads, and says what was found.

    python -m tests.fuzz.run --seconds 600                      all targets, each for its share of the time
    python -m tests.fuzz.run --seconds 60 --target decoder      one of them (may be given several times)
    python -m tests.fuzz.run --replay out/fuzz/finds/images/*   inputs again, of the target that their folder names

Every target runs in a process of its own with bounded memory; the driver sees when one ends or stops answering, keeps
the input, and starts the next. The report has a line a target, then every kind of find with the file of its input and
the last lines of its traceback; --json writes the same. The exit code is 1 when anything was found, 2 when a target
does not start.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from . import targets
from .target import ROOT
from .worker import Current, Finds

CODER = "coder"
CODER_SHARE = 1.0
STARTS = 50  # of a target, before it is given up
SILENCE = 30.0  # seconds beyond a target's deadline after which a worker counts as hung


@dataclass
class Result:
    """What one target did."""

    target: str
    engine: str = ""
    inputs: int = 0
    seconds: float = 0.0
    finds: list[dict[str, Any]] = field(default_factory=list)
    failed: str = ""

    def add(self, report: dict[str, Any]) -> None:
        self.engine = report["engine"]
        self.inputs += report["inputs"]
        self.seconds += report["seconds"]
        for find in report["finds"]:
            same = next((known for known in self.finds if known["key"] == find["key"]), None)
            if same:
                same["count"] += find["count"]
            else:
                self.finds.append(find)


class Driver:
    """Starts workers and watches over them."""

    def __init__(self, args: argparse.Namespace, bundle: Path, scratch: Path) -> None:
        self._args, self._bundle, self._scratch = args, bundle, scratch
        self._finds: Path = args.out / "finds"

    def run(self, name: str, seconds: float) -> Result:
        """A target for so long, started again whenever it ends early."""
        if name == CODER:
            return self._coder(seconds)
        result = Result(name)
        end = time.monotonic() + seconds
        for start in range(STARTS):
            left = end - time.monotonic()
            runs = None if self._args.runs is None else self._args.runs - result.inputs
            if start and (left < 1 or (runs is not None and runs < 1)):
                break
            if not self._start(result, left, runs, self._args.seed + start):
                break
        return result

    def replay(self, name: str, paths: list[Path]) -> Result:
        """Inputs of earlier finds once more."""
        result = Result(name)
        for path in paths:  # one process each, since any of them may end it
            self._start(result, 1.0, None, 0, ["--replay", str(path)])
        return result

    def _start(
        self, result: Result, seconds: float, runs: int | None, seed: int, more: list[str] | None = None
    ) -> bool:
        """One worker; whether another is to follow."""
        folder = self._scratch / result.target
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        current = Current(folder / "current")
        options: dict[str, object] = {
            "target": result.target, "engine": self._args.engine, "bundle": self._bundle, "scratch": folder,
            "finds": self._finds, "seconds": seconds, "seed": seed, **({} if runs is None else {"runs": runs}),
        }  # fmt: skip
        command = [sys.executable, "-m", "tests.fuzz.worker"]
        command += [text for key, value in options.items() for text in (f"--{key}", str(value))] + (more or [])
        with open(folder / "log", "wb") as log:
            begin = time.monotonic()
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=os.environ | _QUIET)
            hung = self._watch(process, current, targets.find(result.target).deadline + SILENCE)
        report = folder / "report.json"
        if report.exists():
            result.add(json.loads(report.read_text()))
        if process.returncode == 0:
            return False
        lines = (folder / "log").read_text(errors="replace").splitlines()
        if current.count == 0:
            result.failed = "\n".join(lines[-15:]) or f"exit code {process.returncode}"
            return False
        kept = Finds(self._finds / result.target)
        ending = "Hung" if hung else f"Ended with {process.returncode}"
        frame = next((line.strip() for line in lines if _TELLING.match(line)), "")
        kept.add(f"{ending} {frame}"[:120], current.data, lines[-60:])
        seconds = time.monotonic() - begin
        inputs = 0 if report.exists() else current.count
        result.add({"engine": self._args.engine, "inputs": inputs, "seconds": 0.0 if report.exists() else seconds,
                    "finds": list(kept.rows.values())})  # fmt: skip
        return True

    def _watch(self, process: subprocess.Popen[bytes], current: Current, patience: float) -> bool:
        """Wait for a worker's end; True where it had to be made."""
        count, since = current.count, time.monotonic()
        while True:
            try:
                process.wait(timeout=0.2)
                return False
            except subprocess.TimeoutExpired:
                now = time.monotonic()
                if current.count != count:
                    count, since = current.count, now
                elif now - since > patience + (60 if count == 0 else 0):
                    process.kill()
                    process.wait()
                    return True

    def _coder(self, seconds: float) -> Result:
        """The range coder's own targets, native code under the sanitizers."""
        build = self._args.out / "coder"
        script = ROOT / "plugins_cpp" / "rans" / "fuzz" / "run.py"
        command = [sys.executable, str(script), "--seconds", str(max(seconds, 3)), "--build", str(build)]
        begin = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        said = done.stdout + done.stderr
        counts = re.findall(r"^(\d+) runs over|stat::number_of_executed_units:\s*(\d+)", said, re.MULTILINE)
        engine = "libFuzzer" if "with libFuzzer" in said else "g++"
        result = Result(CODER, engine, sum(int(a or b) for a, b in counts), time.monotonic() - begin)
        if done.returncode:
            trace = said.splitlines()[-20:]
            if "Sanitizer" in said or "failed:" in said:
                result.finds.append({"key": "coder", "count": 1, "files": [str(build)], "trace": trace})
            else:
                result.failed = "\n".join(trace)
        return result


# Of a worker's last words, the line that tells ends apart: a sanitizer's summary, or a frame of ours.
_TELLING = re.compile(r'\s*(SUMMARY|#\d+ .* in glic|File "/.*glic_deploy)')
_QUIET = {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1", "PYTHONWARNINGS": "ignore"}


def shares(names: list[str], seconds: float) -> dict[str, float]:
    """The seconds of each target."""
    weights = {name: CODER_SHARE if name == CODER else targets.find(name).share for name in names}
    return {name: seconds * weight / sum(weights.values()) for name, weight in weights.items()}


def sample_bundle(scratch: Path) -> Path:
    """An engine bundle of the sample network."""
    bundle = scratch / "engine"
    command = [sys.executable, "-m", "export.to_onnx", "--checkpoint", str(ROOT / "samples" / "glic_tiny.pth")]
    clean = {key: value for key, value in os.environ.items() if key not in ("LD_PRELOAD", "GLIC_NATIVE")}
    subprocess.run([*command, "--output", str(bundle)], check=True, cwd=ROOT, stdout=subprocess.DEVNULL, env=clean)
    return bundle


def row(result: Result) -> str:
    """The report's line of a target."""
    numbers = f"{result.inputs:12,}{result.seconds:10.1f}{len(result.finds):7}"
    return f"{result.target:15}{result.engine:11}{numbers}" + ("   DOES NOT START" if result.failed else "")


def details(results: list[Result]) -> str:
    """Every kind of find: its inputs' files and the last lines of its traceback."""
    lines: list[str] = []
    for result in results:
        if result.failed:
            lines += ["", f"{result.target} does not start:", *(f"    {line}" for line in result.failed.splitlines())]
        for find in result.finds:
            lines += ["", f"{result.target}: {find['key']} ({find['count']} inputs)"]
            lines += [*(f"  {file}" for file in find["files"]), *(f"    {line}" for line in find["trace"])]
    return "\n".join(lines)


def _results(args: argparse.Namespace, driver: Driver, names: Sequence[str]) -> Iterator[Result]:
    if args.replay:
        inputs = [path.resolve() for path in args.replay if path.suffix != ".txt"]
        for name in sorted({path.parent.name for path in inputs}):
            yield driver.replay(name, [path for path in inputs if path.parent.name == name])
        return
    print(f"seed {args.seed}, engine {args.engine}", flush=True)
    times = shares(list(dict.fromkeys(args.target or names)), args.seconds * args.jobs)
    with ThreadPoolExecutor(args.jobs) as pool:
        yield from pool.map(driver.run, times, times.values())


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = (*targets.NAMES, CODER)
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together (default: 60)")
    parser.add_argument("--runs", type=int, help="end a target after so many inputs too")
    parser.add_argument("--seed", type=int, default=None, help="of the mutations (default: the time)")
    parser.add_argument("--target", choices=names, action="append", help="only this one; may be given several times")
    parser.add_argument("--engine", choices=("auto", "atheris", "own"), default="auto", help="what feeds the targets")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time (default: 1); each has more time then")
    parser.add_argument("--bundle", type=Path, help="of the sample network (default: export one)")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "fuzz", help="where finds go (default: out/fuzz)")
    parser.add_argument("--json", type=Path, help="write the report as JSON too")
    parser.add_argument("--replay", type=Path, nargs="+", metavar="FIND", help="run inputs that were found before")
    args = parser.parse_args(argv)
    if args.engine == "auto":
        args.engine = "atheris" if importlib.util.find_spec("atheris") else "own"
    args.seed = args.seed if args.seed is not None else int(time.time()) % (1 << 31)
    args.out = args.out.resolve()
    with tempfile.TemporaryDirectory(prefix="glic-fuzz-") as folder:
        scratch = Path(folder)
        bundle = args.bundle.resolve() if args.bundle else sample_bundle(scratch)
        driver = Driver(args, bundle, scratch)
        results: list[Result] = []
        for result in _results(args, driver, names):
            if not results:
                print(f"{'target':15}{'engine':11}{'inputs':>12}{'seconds':>10}{'finds':>7}")
            print(row(result), flush=True)
            results.append(result)
    print(details(results))
    if args.json:
        args.json.write_text(json.dumps([asdict(result) for result in results], indent=2))
    return 2 if any(result.failed for result in results) else int(any(result.finds for result in results))


if __name__ == "__main__":
    sys.exit(main())
