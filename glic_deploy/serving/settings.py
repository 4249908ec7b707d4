"""How the served models are run, and the command-line arguments that say so."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from ..cli import options
from ..limits import Limits

if TYPE_CHECKING:
    from ..backends.base import Precision

SERVED_LIMITS = Limits(max_pixels=1 << 24)
"""Smaller images than elsewhere: a request holds its pixels several times over, in the server and in the queue."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Each is a line of the models' config.pbtxt, where it can be changed later.

    Attributes:
        instances: processes of each model (on each of `gpus`), one image at a time in each.
        threads: CPU threads of an instance; None shares the cores of the machine that serves among all instances.
        gpus: the instances' GPUs; none: no instance is bound to one.
        backend: name of the backend; None takes the best one that works on the machine that serves.
        precision: of the transforms; None takes the backend's own.
        limits: images and files that are refused.
        queue: requests that wait for an instance of a model; one more is refused at once.
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
        """The settings that the arguments of `add_arguments` ask for."""
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
    """`0,1` as (0, 1)."""
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected numbers of GPUs such as 0,1")
    return tuple(int(part) for part in parts)
