"""What of a folder of outputs is done and whole: `manifest.jsonl` in it, from which an interrupted run is resumed."""

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


class Manifest:
    """One JSON object a line for each output that was made or failed; of several lines for one output the last holds.

    A line has `output` (relative to the folder), `source`, `source_bytes` and `source_mtime_ns` as it was when it was
    read, `settings` (a digest of whatever else could change the output), and either `bytes`, `width`, `height` of the
    `.glic` file with `output_bytes` and `output_crc32c`, or `error` and `error_type`; or `begun` beside `output`: the
    output appears soon, unless the run is killed.

    Args:
        folder: the outputs' folder, made where it is missing. Only one process at a time may work in it: for another,
            BlockingIOError is raised.
        settings: what the outputs are made with, for JSON.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any]) -> None:
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._settings = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        self._lines = JsonLines(self._folder / NAME)
        if self._lines.path.exists() and not self._lines.path.is_file():
            raise OSError(errno.EINVAL, "is no regular file; delete it", str(self._lines.path))
        self._lock = open(self._lines.path, "ab")  # noqa: SIM115  held until close()
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            message = "another glic process is working in this folder; wait until it is done, or name another folder"
            raise BlockingIOError(errno.EAGAIN, message, str(self._folder)) from None
        except OSError:  # no locks on this file system: two processes in it are not noticed
            pass
        self._done: dict[str, Mapping[str, Any]] = {str(line.get("output")): line for line in self._lines}
        self._ours = _made(self._lines)

    def __enter__(self) -> Manifest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()

    def find(self, target: str, source: Mapping[str, int]) -> dict[str, Any] | None:
        """`bytes`, `width`, `height` of a target that was made of a source of this `identity` and is still whole."""
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
        """Remember that a target is about to be written for the first time: if the run is killed, it is one of ours."""
        name = self._name(target)
        if name not in self._ours:
            self._lines.append({"output": name, "begun": True})
            self._ours.add(name)

    def record(self, source: str, target: str, row: Mapping[str, Any], source_identity: Mapping[str, int]) -> None:
        """Remember what became of a target: `row` has width, height and bytes, or error and error_type."""
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
    """Those of `targets` that the folder's manifest says to have been made, or begun, by this or an earlier run."""
    names = _made(JsonLines(Path(folder, NAME)))
    return {target for target in targets if os.path.relpath(target, folder) in names}


def _made(lines: Iterable[Mapping[str, Any]]) -> set[str]:
    return {line["output"] for line in lines if isinstance(line.get("output"), str) and "error" not in line}


def identity(source: str) -> dict[str, int]:
    """What tells that a file has changed: its size and time."""
    status = os.stat(source)
    return {"source_bytes": status.st_size, "source_mtime_ns": status.st_mtime_ns}


def _crc32c(path: str) -> str:
    crc = 0
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            crc = crc32c(block, crc)
    return f"{crc:08x}"
