"""Compare the codec with the same network in eager PyTorch, on whole images and this machine's CPU: `make bench-cpu`.

Both sides encode an array to bytes and decode the bytes to an array. They have the same number of threads and processes
of their own, and take turns. The last line is a JSON object: {"encode_ratio", "decode_ratio", "encode_s", "decode_s",
"peak_rss_mib", "precision", "fp32_encode_ratio", "fp32_decode_ratio", "limit_multiple_encode",
"limit_multiple_decode"}. Ratios are eager time over our time, pair by pair; the memory is that of our process. With
--backend openvino, onnxruntime takes turns too, and the tables show the stages of both.

The limit is the time that the products of the graphs alone would take at the rate at which this machine multiplies in
cache, measured in the same run (`benchmarks/roofline.py`). The tables show our stages as multiples of their limits.
Eager PyTorch multiplies with the library that is printed: MKL leaves AVX-512 unused on some processors, so that the
ratios flatter us there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from glic_deploy import machine
from glic_deploy.bench.contender import Answer, Contender, engine_command, torch_command
from glic_deploy.bench.images import Workload, prepare
from glic_deploy.bench.latency import DIRECTIONS, FILES, Plan, peak_resident, summarise, take_turns
from glic_deploy.bench.statistics import Summary, paired_ratios
from glic_deploy.bench.tables import stage_title
from glic_deploy.limits import DEFAULT_LIMITS

from . import roofline

EAGER = "eager PyTorch"
PHOTO = Path(__file__).resolve().parent.parent / "samples" / "photos" / "kodim23.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="a GLIC checkpoint (default: one of full size with random weights)")
    parser.add_argument("--image", default=str(PHOTO), help="image to code (default: a 768x512 photograph)")
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), help="scale the image to WxH")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--pairs", type=int, default=5, help="number of timed pairs of runs, after a warm-up (default: 5)"
    )
    parser.add_argument("--backend", help="backend to measure (default: the best that works)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="precision of the transforms")
    parser.add_argument("--alone", action="store_true", help="measure without the eager network")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        checkpoint = args.checkpoint or full_size(Path(directory) / "full.pth")
        engine = str(Path(directory) / "engine")
        export = [sys.executable, "-m", "export.to_onnx", "--checkpoint", checkpoint, "--output", engine]
        subprocess.run(export, check=True, stdout=subprocess.DEVNULL)
        sizes = [args.size] if args.size else []
        workload = prepare(Path(directory), [args.image], sizes, DEFAULT_LIMITS)[0]
        ours = args.backend or "glic_deploy"
        commands = {ours: engine_command(engine, backend=args.backend, precision=args.precision, threads=args.threads)}
        may_be_low = machine.has_bfloat16()
        if args.precision == "bf16" or (args.precision is None and may_be_low):
            commands[f"{ours} fp32"] = engine_command(
                engine, backend=args.backend, precision="fp32", threads=args.threads
            )
        if args.backend == "openvino":
            commands["onnxruntime"] = engine_command(engine, backend="onnxruntime", threads=args.threads)
        if not args.alone:
            commands[EAGER] = torch_command(checkpoint, args.threads)
        contenders = [Contender(name, command) for name, command in commands.items()]
        try:
            runs = take_turns(contenders, workload, Plan(args.pairs, 1, float("inf")))
            precision = contenders[0].codec["backend"].get("precision", "fp32")
        finally:
            for contender in contenders:
                contender.close()
        rates = roofline.measure(precision, args.threads)
        limits = roofline.limits(roofline.work(checkpoint, *workload.size[::-1]), rates)
        report(contenders, workload, runs, rates, limits)


def full_size(path: Path) -> str:
    """Write a checkpoint with the size and form of the released files and with pseudo-random weights."""
    command = [sys.executable, "-m", "benchmarks.full_size_checkpoint", str(path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return str(path)


def seconds(runs: list[Answer], direction: str) -> list[float]:
    """Return the seconds of each run from array to bytes, or back, without reading and writing files."""
    files = [sum(run[direction]["stages"].get(name, 0.0) for name in FILES) for run in runs]
    return [run[direction]["total"] - extra for run, extra in zip(runs, files, strict=True)]


def report(
    contenders: list[Contender],
    workload: Workload,
    runs: list[list[Answer]],
    rates: roofline.Rates,
    limits: dict[str, float],
) -> None:
    """Print the machine and the backends, all times, the ratios to the eager network, our stages and the JSON line.

    limits: the seconds of each graph's products at the measured rates.
    """
    answers = {contender.name: answer for contender, answer in zip(contenders, runs, strict=True)}
    ours = contenders[0]
    engines = [contender.name for contender in contenders if contender.name != EAGER]
    precision = ours.codec["backend"].get("precision", "fp32")
    print(machine.summary(machine.describe()))
    for contender in contenders:
        print(f"{contender.name}: {contender.codec['backend']}; opened in {contender.open_s:.2f} s")
    if EAGER in answers:
        print(f"{EAGER} multiplies with {multiplies_with()}")
    print(
        f"products in cache, {precision}: {rates.products / 1e9:,.0f} G multiply-adds a second; "
        f"integers: {rates.integer / 1e9:,.0f} G"
    )
    print(f"{workload.source} at {workload.size[0]}x{workload.size[1]}; 1 warm-up, n = {len(runs[0])}\n")
    print(f"{'seconds':40}{'median':>8}{'p10':>8}{'p90':>8}{'min':>8}")
    single = ours.name if precision == "fp32" else f"{ours.name} fp32"
    summary: dict[str, float | str] = {"precision": precision}
    for direction in DIRECTIONS:
        times = {name: seconds(answer, direction) for name, answer in answers.items()}
        for name, values in times.items():
            median = row(f"{direction}, {name}", Summary.of(values))
            if name == ours.name:
                summary[f"{direction}_s"] = median
        for name in engines if EAGER in times else ():
            ratio = row(f"{direction}, {EAGER} / {name}", paired_ratios(times[EAGER], times[name]))
            if name == ours.name:
                summary[f"{direction}_ratio"] = ratio
            if name == single:
                summary[f"fp32_{direction}_ratio"] = ratio
    for direction in DIRECTIONS:
        summary[f"limit_multiple_{direction}"] = float(summary[f"{direction}_s"]) / roofline.limit_of(direction, limits)
    print_stages({name: answers[name] for name in engines}, limits)
    summary["peak_rss_mib"] = (peak_resident(runs[0]) or 0) / 2**20
    print(f"\npeak resident memory of {ours.name}: {summary['peak_rss_mib']:,.0f} MiB\n")
    print(json.dumps({name: round(value, 3) if isinstance(value, float) else value for name, value in summary.items()}))


def multiplies_with() -> str:
    """Return the library with which PyTorch multiplies on this CPU."""
    import torch

    library = "MKL" if torch.backends.mkl.is_available() else "OpenBLAS or another library"
    return f"{library}, and with oneDNN in convolutions; it sees {torch.backends.cpu.get_cpu_capability()}"


def print_stages(answers: dict[str, list[Answer]], limits: dict[str, float]) -> None:
    """Print a table for each direction: the median seconds of each stage, with a column for each engine.

    The last columns are the limit of the stage, and the first engine's multiple of it.
    """
    stages = {name: summarise(answer) for name, answer in answers.items()}
    for direction in DIRECTIONS:
        titles = (*answers, "limit", "multiple")
        print(f"\n{direction + ', median seconds per stage':34}" + "".join(f"{name:>18}" for name in titles))
        medians = {name: stages[name][direction]["stages_s"] for name in answers}
        for stage in next(iter(medians.values())):
            cells = "".join(f"{medians[name].get(stage, {'median': 0.0})['median']:18.3f}" for name in answers)
            first = next(iter(medians.values()))[stage]["median"]
            bound = f"{limits[stage]:18.3f}{first / limits[stage]:18.2f}" if stage in limits else ""
            print(f"  {stage_title(stage):32}{cells}{bound}")


def row(title: str, values: Summary) -> float:
    """Print a line of the table, and return its median."""
    print(f"{title:40}{values.median:8.3f}{values.p10:8.3f}{values.p90:8.3f}{values.min:8.3f}")
    return values.median


if __name__ == "__main__":
    main()
