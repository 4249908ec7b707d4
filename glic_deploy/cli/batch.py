"""Run encode or decode over all files: print a line for each file and a summary to stderr, and write JSON."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .. import __version__, many
from ..files import sweep
from ..metrics import bits_per_pixel
from ..run_manifest import RunManifest, identity
from . import exits, messages, output, targets
from .messages import console
from .paths import STDIO, Job

Row = dict[str, Any]


class Work(ABC):
    """Read, code and write one file. With workers, the steps of different files overlap.

    Attributes:
        doing: verb of the status line, such as "encoding".
    """

    doing: str

    @abstractmethod
    def read(self, job: Job) -> Any:
        """Read the job's source; the result is passed to `code`."""

    @abstractmethod
    def code(self, data: Any, row: Row) -> Any:
        """Code the data that `read` returned; the result is passed to `write`.

        Fill `row` with the results to report: at least `width`, `height` and `bytes` (size of the `.glic` file).
        """

    @abstractmethod
    def write(self, job: Job, coded: Any) -> None:
        """Write the job's target with `output.open_output`."""


@dataclass
class _Task:
    job: Job
    row: Row = field(default_factory=dict)
    begin: float = 0.0
    source: dict[str, int] = field(default_factory=dict)
    data: Any = None


class Batch:
    """Run a command's work over its files. A file that fails does not stop the others.

    With a manifest, a file is skipped if the manifest records its output as complete, and each outcome is recorded.
    """

    def __init__(
        self, command: str, args: argparse.Namespace, codec: Mapping[str, Any], manifest: RunManifest | None = None
    ) -> None:
        self._command = command
        self._json_target: str | None = args.json
        self._quiet: bool = args.quiet
        self._debug: bool = args.debug
        self._workers: int = args.workers or 0
        self._codec = dict(codec)
        self._manifest = manifest
        self._unrecorded = False

    def run(self, jobs: Sequence[Job], work: Work) -> int:
        """Run all jobs and return the exit code: OK, or the code that all failures share, or FAILED."""
        rows: list[Row] = []
        errors: list[BaseException] = []
        start = time.perf_counter()
        for folder in {os.path.dirname(job.target) or "." for job in jobs if job.target != STDIO}:
            sweep(folder)
        with contextlib.closing(self._outcomes(jobs, work)) as outcomes:
            for number, job in enumerate(jobs, 1):
                place = f"[{number}/{len(jobs)}] " if len(jobs) > 1 else ""
                row: Row = {"input": job.source, "output": job.target}
                with console.status(None if self._quiet else f"{place}{job.source}: {work.doing}"):
                    outcome = next(outcomes)
                if isinstance(outcome, Exception):
                    if self._debug and not isinstance(outcome, exits.EXPECTED):
                        raise outcome
                    errors.append(outcome)
                    row |= {"ok": False, **exits.as_json(outcome)}
                    self._complain(place, job, outcome)
                else:
                    row |= {"ok": True, **outcome.row}
                    row["bpp"] = bits_per_pixel(row["bytes"], row["width"] * row["height"])
                    if not row.get("skipped"):
                        self._say(f"{place}{job.source} -> {job.target}: {numbers(row)}")
                self._record(job, row, outcome, errors)
                rows.append(row)
        summary = _summary(rows, time.perf_counter() - start)
        if len(jobs) > 1:
            before = f" ({summary['skipped']} of them before)" if summary["skipped"] else ""
            done = summary["files"] - summary["failed"]
            self._say(f"{done} of {summary['files']} files done{before}: {numbers(summary)}")
        if self._json_target:
            document = {"command": self._command, "version": __version__, "codec": self._codec}
            others = {"warnings": messages.collected()}
            output.write_json(self._json_target, document | {"files": rows, "summary": summary} | others)
        return exits.code_of_all(errors)

    def _outcomes(self, jobs: Sequence[Job], work: Work) -> Generator[Any, None, None]:
        """Yield the finished task or the exception of each job, in order. Without workers, no thread is started."""

        def read(task: _Task) -> _Task:
            task.begin = time.perf_counter()
            targets.check_writable(task.job.target)
            if self._manifest is not None:
                task.source = identity(task.job.source)
                if done := self._manifest.find(task.job.target, task.source):
                    task.row = {**done, "skipped": True}
                    return task
            task.row["warnings"] = []
            task.data = work.read(task.job)
            return task

        def code(task: _Task) -> _Task:
            if "skipped" not in task.row:
                with messages.collect(task.job.source, task.row["warnings"]):
                    task.data = work.code(task.data, task.row)
            return task

        def write(task: _Task) -> _Task:
            if "skipped" not in task.row:
                with messages.collect(task.job.source, task.row["warnings"]):
                    work.write(self._announced(task.job), task.data)
                task.data = None
                task.row["seconds"] = time.perf_counter() - task.begin
            return task

        io_threads = many.IO_THREADS if self._workers else 0
        tasks = (_Task(job) for job in jobs)
        return many.overlap(tasks, (read, io_threads), (code, self._workers), (write, io_threads))

    def _announced(self, job: Job) -> Job:
        """Return the job with a `begin` that records the output in the manifest before the file gets its name."""
        manifest = self._manifest
        if manifest is None:
            return job

        def begin(target: str, partial: str) -> None:
            try:
                manifest.begin(target, partial)
            except OSError:
                if not job.replace:  # without the record, the next run would refuse to replace the file
                    raise

        return replace(job, begin=begin)

    def _record(self, job: Job, row: Row, outcome: Any, errors: list[BaseException]) -> None:
        """Record a job's outcome in the manifest. If that fails, the run goes on; the next run codes the file again."""
        if self._manifest is None or row.get("skipped"):
            return
        try:
            self._manifest.record(job.source, job.target, row, outcome.source if isinstance(outcome, _Task) else {})
        except OSError as error:
            if not self._unrecorded:
                console.say(
                    f"glic {self._command}: error: the manifest cannot be written: {exits.describe(error)}; the run "
                    "goes on; to code the unrecorded files again, type the same command"
                )
            self._unrecorded = True
            errors.append(error)

    def _complain(self, place: str, job: Job, error: BaseException) -> None:
        message = exits.describe(error)
        name = "" if message.startswith(f"{job.source}:") else f"{job.source}: "
        console.say(f"glic {self._command}: error: {place}{name}{message}")
        if self._debug:
            for line in "".join(traceback.format_exception(error)).splitlines():
                console.say(line)

    def _say(self, line: str) -> None:
        if not self._quiet:
            console.say(line)


def _summary(rows: Sequence[Row], seconds: float) -> Row:
    done = [row for row in rows if row["ok"]]
    size = sum(row["bytes"] for row in done)
    pixels = sum(row["width"] * row["height"] for row in done)
    return {
        "files": len(rows),
        "failed": len(rows) - len(done),
        "skipped": sum(row.get("skipped", False) for row in rows),
        "bytes": size,
        "pixels": pixels,
        "bpp": bits_per_pixel(size, pixels) if pixels else None,
        "seconds": seconds,
    }


def numbers(row: Row) -> str:
    """Format the measurements of a row or a summary as one line: size, bytes, rate, seconds and damaged tiles."""
    size = f"{row['width']} x {row['height']}, " if "width" in row else ""
    rate = f", {row['bpp']:.4f} bpp" if row["bpp"] is not None else ""
    rate += f", quality {row['quality']}" if "quality" in row else ""
    damage = f", {len(row['damaged'])} DAMAGED TILES are grey" if row.get("damaged") else ""
    return f"{size}{row['bytes']:,} bytes{rate}, {row['seconds']:.2f} s{_slowest(row.get('stages', {}))}{damage}"


def _slowest(stages: Mapping[str, float], least_share: float = 0.05) -> str:
    """Format the seconds of the stages with at least `least_share` of the total; `other` sums the remaining stages."""
    total = sum(stages.values())
    slow = {name: seconds for name, seconds in stages.items() if seconds >= least_share * total}
    if len(slow) < len(stages):
        slow["other"] = total - sum(slow.values())
    return f" ({', '.join(f'{name} {seconds:.2f}' for name, seconds in slow.items())})" if stages else ""
