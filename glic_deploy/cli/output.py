"""Write a command's results and read its `.glic` files; `-` is stdin or stdout."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from .. import container
from ..errors import LimitError
from ..files import atomic_write, atomic_writer, read_up_to
from . import exits, streams
from .paths import STDIO, Job

_APPENDED_BYTES = 64  # read behind the end of a file, so that appended bytes are noticed


@contextlib.contextmanager
def open_output(job: Job) -> Iterator[BinaryIO]:
    """Open a job's target for writing: standard output, or a file that appears, complete, when the block ends.

    Missing folders of the target are created.
    """
    if job.target == STDIO:
        stdout = streams.stdout()
        yield stdout
        stdout.flush()
    else:
        Path(job.target).parent.mkdir(parents=True, exist_ok=True)
        with atomic_writer(job.target, replace=job.replace) as stream:
            yield stream
            if job.begin is not None and stream.name != os.path.realpath(job.target):  # no pipe or device
                stream.flush()
                job.begin(job.target, stream.name)


def write_json(target: str, document: Mapping[str, Any]) -> None:
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    if target == STDIO:
        streams.stdout()
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        atomic_write(target, text.encode())


def check_stdout(jobs: Sequence[Job], json_target: str | None) -> None:
    """Raise UsageError if both the output and the JSON are to go to stdout, or binary data would go to a terminal."""
    if not any(job.target == STDIO for job in jobs):
        return
    if json_target == STDIO:
        raise exits.UsageError(
            "the output and --json are both -, but only one of them can use stdout; name a file for --json"
        )
    if sys.stdout.isatty():
        raise exits.UsageError("the output is - and stdout is a terminal; redirect stdout to a file or a pipe")


def read_glic(source: str, max_bytes: int) -> bytes:
    """Read a whole `.glic` file, or stdin for `-`.

    If the input is longer than its header says, only a few bytes beyond the end are read: enough for the codec to
    notice them.

    Raises BitstreamError if the input does not start as a `.glic` file does, and LimitError if its header announces
    more than `max_bytes` bytes.
    """
    with contextlib.nullcontext(streams.stdin()) if source == STDIO else open(source, "rb") as stream:
        start = stream.read(container.HEADER_BYTES)
        end = container.read_front(memoryview(start)).file_end
        length = end + _APPENDED_BYTES
        if end > max_bytes:
            raise LimitError(
                f"{source}: the header announces {end:,} bytes, but a file within the limits has at most "
                f"{max_bytes:,}; raise --max-pixels if the file really is that large"
            )
        return start + read_up_to(stream, length - len(start)) if length > len(start) else start
