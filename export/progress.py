"""Show the progress of an export: a bar on a terminal, and a line for each finished step."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TextIO

from glic_deploy.cli.progress import bar

_WIDTH = 24
_REDRAW_SECONDS = 0.5


class Progress:
    """Count the steps of an export, and write a line for each finished step and, on a terminal, a bar below the lines.

    Args:
        stream: stream to write to; None writes nothing.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._bar = stream is not None and stream.isatty()
        self._done = self._steps = 0
        self._current = ""
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._redrawing: threading.Thread | None = None

    def __enter__(self) -> Progress:
        if self._bar:
            self._redrawing = threading.Thread(target=self._redraw, daemon=True)
            self._redrawing.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._redrawing is not None:
            self._redrawing.join()
            self._write("")

    def expect(self, steps: int) -> None:
        """Add steps to the total."""
        self._steps += steps

    def begin(self, step: str) -> None:
        """Name the current step."""
        self._current = step
        self._show()

    def done(self, line: str = "") -> None:
        """Count a step as done, and write its result above the bar."""
        self._done += 1
        self.say(line)

    def say(self, line: str) -> None:
        """Write a line above the bar."""
        if line:
            self._write(line)
        self._show()

    def _redraw(self) -> None:
        while not self._ended.wait(_REDRAW_SECONDS):
            self._show()

    def _show(self) -> None:
        if not self._bar or self._ended.is_set():
            return
        shown = f"{bar(self._done, max(self._steps, 1), _WIDTH)} {self._done}/{self._steps}"
        self._draw(f"{shown} {time.monotonic() - self._start:4.0f} s  {self._current}"[:79])

    def _draw(self, text: str) -> None:
        with self._lock:
            print(f"\r\x1b[K{text}", end="", file=self._stream, flush=True)

    def _write(self, line: str) -> None:
        if self._stream is None:
            return
        if self._bar:
            self._draw(f"{line}\n" if line else "")
        else:
            print(line, file=self._stream, flush=True)


SILENT = Progress(None)
"""Progress that writes nothing."""
