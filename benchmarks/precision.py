"""Measure what bfloat16 transforms on OpenVINO cost in noise, and gain in time: `make bench-precision`.

    python -m benchmarks.precision [--checkpoint C.pth] [--images IMAGE ...] [--side 256] [--threads N]

Both transforms run in three ways: in float32, with OpenVINO's own lowering of everything to bfloat16, and with bfloat16
products alone, as `--precision bf16` does. The columns for each way, over the middles of the images, are:

- the noise of the synthesis transform in dB: 255² over the mean square of the noise that it adds to an image, before
  rounding to 8 bits; its mean and the worst image;
- the loss in dB that this noise causes in a decoded image of 32 and of 40 dB;
- the loss in dB that the noise of the analysis transform in y causes at the finest quantisation;
- seconds.

A CPU without bfloat16 emulates it. The noise is then valid and the times are not; the last line, a JSON object, has
"emulated" for this. The line before the last shows the precision that `Codec` would choose for this bundle.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from glic_deploy import machine
from glic_deploy.backends.noise import noise_db
from glic_deploy.backends.openvino import OpenVinoBackend, extension_path
from glic_deploy.backends.openvino_mixed import lower_products
from glic_deploy.backends.precision_trial import run_trial
from glic_deploy.bundle import Bundle
from glic_deploy.image import load_image, pad

_ROOT = Path(__file__).resolve().parent.parent

Array = NDArray[Any]


class Way(NamedTuple):
    """Describe a way to run a transform.

    Attributes:
        name: name of the row.
        hint: OpenVINO's hint of the inference precision.
        ours: whether `lower_products` rewrites the graph.
    """

    name: str
    hint: str
    ours: bool


WAYS = (Way("all float32", "f32", False), Way("all OpenVINO's bf16", "bf16", False), Way("bf16 products", "f32", True))


class Outcome(NamedTuple):
    y: Array
    image: Array
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=_ROOT / "samples" / "glic_tiny.pth")
    parser.add_argument("--images", type=Path, nargs="+", default=sorted((_ROOT / "samples" / "photos").glob("*.png")))
    parser.add_argument("--side", type=int, default=256, help="side of the square that is cut from an image's middle")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    print(machine.summary(machine.describe()))
    with tempfile.TemporaryDirectory() as directory:
        export = [sys.executable, "-m", "export.to_onnx", "--checkpoint", str(args.checkpoint), "--output", directory]
        subprocess.run(export, check=True, stdout=subprocess.DEVNULL)
        report(Bundle.open(directory), [middle(load_image(path), args.side) for path in args.images], args.threads)


def middle(image: Array, side: int) -> Array:
    top, left = ((length - side) // 2 for length in image.shape[:2])
    return pad(np.ascontiguousarray(image[top : top + side, left : left + side]))


def report(bundle: Bundle, images: list[Array], threads: int | None) -> None:
    emulated = not machine.has_bfloat16()
    if emulated:
        print("this CPU emulates bfloat16: the noise is valid, the times mean nothing")
    print(f"{len(images)} images of {images[0].shape[1]}x{images[0].shape[0]}; noise is the mean one, and the worst")
    columns = "".join(f"{title:>10}" for title in ("noise dB", "worst", "at 32 dB", "at 40 dB", "y costs"))
    print(f"\n{'':20}{columns}{'seconds, both':>16}")
    exact: list[Outcome] = []
    chosen: dict[str, float] = {}
    for way in WAYS:
        found = list(run(bundle, way, images, threads, exact))
        seconds = np.median([outcome.seconds for outcome in found])
        if not exact:
            exact = found
            print(f"{way.name:20}{'':50}{seconds:16.3f}")
            continue
        noises = [noise_db(one.image, other.image) for one, other in zip(exact, found, strict=True)]
        noise = -10 * np.log10(np.mean([10 ** (-value / 10) for value in noises]))
        losses = [10 * np.log10(1 + 10 ** ((quality - noise) / 10)) for quality in (32, 40)]
        y_noise = np.mean([np.square(one.y - other.y).mean() for one, other in zip(exact, found, strict=True)])
        y_loss = 10 * np.log10(1 + 12 * y_noise)
        print(
            f"{way.name:20}{noise:10.2f}{min(noises):10.2f}{losses[0]:10.4f}{losses[1]:10.4f}{y_loss:10.4f}{seconds:16.3f}"
        )
        chosen = {"noise_db": noise, "worst_db": min(noises), "loss_at_40_db": losses[1], "y_loss_db": y_loss}
    trial = run_trial(
        OpenVinoBackend(bundle, threads), OpenVinoBackend(bundle, threads, precision="bf16", emulate=True)
    )
    print(f"\nCodec's own trial: noise {trial.noise:.2f} dB, {trial.gain:.2f} times as fast, so {trial.precision}")
    print(json.dumps({name: round(float(value), 4) for name, value in chosen.items()} | {"emulated": emulated}))


def run(bundle: Bundle, way: Way, images: list[Array], threads: int | None, exact: list[Outcome]) -> Iterator[Outcome]:
    """Run both transforms of each image.

    exact: the outcomes in float32, whose rounded y is synthesised; if empty, each image's own y is used.
    """
    core = ov.Core()
    core.add_extension(extension_path())
    requests: dict[str, ov.InferRequest] = {}

    def timed(graph: str, name: str, array: Array) -> tuple[Array, float]:
        if graph not in requests:
            model = core.read_model(bundle.graph(graph, ("native",)))
            if way.ours:
                lower_products(model)
            model.reshape({name: list(array.shape)})
            options = {"INFERENCE_PRECISION_HINT": way.hint} | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
            requests[graph] = core.compile_model(model, "CPU", options).create_infer_request()
            requests[graph].infer({name: array})
        start = time.perf_counter()
        result = np.array(requests[graph].infer({name: array})[0])
        return result, time.perf_counter() - start

    for number, image in enumerate(images):
        y, seconds_y = timed("analysis", "image", image)
        image, seconds = timed("synthesis", "y_hat", np.round(exact[number].y if exact else y))
        yield Outcome(y, image, seconds_y + seconds)


if __name__ == "__main__":
    main()
