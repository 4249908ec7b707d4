"""Share code among the exporter's commands: the bundle's default name, progress, errors and exit codes."""

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
    """Return the path `NAME.engine` in the working directory for a checkpoint `NAME.pth`, `NAME.pth.tar` and others."""
    return Path(f"{_SUFFIXES.sub('', Path(checkpoint).name)}.engine")


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the option `--output`."""
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="directory to write, replacing an earlier bundle (default: NAME.engine in the working directory, for a "
        "checkpoint NAME.pth)",
    )


def run(work: Callable[[Progress], Path], not_writable: str = "name another directory with --output") -> int:
    """Do the work of a command and return the exit code.

    The bundle's directory is printed to stdout. Progress, errors and the commands to type next are printed to stderr.

    Args:
        work: function that does the work and returns the bundle's directory.
        not_writable: the remedy to print if a file cannot be read or written.
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
        print(f"error: {name}{error.strerror or error}; {not_writable}", file=sys.stderr)
        return FAILED
    named = shlex.quote(str(engine))
    print(f"next:\n  glic encode photo.png photo.glic --engine {named}\n  glic bench --engine {named}", file=sys.stderr)
    print(engine)
    return 0
