"""`make bench-rate`: what the encoder's efforts and strengths gain, on real files.

    python -m benchmarks.rate [--engine out/sample] [--images IMAGE ...] [--exchange 20%/dB] [--lambda 0.013]
                              [--checkpoint samples/glic_tiny.pth]

Each image is coded at efforts 0 and 1, at effort 2 if there is a checkpoint, and for the dial at fixed strengths. The
tables show means over the images: bits per pixel, PSNR, MS-SSIM in dB, and the net change of the cost at two exchange
rates, against effort 0. Every file is decoded, which compares its symbols with the encoder's. Then the images are coded
to three targets, and two efforts are timed in turns. The last line is a JSON object:

- effort1_net_percent: the net change of effort 1 at --exchange; effort1_worst_net_percent: of the worst
  image.
- best_net_percent: the least net change of all efforts.
- effort1_ms_ssim_delta: the change of MS-SSIM in dB, -10 log10(1 - MS-SSIM), at equal rate: what 1 % of the bits is
  worth in dB of PSNR at --exchange, it is worth in dB of MS-SSIM too. Null at a lambda, or without pytorch-msssim.
- effort1_time_ratio: the time of an encoding at effort 1, over that at effort 0.
- target_error_percent: the largest distance of a file's size from its target.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glic_deploy import Codec
from glic_deploy.bundle_codec import BundleCodec
from glic_deploy.entropy.quantizer import Weighing
from glic_deploy.evaluation.codecs import choose
from glic_deploy.evaluation.curves import PUBLISHED, Curve, Point
from glic_deploy.evaluation.quality import MsSsim, ms_ssim_installed
from glic_deploy.exchange import Coded, Exchange
from glic_deploy.image import load_image
from glic_deploy.metrics import bits_per_pixel, mean_squared_error
from glic_deploy.report.figures import as_svg, rate_distortion
from glic_deploy.tuning import Measured

_ROOT = Path(__file__).resolve().parent.parent
_KODAK = Path(os.environ.get("GLIC_TEST_DATA", _ROOT.parent / "shared")) / "data" / "kodak"

DIAL = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
SHARES = (0.95, 0.85, 0.75)
"""Targets, as shares of the size at effort 0."""
TIMED = (0, 1)


@dataclass(frozen=True)
class Row(Coded):
    """The rate and the quality of an image. ms_ssim: in dB; None where it was not measured."""

    ms_ssim: float | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default=str(_ROOT / "out" / "sample"))
    parser.add_argument("--images", nargs="+", default=sorted(map(str, _KODAK.glob("*.png"))))
    parser.add_argument("--exchange", type=Exchange.parse, default="20%/dB", help="default: %(default)s")
    parser.add_argument("--lambda", dest="lmbda", type=Exchange.parse, default="0.013", help="default: %(default)s")
    parser.add_argument("--dial", nargs="*", type=float, default=DIAL, help="strengths; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=15, help="encodings that are timed (default: %(default)s)")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--checkpoint", help="checkpoint of the engine: measures effort 2 too, which takes minutes")
    parser.add_argument("--plot", type=Path, help="SVG to draw the dial to, beside the published curve and AVIF")
    args = parser.parse_args()
    if not args.images:
        sys.exit(f"there are no images in {_KODAK}; name some: --images a.png b.png")
    images = {Path(path).stem: load_image(path) for path in args.images}
    with (
        Codec(args.engine, threads=args.threads, checkpoint=args.checkpoint) as codec,
        MsSsim() if ms_ssim_installed() else nullcontext() as similarity,
    ):
        levels = (*TIMED, 2) if args.checkpoint else TIMED
        efforts = {effort: [code(codec, image, effort, similarity) for image in images.values()] for effort in levels}
        errors = [target_error(codec, image, share) for image in images.values() for share in SHARES]
        ratio = time_ratio(codec, min(images.values(), key=np.size), args.rounds)
    dial = measure_dial(args.engine, list(images.values()), args.dial, args.threads)
    plain, weighed = efforts[0], efforts[1]
    rates = (args.exchange, args.lmbda)
    print(f"{'':24}{'bpp':>9}{'PSNR':>9}{'MS-SSIM':>9}" + "".join(f"{f'net {rate}':>14}" for rate in rates))
    for name, *rows in zip(images, *efforts.values(), strict=True):
        for effort, row in zip(efforts, rows, strict=True):
            print(line(f"{name} effort {effort}", [row], rows[:1], rates))
    for effort, rows in efforts.items():
        print(line(f"mean, effort {effort}", rows, plain, rates))
    for strength, coded in dial.items():
        print(line(f"mean, strength {strength:g}", coded, dial[0.0], rates))
    slopes(args.exchange, plain)
    if args.plot:
        draw(args.plot, list(images.values()), dial)
    nets = {effort: args.exchange.net_percent(rows, plain) for effort, rows in efforts.items()}
    worst = max(args.exchange.net_percent([row], [before]) for row, before in zip(weighed, plain, strict=True))
    print(
        json.dumps(
            {
                "effort1_net_percent": round(nets[1], 2),
                "best_net_percent": round(min(nets.values()), 2),
                "effort1_worst_net_percent": round(worst, 2),
                "effort1_ms_ssim_delta": at_equal_rate(weighed, plain, args.exchange),
                "effort1_time_ratio": round(ratio, 4),
                "target_error_percent": round(100 * max(errors), 2),
            }
        )
    )


def code(codec: Codec, image: NDArray[np.uint8], effort: int, similarity: MsSsim | None) -> Row:
    """Encode, decode the file, and measure. Raises BitstreamError if the file does not decode to its symbols."""
    height, width = image.shape[:2]
    data = codec.encode(image, effort=effort)
    decoded = codec.decode(data)
    measured = similarity(image, decoded) if similarity else None
    decibels = None if measured is None else -10 * math.log10(1 - measured)
    return Row(bits_per_pixel(len(data), height * width), mean_squared_error(image, decoded), decibels)


def target_error(codec: Codec, image: NDArray[np.uint8], share: float) -> float:
    """Return the relative distance of a file's size from a target, a share of its size at effort 0."""
    target = round(share * len(codec.encode(image, effort=0)))
    size = len(codec.encode(image, target_bytes=target))
    assert size <= target, f"the file has {size} bytes, its target is {target}"
    return 1 - size / target


def time_ratio(codec: Codec, image: NDArray[np.uint8], rounds: int) -> float:
    """Return the ratio of the median times of efforts 1 and 0, which take turns."""
    seconds: dict[int, list[float]] = {effort: [] for effort in TIMED}
    for number in range(rounds + 1):
        for effort in TIMED if number % 2 else TIMED[::-1]:
            start = time.perf_counter()
            codec.encode(image, effort=effort)
            if number:  # the first round warms up
                seconds[effort].append(time.perf_counter() - start)
    return statistics.median(seconds[1]) / statistics.median(seconds[0])


def measure_dial(
    engine: str, images: Sequence[NDArray[np.uint8]], strengths: Sequence[float], threads: int | None
) -> dict[float, list[Coded]]:
    """Return the rate and the error of the images at fixed strengths."""
    codec = BundleCodec(engine, threads=threads)
    measured = [Measured(codec, image) for image in images]
    dial = {strength: [one.at(Weighing(strength)) for one in measured] for strength in (0.0, *strengths)}
    codec.close()
    return dial


def at_equal_rate(weighed: Sequence[Row], plain: Sequence[Row], exchange: Exchange) -> float | None:
    """Return the change of the mean MS-SSIM in dB, less the change that the saved bits are worth."""
    pairs = [(a.ms_ssim, b.ms_ssim) for a, b in zip(weighed, plain, strict=True) if a.ms_ssim and b.ms_ssim]
    if not exchange.per_db or not pairs:
        return None
    bits = 100 * (sum(row.bpp for row in weighed) / sum(row.bpp for row in plain) - 1)
    return round(sum(after - before for after, before in pairs) / len(pairs) - bits / exchange.value, 3)


def slopes(exchange: Exchange, plain: Sequence[Coded]) -> None:
    """Print the slope of the published curve, which the exchange rate stands for, beside the rate of these images."""
    points = PUBLISHED["kodak"].points
    bits = [100 * math.log(b.bpp / a.bpp) / (b.psnr - a.psnr) for a, b in pairwise(points)]
    print(f"published checkpoints, Kodak: {', '.join(f'{value:.1f}' for value in bits)} % a dB between neighbours")
    print(f"exchange rate {exchange}; these images: {statistics.fmean(row.bpp for row in plain):.4f} bpp at effort 0")


def draw(path: Path, images: Sequence[NDArray[np.uint8]], dial: dict[float, list[Coded]]) -> None:
    """Draw the dial, the published curve and AVIF."""
    (avif,) = choose(["avif"])
    others = []
    for quality in avif.qualities:
        rows = []
        for image in images:
            data, decoded, _, _ = avif.round_trip(image, quality)
            rows.append(Coded(bits_per_pixel(len(data), image[..., 0].size), mean_squared_error(image, decoded)))
        others.append(rows)
    ours = Curve.of(f"{len(dial)} strengths of one bundle", [mean_point(rows) for rows in dial.values()])
    curves = [PUBLISHED["kodak"], Curve.of(avif.title, [mean_point(rows) for rows in others])]
    path.write_bytes(as_svg(rate_distortion(ours, curves)))


def mean_point(rows: Sequence[Coded]) -> Point:
    return Point(statistics.fmean(row.bpp for row in rows), statistics.fmean(row.psnr for row in rows))


def line(title: str, rows: Sequence[Coded], plain: Sequence[Coded], rates: Sequence[Exchange]) -> str:
    """Return a line of the table: means, and the net changes."""
    similar = [row.ms_ssim for row in rows if isinstance(row, Row) and row.ms_ssim is not None]
    cells = f"{statistics.fmean(row.bpp for row in rows):9.4f}{statistics.fmean(row.psnr for row in rows):9.3f}"
    cells += f"{statistics.fmean(similar):9.3f}" if similar else f"{'-':>9}"
    return f"{title:24}{cells}" + "".join(f"{rate.net_percent(rows, plain):12.2f} %" for rate in rates)


if __name__ == "__main__":
    main()
