"""End a command on a signal: Ctrl-C (SIGINT), SIGTERM, or SIGHUP when its terminal closes."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALLED = 128


class Ended(KeyboardInterrupt):
    """Signals the main thread that SIGTERM or SIGHUP ends the program.

    Attributes:
        number: number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def describe(error: KeyboardInterrupt) -> str:
    return f"ended by {error}" if isinstance(error, Ended) else "interrupted"


def code_of(error: KeyboardInterrupt) -> int:
    """Return the exit code as shells do: 128 plus the signal's number."""
    return _SIGNALLED + (error.number if isinstance(error, Ended) else signal.SIGINT)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Raise `Ended` for SIGTERM and SIGHUP within the block, unless a signal is already handled or ignored (nohup)."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    ours = [number for name in names if signal.getsignal(number := getattr(signal, name)) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def in_thread(work: Callable[[], int]) -> int:
    """Run `work` in a thread and return its result.

    Only the main thread handles signals: here it never waits for a graph to end. Raises the exception of `work`, or
    KeyboardInterrupt while the thread still runs.
    """
    outcome: list[int | BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, name="glic-command", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(1)
    (result,) = outcome
    if isinstance(result, BaseException):
        raise result
    return result
