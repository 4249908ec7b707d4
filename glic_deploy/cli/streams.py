"""Open standard input, output and error; the caller may have closed any of them."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import BinaryIO

_closed: set[str] = set()


def open_missing() -> None:
    """Open the null device in place of closed standard streams, so that no other file gets their descriptors.

    Characters that a stream's encoding lacks are printed as escapes.
    """
    _closed.clear()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            _closed.add(name)
            if os.open(os.devnull, os.O_RDWR) != number:  # `open` returns the lowest free descriptor
                continue
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def stdin() -> BinaryIO:
    """Return standard input as a binary stream. Raises OSError if standard input is closed."""
    _require("stdin")
    return sys.stdin.buffer


def stdout() -> BinaryIO:
    """Return standard output as a binary stream. Raises OSError if standard output is closed."""
    _require("stdout")
    return sys.stdout.buffer


def discard_stdout() -> None:
    """Flush standard output. If that fails, point it at the null device, so that Python's exit does not fail too."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _require(name: str) -> None:
    if name in _closed:
        raise OSError(errno.EBADF, "is closed; name a file instead of -", name)
