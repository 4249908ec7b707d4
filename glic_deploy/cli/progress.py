"""A bar of the tiles that are done, on a terminal."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from .messages import console, on_terminal

_WIDTH = 30


def tile_bar(args: argparse.Namespace) -> Callable[[int, int], None] | None:
    """What `Codec.encode` and `.decode` call; None where nobody would see it, or several files would share the line."""
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
    """Draw how much of the total is done, between brackets, in `width` characters."""
    filled = width * done // total
    return f"[{'#' * filled}{'.' * (width - filled)}]"
