"""Run many items through several steps: the steps overlap, results keep their order, memory stays bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any, Literal, get_args

from .arguments import shown
from .errors import ImageError

Step = tuple[Callable[[Any], Any], int]
"""A function of one item, and its number of threads; 0 runs the function in the caller's thread."""

OnError = Literal["raise", "yield"]

LEAST_WORKERS = 2
"""Least number of images to code at a time so that the range coder of one overlaps with the network of another."""

IO_THREADS = 2
"""Number of threads for reading, and for writing: enough to hide the latency of a disk or network."""


def overlap(items: Iterable[Any], *steps: Step) -> Generator[Any, None, None]:
    """Run every item through all steps, each with its own threads, and yield the results in order.

    If a step raises an exception, the exception becomes the result of the item and the later steps are skipped. `items`
    is iterated in the caller's thread. Each step holds at most twice as many items as it has threads, so that memory is
    bounded and a slow item does not idle the other threads. Closing the iterator cancels the work that has not begun.
    """
    with ExitStack() as stack:
        for work, threads in steps:
            items = stack.enter_context(closing(_ordered(items, work, threads)))
        yield from items


def results(outcomes: Generator[Any, None, None], on_error: OnError) -> Iterator[Any]:
    """Yield the results of `overlap`. "raise" raises the first exception; "yield" yields exceptions as results.

    `outcomes` is closed before an exception is raised. Otherwise the traceback would reference the iterator until the
    garbage collector runs, possibly in a thread that is just starting and cannot wait for others. Raises ImageError for
    another `on_error`.
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
