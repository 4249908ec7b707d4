"""`python -m benchmarks.previews --engine DIR IMAGES...`: what previews save in time and cost in quality.

For each scale it prints

  time     of decoding to an array beside that of the whole image, in turns on the first image; the ratio of each pair
  quality  PSNR of the preview and of the plainly reduced decoded image against the reduced original, and of the preview
           against the reduced decoded image; MS-SSIM where the images are large enough for it; means over the images

and, with --slices, what a decoder shows of a file that ends after K slices of y, which `decode` does not offer: the
bytes that it needs, the PSNR with the predicted means for what is missing and with zeros, and the time of the slices.
The last line is a JSON object: {"times": {scale: {"seconds", "ratio"}}, "quality": {scale: {...}}, "slices": [...]}.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glic_deploy import Codec, machine
from glic_deploy.bench.statistics import Summary, paired_ratios
from glic_deploy.bundle_codec import BundleCodec
from glic_deploy.entropy.passes import CodedPass, Pass, Symbols, slices, walk
from glic_deploy.entropy.rans import CdfTables, Encoder
from glic_deploy.evaluation.quality import MsSsim
from glic_deploy.image import box_reduced, load_image
from glic_deploy.metrics import psnr
from glic_deploy.scales import SCALES
from glic_deploy.values import Settled

Pixels = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--backend")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=9, help="counted runs of each scale, after one of warm-up")
    parser.add_argument("--slices", action="store_true")
    parser.add_argument("images", nargs="+", metavar="IMAGES")
    args = parser.parse_args()
    images = [load_image(path) for path in args.images]
    print(machine.summary(machine.describe()))
    with Codec(args.engine, backend=args.backend, threads=args.threads) as codec:
        print(f"{codec.describe()['backend']}; {len(images)} images; 1 warm-up, n = {args.runs}\n")
        found: dict[str, Any] = {"times": times(codec, images[0], args.runs), "quality": quality(codec, images)}
    if args.slices:
        found["slices"] = of_slices(BundleCodec(args.engine, backend=args.backend, threads=args.threads), images)
    print(f"\n{json.dumps(found)}")


def times(codec: Codec, image: Pixels, runs: int) -> dict[int, dict[str, Any]]:
    """Print and return the times of all scales, which take turns."""
    data = codec.encode(image)
    seconds: dict[int, list[float]] = {scale: [] for scale in (1, *SCALES)}
    for run in range(runs + 1):
        for scale, values in seconds.items():
            start = time.perf_counter()
            codec.decode(data, scale=scale)
            if run:
                values.append(time.perf_counter() - start)
    print(f"{image.shape[1]}x{image.shape[0]}, {len(data):,} bytes")
    print(f"{'scale':8}{'ms':>8}{'p10':>8}{'p90':>8}{'times as fast':>16}{'p10':>8}{'p90':>8}")
    found = {}
    for scale, values in seconds.items():
        own, ratio = Summary.of(values), paired_ratios(seconds[1], values)
        print(f"{scale:<8}{own.median * 1e3:8.1f}{own.p10 * 1e3:8.1f}{own.p90 * 1e3:8.1f}", end="")
        print(f"{ratio.median:16.2f}{ratio.p10:8.2f}{ratio.p90:8.2f}")
        found[scale] = {"seconds": own.as_dict(), "ratio": ratio.as_dict()}
    return found


def quality(codec: Codec, images: Sequence[Pixels]) -> dict[int, dict[str, float | None]]:
    """Print and return the mean quality of each scale."""
    rows: dict[int, list[list[float | None]]] = {scale: [] for scale in SCALES}
    with MsSsim() as ms_ssim:
        for image in images:
            data = codec.encode(image)
            whole = codec.decode(data)
            for scale, values in rows.items():
                original, reduced = box_reduced(image, scale), box_reduced(whole, scale)
                preview = codec.decode(data, scale=scale)
                measures: list[Callable[[Pixels, Pixels], float | None]] = [psnr, ms_ssim]
                pairs = ((original, preview), (original, reduced), (reduced, preview))
                values.append([measure(*pair) for pair in pairs for measure in measures])
    names = [f"{pair} {measure}" for pair in ("preview", "reduced", "between") for measure in ("PSNR", "MS-SSIM")]
    print(f"\n{'scale':8}" + "".join(f"{name:>18}" for name in names))
    found = {}
    for scale, values in rows.items():
        means = [mean(column) for column in zip(*values, strict=True)]
        print(f"{scale:<8}" + "".join(f"{'-' if value is None else f'{value:.4f}':>18}" for value in means))
        found[scale] = dict(zip(names, means, strict=True))
    return found


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of what could be measured; None for nothing."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def of_slices(codec: BundleCodec, images: Sequence[Pixels]) -> list[dict[str, float]]:
    """Print and return what files show that end after K slices, for each K."""
    groups = codec.bundle.groups
    rows: list[list[list[float]]] = [[] for _ in range(len(groups) + 1)]
    for image in images:
        payload, checksum = codec.encode(image)
        passes = codec.decode_symbols(payload, checksum, *image.shape[:2])
        for count, values in enumerate(rows):
            values.append([cut_bytes(codec, passes, count) / len(payload), *shown_after(codec, passes, count, image)])
    print(f"\n{'slices':8}{'channels':>9}{'bytes %':>9}{'means dB':>10}{'zeros dB':>10}{'slices %':>10}")
    found = []
    for count, values in enumerate(rows):
        share, means, zeros, spent = np.mean(values, axis=0)
        channels = sum(groups[:count])
        print(f"{count:<8}{channels:>9}{100 * share:>9.1f}{means:>10.2f}{zeros:>10.2f}{100 * spent:>10.1f}")
        found.append({"bytes": share, "psnr_means": means, "psnr_zeros": zeros, "time": spent})
    return found


def cut_bytes(codec: BundleCodec, passes: Sequence[CodedPass], count: int) -> int:
    """The bytes of a stream of z and the first slices."""
    arrays = codec.bundle.tables()
    y, z = (CdfTables(*(arrays[f"{latent}_{part}"] for part in ("cdfs", "lengths", "offsets"))) for latent in "yz")
    encoder = Encoder()
    for coded in passes:
        if coded.part is None or coded.part.k < count:
            encoder.push(y if coded.part else z, coded.symbols, coded.indexes)
    return len(encoder.finish())


def shown_after(codec: BundleCodec, passes: Sequence[CodedPass], count: int, image: Pixels) -> list[float]:
    """The PSNR with predicted means and with zeros for the slices from `count`, and the share of time of those before.

    The share is of the time of the whole entropy model.
    """
    z, *coded = passes
    symbols = {(part.part.k, part.part.parity): part.symbols for part in coded if part.part}
    spent: dict[str, float] = {}
    run = codec._runner(spent)

    def step(part: Pass, indexes: NDArray[np.uint8], means: Any) -> Symbols:
        known = symbols[part.k, part.parity]
        return known if part.k < count else np.zeros_like(known)

    groups = codec.bundle.groups
    y_hat, start = np.asarray(walk(groups, run, z.symbols, step)), sum(groups[:count])
    cut = y_hat.copy()
    cut[:, start:] = 0
    late = {
        f"slice{k}_{part}" for k, first, _ in slices(groups) for part in ("anchors", "nonanchors") if first >= start
    }
    skipped, whole = sum(spent.get(graph, 0.0) for graph in late), sum(spent.values())
    found = []
    for latents in (y_hat, cut):
        (pixels,) = run("synthesis", y_hat=Settled(latents, latents.shape[1]))
        found.append(psnr(image, np.asarray(pixels)[: image.shape[0], : image.shape[1]]) or np.inf)
    return [*found, 1 - skipped / whole]


if __name__ == "__main__":
    main()
