"""Many items through several steps of work: the steps overlap, results keep their order, memory stays bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any, Literal, get_args

from .arguments import shown
from .errors import ImageError

Step = tuple[Callable[[Any], Any], int]
"""Work for one item, and how many items may be in it at a time; 0 does the work in the caller's thread."""

OnError = Literal["raise", "yield"]

LEAST_WORKERS = 2
"""Pictures to code at a time so that the range coder of one runs beside the network of another."""

IO_THREADS = 2
"""Threads that read, and that write: enough to hide a disk's or a network's latency behind coding."""


def overlap(items: Iterable[Any], *steps: Step) -> Generator[Any, None, None]:
    """Take every item through all steps, each of which has threads of its own, and yield the results in order.

    An item that a step fails on leaves that step as its exception, and passes the later ones by. `items` is drawn from
    in the caller's thread, at most twice a step's threads ahead for each step, so that one slow item does not idle the
    others and no more than that many are held in memory. Closing the iterator cancels what has not begun.
    """
    with ExitStack() as stack:
        for work, threads in steps:
            items = stack.enter_context(closing(_ordered(items, work, threads)))
        yield from items


def results(outcomes: Generator[Any, None, None], on_error: OnError) -> Iterator[Any]:
    """What `overlap` yields, the first exception raised ("raise") or each left in its item's place ("yield").

    `outcomes` is closed before an exception is raised. Otherwise the exception's traceback would hold it until the
    garbage collector runs, which may be in a thread that is just starting and cannot wait for others then. Raises
    ImageError for another `on_error`.
    """
    if on_error not in get_args(OnError):
        raise ImageError(f"on_error is {shown(on_error)}, expected 'raise' or 'yield'")
    return _raising(outcomes) if on_error == "raise" else outcomes


def _raising(outcomes: Generator[Any, None, None]) -> Iterator[Any]:
    with closing(outcomes):
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome


def _ordered(items: Iterable[Any], work: Callable[[Any], Any], threads: int) -> Generator[Any, None, None]:
    if not threads:
        for item in items:
            yield _attempt(work, item)
        return
    pending: deque[Future[Any]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="glic")
    try:
        for item in items:
            pending.append(pool.submit(_attempt, work, item))
            while len(pending) >= 2 * threads or (pending and pending[0].done()):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _attempt(work: Callable[[Any], Any], item: Any) -> Any:
    if isinstance(item, Exception):
        return item
    try:
        return work(item)
    except Exception as error:
        return error
