"""Define the settings of the served models, and the command-line arguments that set them."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from ..cli import options
from ..limits import Limits

if TYPE_CHECKING:
    from ..backends.base import Precision

SERVED_LIMITS = Limits(max_pixels=1 << 24)
"""Default limits of a server. They allow smaller images than the codec's, because the server and its queue hold the
pixels of a request several times."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Hold the settings of the served models. The models' config.pbtxt contains them and can be edited later.

    Attributes:
        instances: number of processes of each model, on each of `gpus`; each process codes one image at a time.
        threads: CPU threads of an instance; None shares the cores of the serving machine among all instances.
        gpus: numbers of the GPUs; an empty tuple binds no instance to a GPU.
        backend: name of the backend; None selects the best backend that works on the serving machine.
        precision: precision of the transforms; None selects the backend's default.
        limits: bounds above which images and files are refused.
        queue: number of requests that may wait for an instance of a model; further requests are refused at once.
    """

    instances: int = 1
    threads: int | None = None
    gpus: tuple[int, ...] = ()
    backend: str | None = None
    precision: Precision | None = None
    limits: Limits = SERVED_LIMITS
    queue: int = 32

    @classmethod
    def of(cls, args: argparse.Namespace) -> Settings:
        """Return the settings of the parsed arguments that `add_arguments` added."""
        limits = dataclasses.replace(SERVED_LIMITS, max_pixels=args.max_pixels, max_side=args.max_side)
        return cls(args.instances, args.threads, args.gpus, args.backend, args.precision, limits, args.queue)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_backend(parser)
    parser.add_argument(
        "--threads",
        metavar="N",
        type=options.positive,
        help="number of CPU threads of each instance (default: cores / instances)",
    )
    parser.add_argument(
        "--gpus",
        metavar="N,...",
        type=_numbers,
        default=(),
        help="GPUs, each of which runs --instances processes of each model",
    )
    for name, default, meaning in (
        ("instances", Settings.instances, "number of processes of each model"),
        ("queue", Settings.queue, "number of requests that may wait for a model; further requests are refused at once"),
        ("max-pixels", SERVED_LIMITS.max_pixels, "refuse larger images"),
        ("max-side", SERVED_LIMITS.max_side, "refuse wider or taller images"),
    ):
        parser.add_argument(
            f"--{name}", metavar="N", type=options.positive, default=default, help=f"{meaning} (default: {default:,})"
        )


def _numbers(text: str) -> tuple[int, ...]:
    """Parse `0,1` into (0, 1). Raises ArgumentTypeError."""
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected numbers of GPUs such as 0,1")
    return tuple(int(part) for part in parts)
