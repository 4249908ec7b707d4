"""Turn an error into a line on stderr, an entry in JSON and an exit code."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ..errors import BitstreamError, EngineError, GlicError, ImageError, LimitError, ModelMismatchError

OK, FAILED, USAGE, BAD_INPUT, WRONG_MODEL, OVER_LIMIT, BAD_ENGINE, FILE_SYSTEM = range(8)
INTERRUPTED = 130

TABLE = """\
exit codes:
  0    everything succeeded
  1    several files failed for different reasons, or an unexpected error
  2    wrong arguments
  3    an image or .glic file that is damaged or not one
  4    a .glic file of another model or arithmetic than the engine's
  5    an image or file above the limits, or out of memory
  6    an engine bundle, backend or native library that is missing or does not work
  7    a file that cannot be read or written
  130  interrupted; 143 and 129: ended by SIGTERM and SIGHUP
"""

_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (ModelMismatchError, WRONG_MODEL),
    (LimitError, OVER_LIMIT),
    (MemoryError, OVER_LIMIT),
    (BitstreamError, BAD_INPUT),
    (ImageError, BAD_INPUT),
    (EngineError, BAD_ENGINE),
    (OSError, FILE_SYSTEM),
)

EXPECTED = (GlicError, OSError, MemoryError)
"""Expected errors of a single file; the run goes on with the other files."""


class UsageError(Exception):
    """Raised for arguments that are valid one by one but contradict each other."""


def code_of(error: BaseException) -> int:
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def code_of_all(errors: Iterable[BaseException]) -> int:
    """Return the exit code that all errors share, FAILED if they differ, OK if there are none."""
    codes = {code_of(error) for error in errors}
    return codes.pop() if len(codes) == 1 else FAILED if codes else OK


def describe(error: BaseException) -> str:
    if isinstance(error, GlicError):
        return for_shell(str(error))
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror or str(error)
    if isinstance(error, MemoryError):
        return "out of memory; use a smaller image, fewer processes or a machine with more memory"
    return f"{type(error).__name__}: {error}; this is unexpected: run again with --debug and report what it prints"


# Patterns of remedies for Python in a message, and their replacements.
_REMEDIES = (
    (re.compile(r"(Limits|background=)\([^()]*\), on the command line "), ""),
    (re.compile(r"(--max-\w+), Limits\([^()]*\)"), r"\1"),
    (re.compile(r"(\(--[\w-]+ \w+), \w+=(?:'[^']*'|\([^()]*\))\)"), r"\1)"),
    (re.compile(r"Limits\(max_(pixels|side|memory)=(\d+)\)"), r"--max-\1 \2"),
)


def for_shell(message: str) -> str:
    """Remove the remedies for Python from a message, so that only the options of the command line remain."""
    for pattern, replacement in _REMEDIES:
        message = pattern.sub(replacement, message)
    return message


def as_json(error: BaseException) -> dict[str, Any]:
    return {"error": describe(error), "error_type": type(error).__name__}
