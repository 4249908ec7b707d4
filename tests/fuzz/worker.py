"""Runs one target in this process for a while and writes what it found; `run.py` starts it and outlives it.

The input at work lies in a file that both processes map, so that the driver knows which one ended or held the worker.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import hashlib
import json
import mmap
import os
import random
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from .mutate import LONGEST
from .target import ROOT, Find, Place, Target

KEPT = 3  # inputs of finds that look alike
_POOL = 2000
_HEAD = 16  # bytes of the mapped file before the input: how many inputs there were, the length of this one
MAPPED = _HEAD + LONGEST + (1 << 16)


class Hang(BaseException):
    """An input took longer than its target allows. No Exception, so that nothing swallows it."""


class Current:
    """The input at work, as the driver sees it."""

    def __init__(self, path: Path) -> None:
        with open(path, "a+b") as file:
            file.truncate(MAPPED)
            self._map = mmap.mmap(file.fileno(), MAPPED)

    def set(self, data: bytes) -> None:
        self._map[8:_HEAD] = len(data).to_bytes(8, "little")
        self._map[_HEAD : _HEAD + len(data)] = data
        self._map[:8] = (self.count + 1).to_bytes(8, "little")

    @property
    def count(self) -> int:
        return int.from_bytes(self._map[:8], "little")

    @property
    def data(self) -> bytes:
        return self._map[_HEAD : _HEAD + int.from_bytes(self._map[8:_HEAD], "little")]


class Finds:
    """Inputs that broke a rule, one folder a target; those that look alike are counted, a few of them kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.rows: dict[str, dict[str, Any]] = {}

    def add(self, key: str, data: bytes, lines: list[str]) -> None:
        row = self.rows.setdefault(key, {"key": key, "count": 0, "files": [], "trace": _shortened(lines)})
        row["count"] += 1
        if len(row["files"]) >= KEPT:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{re.sub(r'[^A-Za-z0-9]+', '-', key)[:60]}-{hashlib.sha256(data).hexdigest()[:10]}"
        if str(path) in row["files"]:
            return
        path.write_bytes(data)
        path.with_suffix(".txt").write_text("\n".join(lines) + "\n", errors="backslashreplace")
        row["files"].append(str(path))


def _shortened(lines: list[str]) -> list[str]:
    """The end of a traceback: its last frames, and of a message of many lines the first."""
    lines = [line[:300] for line in lines if not set(line) <= set(" ^~")]
    frames = [number for number, line in enumerate(lines) if line.startswith("  File ")]
    if not frames:
        return lines[-14:]
    return lines[frames[-min(3, len(frames))] :][:14]


class Judge:
    """Gives a target its inputs and sees what comes of them."""

    def __init__(self, target: Target, current: Current, finds: Finds, *, bounded: bool) -> None:
        self._target, self._current, self._finds = target, current, finds
        self._bounded = bounded
        self.inputs = 0
        signal.signal(signal.SIGALRM, _hang)
        gc.collect()
        self._most = _peak() + target.memory
        if bounded:
            # Address space that nothing touches counts too, with room for threads and for what libraries reserve.
            ceiling = _address_space() + target.memory + (1 << 30)
            resource.setrlimit(resource.RLIMIT_AS, (ceiling, resource.RLIM_INFINITY))

    def __call__(self, data: bytes) -> Hashable:
        """What kind of result the input had, in which inputs of one kind are equal."""
        self.inputs += 1
        self._current.set(data)
        signal.setitimer(signal.ITIMER_REAL, self._target.deadline)
        try:
            return "done", self._target.fuzz_one(data)
        except self._target.expected as error:
            return type(error).__name__, _where(error)
        except (Exception, Hang) as error:
            signal.setitimer(signal.ITIMER_REAL, 0)
            key = _key(error)
            lines = traceback.format_exception(type(error), error, error.__traceback__)
            self._finds.add(key, data, "".join(lines).rstrip().splitlines())
            return "find", key
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            if self._bounded and (peak := _peak()) > self._most:
                grown = (peak - self._most + self._target.memory) >> 20
                self._finds.add("memory", data, [f"the process grew by {grown} MiB", _allowed(self._target)])
                self._most = peak + self._target.memory // 4


def _hang(number: int, frame: FrameType | None) -> None:
    raise Hang("no result within the target's deadline")


def _allowed(target: Target) -> str:
    return f"{target.name} may grow by {target.memory >> 20} MiB"


def _key(error: BaseException) -> str:
    """What finds that are likely to be the same have in common: the rule that was broken, or the line that raised."""
    if isinstance(error, Find):
        return re.sub(r"\d+", "N", str(error).splitlines()[0])[:100]
    return f"{type(error).__name__} at {_where(error)}"


def _peak() -> int:
    """Most memory that the process had, in bytes. Not of getrusage, which counts what was before this program."""
    with open("/proc/self/status", "rb") as status:
        found = re.search(rb"VmHWM:\s*(\d+) kB", status.read())
    assert found
    return int(found[1]) * 1024


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE


def _where(error: BaseException) -> str:
    """The innermost line of the project's that an error passed through."""
    frames = [
        f"{Path(frame.filename).name}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if str(ROOT) in frame.filename and "site-packages" not in frame.filename and "/tests/" not in frame.filename
    ]
    return frames[-1] if frames else "?"


@contextmanager
def _report(path: Path, target: Target, judge: Judge, finds: Finds, engine: str) -> Iterator[Any]:
    begin = time.monotonic()

    def write() -> None:
        document = {
            "target": target.name,
            "engine": engine,
            "inputs": judge.inputs,
            "seconds": time.monotonic() - begin,
            "finds": list(finds.rows.values()),
        }
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(document))
        partial.replace(path)

    try:
        yield write
    finally:
        write()


def mutate_and_run(target: Target, judge: Judge, seed: int, seconds: float, runs: int | None, write: Any) -> None:
    """Our own engine: what one seed gives is always the same. Inputs with results of a new kind are used again."""
    rng = random.Random(seed)
    pool, kinds = list(target.seeds()), set()
    rng.shuffle(pool)
    end, next_report = time.monotonic() + seconds, 0.0
    for data in list(pool):
        if time.monotonic() < end:
            kinds.add(judge(data))
    for _ in range(runs if runs is not None else 1 << 62):
        now = time.monotonic()
        if now >= end:
            return
        if now > next_report:
            write()
            next_report = now + 1
        data = target.mutate(rng.choice(pool), rng, pool)[:LONGEST]
        kind = judge(data)
        if kind not in kinds and kind[0] != "find" and len(pool) < _POOL:
            pool.append(data)
        kinds.add(kind)


def run_atheris(
    target: Target, judge: Judge, seed: int, seconds: float, runs: int | None, write: Any, corpus: Path
) -> None:
    """Atheris with the target's mutator beside its own; it never returns, so that the process ends here."""
    import atheris

    corpus.mkdir(parents=True, exist_ok=True)
    seeds = target.seeds()
    for content in seeds:
        (corpus / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)
    end, next_report = time.monotonic() + seconds, 0.0

    def one(data: bytes) -> None:
        nonlocal next_report
        judge(data)
        now = time.monotonic()
        done = now >= end or (runs is not None and judge.inputs >= runs)
        if done or now > next_report:
            write()
            next_report = now + 1
        if done:
            sys.stdout.flush()
            os._exit(0)

    def mutate(data: bytes, most: int, number: int) -> bytes:
        rng = random.Random(number)
        if rng.random() < 0.3:
            return atheris.Mutate(data, most)
        try:
            return target.mutate(data, rng, seeds)[:most]
        except Exception:  # Atheris would wait for ever
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(3)

    longest = max(1 << 16, 2 * max(map(len, seeds)))
    options = [
        f"-seed={seed}",
        "-timeout=0",
        "-rss_limit_mb=0",
        f"-max_len={longest}",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one, custom_mutator=mutate)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True)
    parser.add_argument("--engine", choices=("atheris", "own"), required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--finds", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--runs", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replay", type=Path, nargs="*", help="run these inputs alone")
    args = parser.parse_args()
    faulthandler.enable()
    os.environ["GLIC_CACHE"] = str(args.scratch / "cache")
    from . import targets

    if args.engine == "atheris":
        import atheris

        with atheris.instrument_imports(include=["glic_deploy", "export"]):
            target = targets.find(args.target)(Place(args.bundle, args.scratch))
    else:
        target = targets.find(args.target)(Place(args.bundle, args.scratch))
    finds = Finds(args.finds / args.target)
    sanitized = "libasan" in os.environ.get("LD_PRELOAD", "")  # it reserves terabytes, and keeps what is freed
    judge = Judge(target, Current(args.scratch / "current"), finds, bounded=not sanitized)
    with _report(args.scratch / "report.json", target, judge, finds, args.engine) as write:
        if args.replay is not None:
            for path in args.replay:
                judge(path.read_bytes())
        elif args.engine == "atheris":
            run_atheris(target, judge, args.seed, args.seconds, args.runs, write, args.scratch / "corpus")
        else:
            mutate_and_run(target, judge, args.seed, args.seconds, args.runs, write)


if __name__ == "__main__":
    main()
