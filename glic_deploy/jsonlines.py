"""Read and write files with one JSON object per line, which stay readable if a writer is interrupted."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class JsonLines:
    """Append objects to a file, from any thread. `append` returns after the operating system received the object."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the objects of all complete lines. Incomplete and damaged lines are skipped."""
        if not self.path.is_file():
            return
        with open(self.path, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                try:
                    entry = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(entry, dict):
                    yield entry

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write an object as the next line. Raises OSError."""
        with self._lock, open(self.path, "ab") as stream:
            stream.write(b"\n" * self._torn() + json.dumps(entry).encode() + b"\n")

    def _torn(self) -> bool:
        """Return whether the last line is incomplete."""
        if not self.path.stat().st_size:
            return False
        with open(self.path, "rb") as stream:
            stream.seek(-1, os.SEEK_END)
            return stream.read() != b"\n"
