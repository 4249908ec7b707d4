"""The run manifest `manifest.jsonl` of an output folder, from which an interrupted run is resumed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from .checksum import crc32c
from .jsonlines import JsonLines

NAME = "manifest.jsonl"

_BLOCK = 1 << 20


class RunManifest:
    """Records every output that was written or failed, as one JSON object a line. The last line of an output counts.

    Each line has `output`, a path relative to the folder. There are three kinds of lines:

    - `begun`: the output will be written soon, unless the run is killed.
    - A written output: `source`, with `source_bytes` and `source_mtime_ns` at the time of reading; `settings`, a digest
      of everything else that could change the output; `bytes`, `width` and `height` of the `.glic` file; `output_bytes`
      and `output_crc32c`.
    - A failed output: `source` and `settings` likewise, `error` and `error_type`.

    Args:
        folder: the folder of the outputs, created if it is missing.
        settings: the options that the outputs are made with, as JSON values.

    Raises BlockingIOError if another process works in the folder, OSError if the file cannot be opened.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any]) -> None:
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._settings = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        self._lines = JsonLines(self._folder / NAME)
        if self._lines.path.exists() and not self._lines.path.is_file():
            raise OSError(errno.EINVAL, "is not a regular file; delete it", str(self._lines.path))
        self._lock = open(self._lines.path, "ab")  # noqa: SIM115  held until close()
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            message = "another glic process is working in this folder; wait until it is done, or name another folder"
            raise BlockingIOError(errno.EAGAIN, message, str(self._folder)) from None
        except OSError:  # This file system has no locks, so a second process goes unnoticed.
            pass
        self._done: dict[str, Mapping[str, Any]] = {str(line.get("output")): line for line in self._lines}
        self._ours = _made(self._lines)

    def __enter__(self) -> RunManifest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()

    def find(self, target: str, source: Mapping[str, int]) -> dict[str, Any] | None:
        """Return `bytes`, `width` and `height` of a target if this source made it and it is intact, else None.

        source: the `identity` of the source.
        """
        line = self._done.get(self._name(target), {})
        try:
            same = line["settings"] == self._settings and all(line[key] == value for key, value in source.items())
            if not same or line["output_bytes"] != os.path.getsize(target) or line["output_crc32c"] != _crc32c(target):
                return None
            numbers = {key: line[key] for key in ("bytes", "width", "height")}
            return numbers if all(type(value) is int and value > 0 for value in numbers.values()) else None
        except (OSError, KeyError):
            return None

    def begin(self, target: str) -> None:
        """Record that a target is about to be written, so that the next run may replace it if this one is killed."""
        name = self._name(target)
        if name not in self._ours:
            self._lines.append({"output": name, "begun": True})
            self._ours.add(name)

    def record(self, source: str, target: str, row: Mapping[str, Any], source_identity: Mapping[str, int]) -> None:
        """Record the outcome of a target. `row` has width, height and bytes, or error and error_type."""
        line: dict[str, Any] = {
            "output": self._name(target),
            "source": source,
            "settings": self._settings,
            **source_identity,
        }
        if "error" not in row:
            line |= {"output_bytes": os.path.getsize(target), "output_crc32c": _crc32c(target)}
        line |= {key: row[key] for key in ("bytes", "width", "height", "error", "error_type") if key in row}
        self._lines.append(line)
        self._done[line["output"]] = line

    def _name(self, target: str) -> str:
        return os.path.relpath(target, self._folder)


def made_in(folder: str | Path, targets: Iterable[str]) -> set[str]:
    """Return those `targets` that a run of this folder has made or begun, according to its run manifest."""
    names = _made(JsonLines(Path(folder, NAME)))
    return {target for target in targets if os.path.relpath(target, folder) in names}


def _made(lines: Iterable[Mapping[str, Any]]) -> set[str]:
    return {line["output"] for line in lines if isinstance(line.get("output"), str) and "error" not in line}


def identity(source: str) -> dict[str, int]:
    """Return the size and the time of a file, by which a change is noticed."""
    status = os.stat(source)
    return {"source_bytes": status.st_size, "source_mtime_ns": status.st_mtime_ns}


def _crc32c(path: str) -> str:
    crc = 0
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            crc = crc32c(block, crc)
    return f"{crc:08x}"
