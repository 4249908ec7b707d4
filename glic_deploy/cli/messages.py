"""Print a command's messages to stderr: lines, warnings and, on a terminal, a status line of the current work."""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

from ..errors import ReducedImageWarning

_PACKAGE = "glic_deploy"
_TICK = 1.0


_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def one_line(text: str) -> str:
    """Replace control characters by escapes (`\\n`, `\\x1b`): file names may contain any character."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


class Console:
    """Write whole lines to stderr, above the status line that a terminal shows. Threads may share a console."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._status: str | None = None
        self._detail: str | None = None
        self._since = 0.0

    def say(self, line: str) -> None:
        """Print a line, escaped by `one_line`. Errors of stderr are ignored, so that the work goes on without it."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._write("\r\x1b[K" if self._status is not None else "", one_line(line) + "\n")
            self._draw()

    @contextlib.contextmanager
    def status(self, text: str | None) -> Iterator[None]:
        """Show a status line with the elapsed seconds during the block, if `text` is given and stderr is a terminal."""
        if text is None or not on_terminal():
            yield
            return
        done = threading.Event()

        def tick() -> None:
            while not done.wait(_TICK):
                with self._lock, contextlib.suppress(OSError, ValueError):
                    self._draw()

        with self._lock:
            self._status, self._detail, self._since = one_line(text), None, time.monotonic()
            self._draw()
        ticker = threading.Thread(target=tick, name="glic-status", daemon=True)
        ticker.start()
        try:
            yield
        finally:
            done.set()
            ticker.join()
            with self._lock, contextlib.suppress(OSError, ValueError):
                self._status = None
                self._write("\r\x1b[K")

    def detail(self, text: str) -> None:
        """Show `text` in the status line instead of the elapsed seconds."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._detail = text
            self._draw()

    def _draw(self) -> None:
        if self._status is None:
            return
        detail = self._detail or f"{time.monotonic() - self._since:.0f} s"
        line = f"{self._status}, {detail}"
        columns = shutil.get_terminal_size().columns
        self._write("\r\x1b[K", line if len(line) < columns else line[: columns - 2] + "…")

    def _write(self, *texts: str) -> None:
        sys.stderr.write("".join(texts))
        sys.stderr.flush()


console = Console()


def on_terminal() -> bool:
    """Check whether stderr is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


class _Collected(threading.local):
    """Hold the list that collects this thread's warnings, and the name of the file that they concern."""

    name = ""
    into: list[str] | None = None


_collected = _Collected()
_others: list[str] = []


def collected() -> list[str]:
    """Return all warnings so far that concerned no particular file."""
    return list(_others)


@contextlib.contextmanager
def collect(name: str, into: list[str]) -> Iterator[None]:
    """Append this thread's warnings within the block to `into`; `name` is the file that they concern."""
    before = _collected.name, _collected.into
    _collected.name, _collected.into = name, into
    try:
        yield
    finally:
        _collected.name, _collected.into = before


@contextlib.contextmanager
def shown(command: str, *, quiet: bool, verbose: bool) -> Iterator[None]:
    """Print Python's warnings and the package's log within the block as lines such as `glic encode: warning: ...`.

    Args:
        command: beginning of each line, such as `glic encode`.
        quiet: collect warnings, but print nothing.
        verbose: also print log records of level INFO.
    """

    def warn(text: str) -> None:
        text = " ".join(text.splitlines())
        about = f"{_collected.name}: " if _collected.name and not text.startswith(_collected.name) else ""
        (_others if _collected.into is None else _collected.into).append(text)
        if not quiet:
            console.say(f"{command}: warning: {about}{text}")

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.WARNING:
                warn(record.getMessage())
            elif not quiet:
                console.say(f"{command}: {record.getMessage()}")

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        warn(str(message))

    _others.clear()
    logger, handler = logging.getLogger(_PACKAGE), Handler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if verbose else logging.WARNING)
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("always", UserWarning)  # once for each file
                warnings.simplefilter("default", ReducedImageWarning)  # once for the whole run
            warnings.showwarning = show
            yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
