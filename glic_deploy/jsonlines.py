"""A file of JSON objects, one a line, that survives the interruption of whoever appends to it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class JsonLines:
    """Appends objects to a file; each is on its way to the disk once `append` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """All whole lines so far; one that an interrupted run was writing is passed over."""
        if not self.path.exists():
            return
        with open(self.path, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if isinstance(entry, dict):
                    yield entry

    def append(self, entry: Mapping[str, Any]) -> None:
        with open(self.path, "a", encoding="utf-8") as stream:
            stream.write("\n" * self._torn() + json.dumps(entry) + "\n")

    def _torn(self) -> bool:
        """Whether the file ends within a line."""
        if not self.path.exists() or not self.path.stat().st_size:
            return False
        with open(self.path, "rb") as stream:
            stream.seek(-1, os.SEEK_END)
            return stream.read() != b"\n"
