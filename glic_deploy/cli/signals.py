"""How a command ends when it is told to: by Ctrl-C, by SIGTERM, or because its terminal is gone (SIGHUP)."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALLED = 128


class Ended(KeyboardInterrupt):
    """A signal that ends the program, raised in the main thread."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def describe(error: KeyboardInterrupt) -> str:
    return f"ended by {error}" if isinstance(error, Ended) else "interrupted"


def code_of(error: KeyboardInterrupt) -> int:
    """The exit code: 128 and the signal's number, as shells give it."""
    return _SIGNALLED + (error.number if isinstance(error, Ended) else signal.SIGINT)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Raises `Ended` for SIGTERM and SIGHUP within the block, unless they are handled or ignored (nohup) already."""

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
    """Do `work` in a thread, so that signals, which only the main thread handles, never wait for a graph to end.

    Raises what `work` raises, or KeyboardInterrupt, with the thread still running.
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
