"""Standard input, output and error, of which a caller may have closed any."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import BinaryIO

_closed: set[str] = set()


def open_missing() -> None:
    """Open the null device in place of standard streams that are closed, so that no other file takes their number.

    Names that a stream's encoding cannot express are printed with escapes.
    """
    _closed.clear()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            _closed.add(name)
            if os.open(os.devnull, os.O_RDWR) != number:  # the lowest number that is free, the earlier ones being open
                continue
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def stdin() -> BinaryIO:
    """Standard input's bytes. Raises OSError where it is closed."""
    _require("stdin")
    return sys.stdin.buffer


def stdout() -> BinaryIO:
    """Standard output's bytes. Raises OSError where it is closed."""
    _require("stdout")
    return sys.stdout.buffer


def discard_stdout() -> None:
    """Send what standard output still holds, and cannot write, to the null device, so that the exit does not fail."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _require(name: str) -> None:
    if name in _closed:
        raise OSError(errno.EBADF, "is closed; name a file instead of -", name)
