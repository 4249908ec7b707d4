"""Show a progress bar of the coded tiles on a terminal."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from .messages import console, on_terminal

_WIDTH = 30


def tile_bar(args: argparse.Namespace) -> Callable[[int, int], None] | None:
    """Return a progress function for `Codec.encode` and `Codec.decode`.

    Returns None if stderr is no terminal, with --quiet, and with --workers, where several files would share the bar.
    """
    if args.quiet or args.workers or not on_terminal():
        return None
    start = time.perf_counter()

    def show(done: int, total: int) -> None:
        nonlocal start
        if not done:
            start = time.perf_counter()
        left = f", {(time.perf_counter() - start) / done * (total - done):.0f} s left" if done else ""
        console.detail(f"{bar(done, total)} {done}/{total} tiles{left}")

    return show


def bar(done: int, total: int, width: int = _WIDTH) -> str:
    """Draw the finished share of the total as a bar of `width` characters in brackets."""
    filled = width * done // total
    return f"[{'#' * filled}{'.' * (width - filled)}]"
