"""Compare a plain loop with workers on a folder of images, from file to file: `python -m benchmarks.many`.

Every way encodes the same PNG files to `.glic` files and decodes these to images (PPM), with an open codec whose graphs
are loaded. The ways take turns. The last line is a JSON object: {"images", "ways": [{"workers", "threads", "encode_s",
"decode_s", "encode_ratio", "decode_ratio"}]}. The first way is the loop. A ratio is the median over the turns of the
loop's time over the way's time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from glic_deploy import Codec, machine
from glic_deploy.files import atomic_write
from glic_deploy.saving import save_image

PHOTOS = Path(__file__).resolve().parent.parent / "samples" / "photos"


@dataclass(frozen=True)
class Way:
    """Describe a way: `workers` images at a time with `threads` threads each; a plain loop if `workers` is 0."""

    workers: int
    threads: int

    @property
    def name(self) -> str:
        return f"{self.workers} workers, {self.threads} threads each" if self.workers else "plain loop"


def ways(cores: int) -> Iterator[Way]:
    yield Way(0, cores)
    yield Way(1, cores)
    yield Way(2, cores)
    yield Way(cores, 1)


def run(codec: Codec, way: Way, images: list[Path], folder: Path) -> tuple[float, float]:
    """Encode all images and decode all files; return the seconds of both."""
    files = [folder / f"{number}.glic" for number in range(len(images))]
    start = time.perf_counter()
    coded = codec.encode_many(images, workers=way.workers) if way.workers else map(codec.encode, images)
    for file, data in zip(files, coded, strict=True):
        atomic_write(file, data)
    encoded = time.perf_counter()
    if way.workers:
        decoded = codec.decode_many(files, workers=way.workers)
    else:
        decoded = (codec.decode(file.read_bytes()) for file in files)
    for file, image in zip(files, decoded, strict=True):
        save_image(image, file.with_suffix(".ppm"))
    return encoded - start, time.perf_counter() - encoded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--backend")
    parser.add_argument("--images", default=str(PHOTOS), help="a folder of PNG files (default: the samples)")
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    images = sorted(Path(args.images).glob("*.png"))
    plans = list(dict.fromkeys(ways(machine.cores())))
    codecs = {way: Codec(args.engine, backend=args.backend, threads=way.threads) for way in plans}
    times: dict[Way, list[tuple[float, float]]] = {way: [] for way in plans}
    with tempfile.TemporaryDirectory(prefix="glic-many-") as folder:
        for codec in codecs.values():
            codec.decode(codec.encode(images[0]))  # loads the graphs
        for _ in range(args.turns):
            for way in plans:
                times[way].append(run(codecs[way], way, images, Path(folder)))
    print(machine.summary(machine.describe()))
    print(f"{len(images)} images, median of {args.turns} turns; x: times as fast as the loop\n")
    report = []
    for way in plans:
        encode_s, decode_s = (median(column) for column in zip(*times[way], strict=True))
        pairs = list(zip(times[plans[0]], times[way], strict=True))
        encode_ratio, decode_ratio = (median(loop[side] / own[side] for loop, own in pairs) for side in (0, 1))
        numbers = f"encode {encode_s:6.2f} s {encode_ratio:5.2f}x   decode {decode_s:6.2f} s {decode_ratio:5.2f}x"
        print(f"{way.name:28} {numbers}")
        report.append(
            {
                "workers": way.workers,
                "threads": way.threads,
                "encode_s": encode_s,
                "decode_s": decode_s,
                "encode_ratio": encode_ratio,
                "decode_ratio": decode_ratio,
            }
        )
    print(json.dumps({"images": len(images), "ways": report}))


if __name__ == "__main__":
    main()
