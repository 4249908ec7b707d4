"""What the exporter's command lines share: the name of the bundle, its progress, its end, its errors."""

from __future__ import annotations

import argparse
import logging
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from glic_deploy.errors import GlicError

from .progress import Progress

FAILED, INTERRUPTED = 1, 130

_SUFFIXES = re.compile(r"(\.(pth|pt|tar|ckpt|bin|safetensors))+$", re.IGNORECASE)


def default_output(checkpoint: str | Path) -> Path:
    """`NAME.engine` in the working directory for a checkpoint `NAME.pth`, `NAME.pth.tar` and the like."""
    return Path(f"{_SUFFIXES.sub('', Path(checkpoint).name)}.engine")


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add `--output`."""
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="directory to write, replacing an earlier bundle (default: NAME.engine in the working directory, for a "
        "checkpoint NAME.pth)",
    )


def run(work: Callable[[Progress], Path]) -> int:
    """Do the work of a command; returns the exit code.

    `work` returns the bundle's directory, which is all that stdout gets. Progress, errors and the commands to type next
    go to stderr.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with Progress(sys.stderr) as progress:
            engine = work(progress)
    except KeyboardInterrupt:
        print("interrupted; no bundle was changed", file=sys.stderr)
        return INTERRUPTED
    except GlicError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except OSError as error:
        name = "" if error.filename is None else f"{error.filename}: "
        print(f"error: {name}{error.strerror or error}; name another directory with --output", file=sys.stderr)
        return FAILED
    named = shlex.quote(str(engine))
    print(f"next:\n  glic encode photo.png photo.glic --engine {named}\n  glic bench --engine {named}", file=sys.stderr)
    print(engine)
    return 0
