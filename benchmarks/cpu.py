"""`make bench-cpu`: the codec beside the same network in eager PyTorch, whole pictures, on this machine's CPU.

Both sides take an array and give bytes, then take the bytes and give an array, with the same number of threads, in
turns. The eager side runs in a child process, so that the memory measured is the codec's alone. The last line is a JSON
object: {"encode_ratio", "decode_ratio", "encode_s", "decode_s", "peak_rss_mib"}, ratios being eager time / ours.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from glic_deploy import Codec
from glic_deploy.image import load_image

ROOT = Path(__file__).resolve().parent.parent
PHOTO = ROOT / "samples" / "photos" / "kodim23.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="a GLIC checkpoint; default: the full size, made up")
    parser.add_argument("--image", type=Path, default=PHOTO, help="default: a 768×512 photograph")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--pairs", type=int, default=5, help="counted pairs of runs, after one of warm-up")
    parser.add_argument("--backend", help="default: the best installed")
    parser.add_argument("--alone", action="store_true", help="leave the eager network out: our times and memory only")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        checkpoint = args.checkpoint or full_size(Path(directory) / "full.pth")
        engine = Path(directory) / "engine"
        export = [sys.executable, "-m", "export.to_onnx", "--checkpoint", str(checkpoint), "--output", str(engine)]
        subprocess.run(export, check=True, stdout=subprocess.DEVNULL)
        eager = None if args.alone else EagerChild(checkpoint, args.threads)
        measure(engine, args, eager)


def full_size(path: Path) -> Path:
    """A checkpoint of the released files' size and form with pseudo-random weights."""
    command = [sys.executable, "-m", "benchmarks.full_size_checkpoint", str(path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return path


class EagerChild:
    """`python -m export.eager`, which times one picture at a time on request."""

    def __init__(self, checkpoint: Path, threads: int) -> None:
        command = [sys.executable, "-m", "export.eager", "--checkpoint", str(checkpoint), "--threads", str(threads)]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def times(self, image: Path) -> tuple[float, float]:
        """Seconds to encode and to decode."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(f"{image}\n")
        self._child.stdin.flush()
        answer = json.loads(self._child.stdout.readline())
        return answer["encode_s"], answer["decode_s"]

    def close(self) -> None:
        self._child.communicate()


def measure(engine: Path, args: argparse.Namespace, eager: EagerChild | None) -> None:
    picture = load_image(args.image)
    start = time.perf_counter()
    codec = Codec(engine, backend=args.backend, threads=args.threads)
    opening = time.perf_counter() - start
    backend = codec.describe()["backend"]
    print(f"CPU      {cpu_model()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}")
    print(f"backend  {backend['name']} {backend['version']}, {args.threads} threads; opened in {opening:.2f} s")
    print(f"picture  {args.image.name}, {picture.shape[1]}×{picture.shape[0]}; 1 warm-up, n = {args.pairs}\n")

    ours: dict[str, list[float]] = {"encode": [], "decode": []}
    theirs: dict[str, list[float]] = {"encode": [], "decode": []}
    stages: dict[str, list[dict[str, float]]] = {"encode": [], "decode": []}
    for pair in range(args.pairs + 1):
        encoding: dict[str, float] = {}
        decoding: dict[str, float] = {}
        start = time.perf_counter()
        data = codec.encode(picture, stages=encoding)
        middle = time.perf_counter()
        codec.decode(data, stages=decoding)
        times = middle - start, time.perf_counter() - middle
        reference = eager.times(args.image) if eager else (float("nan"),) * 2
        if pair == 0:
            continue
        for key, mine, other, parts in zip(ours, times, reference, (encoding, decoding), strict=True):
            ours[key].append(mine)
            theirs[key].append(other)
            stages[key].append(parts)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # the codec's process; the child is not in it
    if eager:
        eager.close()

    ratios = {key: [b / a for a, b in zip(ours[key], theirs[key], strict=True)] for key in ours}
    print(f"{'seconds':28} {'median':>8} {'p10':>8} {'p90':>8} {'min':>8}")
    for key in ours:
        print(row(f"{key}, glic_deploy", ours[key]))
        print(row(f"{key}, eager PyTorch", theirs[key]))
        print(row(f"{key}, eager / ours", ratios[key]))
    for key, runs in stages.items():
        print(f"\n{key}: median seconds per stage")
        for name in runs[0]:
            print(f"  {name:22} {statistics.median(run[name] for run in runs):8.3f}")
    print(f"\npeak resident memory of the codec's process: {peak:,.0f} MiB\n")
    summary = {f"{key}_ratio": statistics.median(ratios[key]) for key in ours}
    summary |= {f"{key}_s": statistics.median(ours[key]) for key in ours} | {"peak_rss_mib": peak}
    print(json.dumps({key: round(value, 3) for key, value in summary.items()}))


def row(title: str, values: list[float]) -> str:
    p10, median, p90 = np.percentile(values, [10, 50, 90])
    return f"{title:28} {median:8.3f} {p10:8.3f} {p90:8.3f} {min(values):8.3f}"


def cpu_model() -> str:
    """The processor's name, as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
