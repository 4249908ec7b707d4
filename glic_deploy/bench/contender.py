"""Start a contender as a child process, and send it requests to code images."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from .. import errors
from ..errors import EngineError, GlicError

Answer = dict[str, Any]

_ERRORS: dict[str, type[BaseException]] = {
    "MemoryError": MemoryError,
    "OSError": OSError,
    **{name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, GlicError)},
}
"""Classes that the parent can raise for a child's error; any other class is raised as its nearest base listed here."""


class Contender:
    """Run `command` (see `worker`) as a child process and send it requests.

    Every method raises the error that the child reports, or EngineError if the child dies.

    Attributes:
        name: name in the results; by default the name of the backend.
        start_s: seconds from the start of the process until its code is imported.
        open_s: seconds to open the codec.
        first_image_s: seconds of the first round trip; None before it.
        codec: the result of `Codec.describe`.
    """

    def __init__(self, name: str | None, command: Sequence[str]) -> None:
        self.name = name or "engine"
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  closed by close()
        self._process = subprocess.Popen(
            [*command, "--started", str(time.monotonic())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        try:
            opened = self._ask({"describe": True})
        except BaseException:
            self.close()
            raise
        self.start_s: float = opened["start_s"]
        self.open_s: float = opened["open_s"]
        self.codec: dict[str, Any] = opened["codec"]
        self.name = name or str(self.codec["backend"]["name"])
        self.first_image_s: float | None = None

    def __enter__(self) -> Contender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._said.close()

    def round_trip(self, image: Path) -> Answer:
        """Encode and decode once; the answer is described in `worker`."""
        answer = self._ask({"round_trip": str(image)})
        if self.first_image_s is None:
            self.first_image_s = answer["encode"]["total"] + answer["decode"]["total"]
        return answer

    def batch(self, images: Sequence[Path], in_flight: int) -> Answer:
        """Encode all images, then decode them all, `in_flight` at a time."""
        return self._ask({"batch": [str(image) for image in images], "in_flight": in_flight})

    def _ask(self, request: Mapping[str, Any]) -> Answer:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise EngineError(self._died())
        answer: Answer = json.loads(line)
        if "error" in answer:
            kind = next((_ERRORS[name] for name in answer["error_types"] if name in _ERRORS), EngineError)
            raise errors.rebuilt(kind, [f"{self.name}: {answer['error']}"], answer["attributes"])
        return answer

    def _died(self) -> str:
        code = self._process.wait()
        self._said.seek(0)
        last = self._said.read().decode(errors="replace").strip().splitlines()[-3:]
        how = "was killed, out of memory perhaps" if code == -9 else f"ended with code {code}"
        return (
            f"{self.name}: the process {how}: {' / '.join(last) or 'it printed nothing'}; run: glic doctor --engine DIR"
        )


def engine_command(engine: str, **options: str | int | None) -> list[str]:
    """Return the command that starts the worker with an engine bundle and options of `Codec`."""
    return [sys.executable, "-m", f"{__package__}.worker", "--engine", engine, *_options(**options)]


def torch_command(checkpoint: str, threads: int | None) -> list[str]:
    """Return the command that starts the eager PyTorch network.

    Raises EngineError if the exporter or torch is not installed.
    """
    if importlib.util.find_spec("export") is None or importlib.util.find_spec("torch") is None:
        raise EngineError("--against torch needs the exporter and torch: pip install 'glic-deploy[export]'")
    return [sys.executable, "-m", "export.eager", "--checkpoint", checkpoint, *_options(threads=threads)]


def _options(**values: object) -> list[str]:
    return [text for name, value in values.items() if value is not None for text in (f"--{name}", str(value))]
