"""Where results go and inputs come from: bytes and JSON, paths, stdin and stdout."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from ..files import atomic_write, atomic_writer, read_bounded
from . import exits
from .paths import STDIO, Job


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


def read_input(source: str, max_bytes: int) -> bytes:
    """A whole file or stdin; LimitError, before it is in memory, when it has more than `max_bytes`."""
    with contextlib.nullcontext(sys.stdin.buffer) if source == STDIO else open(source, "rb") as stream:
        return read_bounded(stream, max_bytes, source)
