"""Keep the run manifest `manifest.jsonl` of an output folder, from which an interrupted run is resumed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from .checksum import crc32c
from .files import lock
from .jsonlines import JsonLines

NAME = "manifest.jsonl"

_BLOCK = 1 << 20
_START = b'{"output": '
_FIRST_LINE = b'{"output": "", "begun": true}'
_CONTENT = ("output_bytes", "output_crc32c")
_Content = dict[str, Any]


class RunManifest:
    """Record every output that was written or failed as one JSON object per line. The last line of an output counts.

    Each line has `output`, a path relative to the folder. There are three kinds of lines:

    - A begun output, which is complete and is renamed next, unless the run is killed: `begun`, `output_bytes` and
      `output_crc32c`.
    - A written output: `source`, with `source_bytes` and `source_mtime_ns` at the time of reading; `settings`, a digest
      of all other settings that can change the output; `bytes`, `width` and `height` of the `.glic` file;
      `output_bytes` and `output_crc32c`.
    - A failed output: `source` and `settings` as above, `error` and `error_type`.

    Args:
        folder: the folder of the outputs, created if it is missing.
        settings: the options that the outputs are made with, as JSON values.

    Raises BlockingIOError if another process works in the folder, FileExistsError if the folder has another file with
    the manifest's name, OSError if the manifest cannot be opened.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any]) -> None:
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._settings = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        self._lines = JsonLines(self._folder / NAME)
        if self._lines.path.exists() and not self._lines.path.is_file():
            raise OSError(errno.EINVAL, "is not a regular file; delete it", str(self._lines.path))
        _check_ours(self._lines.path)
        self._lock = open(self._lines.path, "ab")  # noqa: SIM115  held until close()
        if not lock(self._lock, where_unsupported=True):  # without locks, a second process goes unnoticed
            self._lock.close()
            message = "another glic process is working in this folder; wait until it is done, or name another folder"
            raise BlockingIOError(errno.EAGAIN, message, str(self._folder))
        self._done: dict[str, Mapping[str, Any]] = {str(line.get("output")): line for line in self._lines}
        self._begun: dict[str, _Content] = {}

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

    def begin(self, target: str, partial: str | Path) -> None:
        """Record the content of a target that is about to be renamed from `partial`.

        If this run is killed before `record`, the next run recognises the file as its own by this line. Raises OSError.
        """
        name = self._name(target)
        self._begun[name] = content = _content(partial)
        self._lines.append({"output": name, "begun": True, **content})

    def record(self, source: str, target: str, row: Mapping[str, Any], source_identity: Mapping[str, int]) -> None:
        """Record the outcome of a target. `row` has width, height and bytes, or error and error_type."""
        line: dict[str, Any] = {
            "output": self._name(target),
            "source": source,
            "settings": self._settings,
            **source_identity,
        }
        if "error" not in row:
            line |= self._begun.pop(self._name(target), {}) or _content(target)
        line |= {key: row[key] for key in ("bytes", "width", "height", "error", "error_type") if key in row}
        self._lines.append(line)
        self._done[line["output"]] = line

    def _name(self, target: str) -> str:
        return os.path.relpath(target, self._folder)


def made_in(folder: str | Path, targets: Iterable[str]) -> set[str]:
    """Return the `targets` whose present content an earlier run made, according to the folder's run manifest.

    Raises FileExistsError if the file with the manifest's name is no run manifest, OSError if it cannot be read.
    """
    path = Path(folder, NAME)
    _check_ours(path)
    made: dict[str, list[_Content]] = {}
    for line in JsonLines(path):
        if isinstance(line.get("output"), str) and "output_crc32c" in line:
            made.setdefault(line["output"], []).append({key: line.get(key) for key in _CONTENT})
    return {target for target in targets if _is_one_of(target, made.get(os.path.relpath(target, folder), ()))}


def _is_one_of(target: str, contents: Collection[_Content]) -> bool:
    try:
        size = os.path.getsize(target)
        return any(content["output_bytes"] == size for content in contents) and _content(target) in contents
    except OSError:
        return False


def _check_ours(path: Path) -> None:
    """Raise FileExistsError if the first line of a file is no line of a run manifest. Empty and zero lines pass."""
    if not path.is_file():
        return
    with open(path, "rb") as stream:
        first = stream.readline(_BLOCK).strip(b"\0\n")
    try:
        entry = json.loads(first or _FIRST_LINE)
        ours = isinstance(entry, dict) and "output" in entry and ("begun" in entry or "settings" in entry)
    except (ValueError, RecursionError):  # torn by an interruption
        ours = first.startswith(_START)
    if not ours:
        raise FileExistsError(
            errno.EEXIST, "is not a manifest that glic wrote; name another folder as OUT, or move the file", str(path)
        )


def identity(source: str) -> dict[str, int]:
    """Return the size and the modification time of a file; they show whether the file changed."""
    status = os.stat(source)
    return {"source_bytes": status.st_size, "source_mtime_ns": status.st_mtime_ns}


def _content(path: str | Path) -> _Content:
    return {"output_bytes": os.path.getsize(path), "output_crc32c": _crc32c(path)}


def _crc32c(path: str | Path) -> str:
    crc = 0
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            crc = crc32c(block, crc)
    return f"{crc:08x}"
