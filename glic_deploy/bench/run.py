"""Run a whole benchmark: start the contenders, let them take turns, and assemble the result."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__, machine
from ..bundle import Bundle
from ..files import temporary_directory
from ..limits import DEFAULT_LIMITS
from ..qualities import bundles_in
from .contender import Answer, Contender, engine_command, torch_command
from .images import SYNTHETIC, Size, Workload, prepare
from .latency import DIRECTIONS, Plan, Say, compare_pairs, peak_resident, summarise, take_turns
from .sweep import sweep

SCHEMA = "glic-bench/3"
SCHEMA_FILE = Path(__file__).with_name("schema.json")

TORCH = "torch"


@dataclass(frozen=True)
class Settings:
    """Say what to measure; the fields are the options of `glic bench`.

    Attributes:
        engine: path of a bundle, or of a folder of bundles, of which the highest quality is measured.
        backends: names of the backends; each is a contender. A name may end with a precision, as in "openvino:bf16".
            None stands for the best backend that works here.
        precision: precision of the backends whose name has none.
        threads: CPU threads of each contender; None for the default.
        device: the number of the GPU; None for the default.
        checkpoint: checkpoint whose eager PyTorch network is a contender too, or None.
        images: image files; each is measured in every size. An empty list stands for a synthetic image.
        sizes: pairs of width and height; an empty list stands for the image's own size.
        plan: numbers of runs.
        batch: number of images that are coded to measure throughput; 0 skips this measurement.
        in_flight: number of these images that are coded at a time.
        cold: number of further processes that are started to measure the cold start.
        sweep: sizes to measure growth with, or None.
    """

    engine: str
    backends: Sequence[str | None] = (None,)
    precision: str | None = None
    threads: int | None = None
    device: int | None = None
    checkpoint: str | None = None
    images: list[str] = field(default_factory=list)
    sizes: list[Size] = field(default_factory=list)
    plan: Plan = Plan(repeats=9, warm_up=2, seconds=60)  # noqa: RUF009  it is immutable
    batch: int = 4
    in_flight: int = 2
    cold: int = 2
    sweep: Sequence[Size] | None = None


def run(settings: Settings, say: Say) -> dict[str, Any]:
    """Run the benchmark and return the result, which docs/bench.md and schema.json describe.

    `say` is called with a line about each step. Raises GlicError, MemoryError or OSError if a contender fails.
    """
    bundle = bundles_in(settings.engine)[-1]
    found = machine.describe()
    starts = _starts(settings)
    with temporary_directory("glic-bench-") as directory, ExitStack() as stack:
        workloads = prepare(directory, settings.images, settings.sizes, DEFAULT_LIMITS)
        contenders = [stack.enter_context(start()) for start in starts]
        for contender in contenders:
            say(f"{contender.name}: open after {contender.start_s + contender.open_s:.2f} s")
        latency, ratios, measured = _latency(contenders, workloads, settings.plan, say)
        throughput = _throughput(contenders, workloads, settings, say) if settings.batch else []
        described: list[dict[str, Any]] = [
            {
                "name": contender.name,
                "codec": contender.codec,
                "peak_resident_bytes": peak_resident(runs),
                "cold_start": [_cold_start(contender)],
            }
            for contender, runs in zip(contenders, measured, strict=True)
        ]
        for start, entry in zip(starts, described, strict=True):
            for _ in range(settings.cold):
                with start() as fresh:
                    fresh.round_trip(workloads[0].path)
                    entry["cold_start"].append(_cold_start(fresh))
    return {
        "schema": SCHEMA,
        "made_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "version": __version__,
        "command": sys.argv,
        "machine": found,
        "engine": _engine(bundle),
        "settings": {
            "repeats": settings.plan.repeats,
            "warm_up": settings.plan.warm_up,
            "seconds": settings.plan.seconds,
            "threads": settings.threads,
            "batch": settings.batch,
            "in_flight": settings.in_flight,
            "images": settings.images or [SYNTHETIC],
        },
        "contenders": described,
        "latency": latency,
        "ratios": ratios,
        "throughput": throughput,
        "sweep": None
        if settings.sweep is None
        else {
            "contender": described[0]["name"],
            **sweep(starts[0], settings.images, settings.sweep, Plan(3, 1, settings.plan.seconds), say),
        },
    }


def _starts(settings: Settings) -> list[Callable[[], Contender]]:
    """Return a function for each contender that starts it. The first contender is the base of comparison."""

    def start(name: str | None, command: Sequence[str]) -> Callable[[], Contender]:
        return lambda: Contender(name, command)

    def command(backend: str | None) -> list[str]:
        name, _, precision = (backend or "").partition(":")
        return engine_command(
            settings.engine,
            backend=name or None,
            precision=precision or settings.precision,
            threads=settings.threads,
            device=settings.device,
        )

    starts = [start(backend, command(backend)) for backend in settings.backends]
    if settings.checkpoint is not None:
        starts.append(start(TORCH, torch_command(settings.checkpoint, settings.threads)))
    return starts


def _latency(
    contenders: Sequence[Contender], workloads: Sequence[Workload], plan: Plan, say: Say
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[list[Answer]]]:
    """Measure latency; return the entries of all contenders and workloads, the ratios, and each contender's runs."""
    latency: list[dict[str, Any]] = []
    ratios: list[dict[str, Any]] = []
    measured: list[list[Answer]] = [[] for _ in contenders]
    for workload in workloads:
        what = {"image": workload.source, "size": list(workload.size)}
        say(f"{workload.source} at {workload.size[0]}x{workload.size[1]}")
        turns = take_turns(contenders, workload, plan)
        for contender, runs, all_runs in zip(contenders, turns, measured, strict=True):
            latency.append({"contender": contender.name, **what, "bytes": runs[0]["bytes"], **summarise(runs)})
            all_runs += runs
        ratios += [{**what, **pair} for pair in compare_pairs(contenders, turns)]
    return latency, ratios, measured


def _throughput(
    contenders: Sequence[Contender], workloads: Sequence[Workload], settings: Settings, say: Say
) -> list[dict[str, Any]]:
    paths = [workloads[number % len(workloads)].path for number in range(settings.batch)]
    entries = []
    for contender in contenders:
        say(f"{contender.name}: throughput of {settings.batch} images")
        in_flight = 1 if contender.name == TORCH else settings.in_flight  # images would compete for its threads
        answer = contender.batch(paths, in_flight)
        entry = {
            "contender": contender.name,
            "images": len(paths),
            "pixels": answer["pixels"],
            "in_flight": in_flight,
        }
        for direction in DIRECTIONS:
            seconds = answer[f"{direction}_s"]
            entry[direction] = {
                "seconds": seconds,
                "images_per_s": len(paths) / seconds,
                "megapixels_per_s": answer["pixels"] / seconds / 1e6,
            }
        entries.append(entry)
    return entries


def _cold_start(contender: Contender) -> dict[str, float | None]:
    """Return the seconds to start the process and import, to open the codec, and of the first round trip."""
    return {"start_s": contender.start_s, "open_s": contender.open_s, "first_image_s": contender.first_image_s}


def _engine(bundle: Bundle) -> dict[str, Any]:
    described = bundle.describe()
    return {
        "path": described["path"],
        "bytes": described["bytes"],
        "model_fingerprint": bundle.model_fingerprint.hex(),
        "arithmetic_fingerprint": bundle.arithmetic_fingerprint.hex(),
        "arithmetic": "exact" if bundle.exact else "float",
    }
