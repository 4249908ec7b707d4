"""Where results go: bytes and JSON to paths or stdout, one line a file and progress to stderr."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from .. import __version__
from ..files import atomic_write, atomic_writer, read_bounded
from . import exits
from .paths import STDIO, Job

Row = dict[str, Any]


@contextlib.contextmanager
def open_output(target: str) -> Iterator[BinaryIO]:
    """Standard output, or a file that appears when the block ends, its folder made where it is missing."""
    if target == STDIO:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        with atomic_writer(target) as stream:
            yield stream


def write_json(target: str, document: Mapping[str, Any]) -> None:
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    if target == STDIO:
        sys.stdout.write(text)
    else:
        atomic_write(target, text.encode())


def check_stdout(jobs: Sequence[Job], json_target: str | None) -> None:
    """Raise UsageError when two things want stdout, or bytes would go to a terminal."""
    if not any(job.target == STDIO for job in jobs):
        return
    if json_target == STDIO:
        raise exits.UsageError("both the output and --json are -, only one of them can have stdout")
    if sys.stdout.isatty():
        raise exits.UsageError("the output is - and stdout a terminal; redirect it to a file or a pipe")


class Batch:
    """Runs a command's work over its files: one bad file does not stop the rest, and the summary tells all.

    `work(job)` does one file and returns its row, with at least width, height and bytes (of the `.glic` file).
    """

    def __init__(self, command: str, args: argparse.Namespace, codec: Mapping[str, Any]) -> None:
        self._command = command
        self._json_target: str | None = args.json
        self._quiet: bool = args.quiet
        self._debug: bool = args.debug
        self._codec = dict(codec)

    def run(self, jobs: Sequence[Job], work: Callable[[Job], Row]) -> int:
        """Exit code: OK, or what all failures have in common."""
        rows: list[Row] = []
        errors: list[BaseException] = []
        start = time.perf_counter()
        for number, job in enumerate(jobs, 1):
            place = f"[{number}/{len(jobs)}] " if len(jobs) > 1 else ""
            row: Row = {"input": job.source, "output": job.target}
            begin = time.perf_counter()
            try:
                with self._in_progress(f"{place}{job.source}"):
                    row |= work(job)
            except exits.EXPECTED as error:
                errors.append(error)
                row |= {"ok": False, **exits.as_json(error)}
                message = exits.describe(error)
                name = "" if message.startswith(f"{job.source}:") else f"{job.source}: "
                print(f"glic {self._command}: error: {place}{name}{message}", file=sys.stderr)
                if self._debug:
                    traceback.print_exception(error)
            else:
                row |= {"ok": True, "bpp": bits_per_pixel(row), "seconds": time.perf_counter() - begin}
                self._say(f"{place}{job.source} -> {job.target}: {_numbers(row)}")
            rows.append(row)
        summary = _summary(rows, time.perf_counter() - start)
        if len(jobs) > 1:
            self._say(f"{summary['files'] - summary['failed']} of {summary['files']} files done: {_numbers(summary)}")
        if self._json_target:
            document = {"command": self._command, "version": __version__, "codec": self._codec}
            write_json(self._json_target, document | {"files": rows, "summary": summary})
        return exits.code_of_all(errors)

    def _say(self, line: str) -> None:
        if not self._quiet:
            print(line, file=sys.stderr)

    @contextlib.contextmanager
    def _in_progress(self, text: str) -> Iterator[None]:
        """On a terminal, a line that is there while the file is being worked on."""
        if self._quiet or not sys.stderr.isatty():
            yield
            return
        print(f"{text} ...", end="", file=sys.stderr, flush=True)
        try:
            yield
        finally:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def bits_per_pixel(row: Mapping[str, Any]) -> float:
    return float(8 * row["bytes"] / (row["width"] * row["height"]))


def _summary(rows: Sequence[Row], seconds: float) -> Row:
    done = [row for row in rows if row["ok"]]
    size = sum(row["bytes"] for row in done)
    pixels = sum(row["width"] * row["height"] for row in done)
    return {
        "files": len(rows),
        "failed": len(rows) - len(done),
        "bytes": size,
        "pixels": pixels,
        "bpp": 8 * size / pixels if pixels else None,
        "seconds": seconds,
    }


def _numbers(row: Row) -> str:
    size = f"{row['width']} x {row['height']}, " if "width" in row else ""
    rate = f", {row['bpp']:.4f} bpp" if row["bpp"] is not None else ""
    return f"{size}{row['bytes']:,} bytes{rate}, {row['seconds']:.2f} s{_slowest(row.get('stages', {}))}"


def _slowest(stages: Mapping[str, float], least_share: float = 0.05) -> str:
    """The stages that took at least that share of the time, in their order, and all others as one."""
    total = sum(stages.values())
    slow = {name: seconds for name, seconds in stages.items() if seconds >= least_share * total}
    if len(slow) < len(stages):
        slow["other"] = total - sum(slow.values())
    return f" ({', '.join(f'{name} {seconds:.2f}' for name, seconds in slow.items())})" if stages else ""


def read_input(source: str, max_bytes: int) -> bytes:
    """A whole file or stdin; LimitError, before it is in memory, when it has more than `max_bytes`."""
    with contextlib.nullcontext(sys.stdin.buffer) if source == STDIO else open(source, "rb") as stream:
        return read_bounded(stream, max_bytes, source)
