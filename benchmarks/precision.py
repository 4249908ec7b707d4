"""Measure what bfloat16 transforms cost in noise, and gain in time: `make bench-precision`.

    python -m benchmarks.precision [--checkpoint C.pth] [--images IMAGE ...] [--side 256] [--threads N]

Both transforms run in float32 and in bfloat16, in onnxruntime and, if it is here, in OpenVINO: with bfloat16
products alone, as `--precision bf16` does, and with OpenVINO's own lowering of everything. The columns for each way,
over the middles of the images, are:

- the noise of the synthesis transform in dB: 255² over the mean square of the noise that it adds to an image in float32
  of the same runtime, before rounding to 8 bits; its mean and the worst image;
- the loss in dB that this noise causes in a decoded image of 32 and of 40 dB;
- the loss in dB that the noise of the analysis transform in y causes at the finest quantisation;
- seconds.

A CPU without bfloat16 emulates it. The noise is then valid and the times are not; the last line, a JSON object with the
values of onnxruntime, has "emulated" for this. The line before the last shows the precision that `Codec` would choose
for this bundle.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from glic_deploy import machine
from glic_deploy.backends.base import Precision
from glic_deploy.backends.noise import noise_db
from glic_deploy.backends.onnxruntime import OnnxRuntimeBackend
from glic_deploy.backends.precision_trial import run_trial
from glic_deploy.bundle import Bundle
from glic_deploy.image import load_image, pad

_ROOT = Path(__file__).resolve().parent.parent

Array = NDArray[Any]


Run = Callable[[str, str, Array], Array]
"""Runs a graph on the array of its input of that name."""


def in_onnxruntime(bundle: Bundle, threads: int | None, *, precision: Precision) -> Run:
    backend = OnnxRuntimeBackend(bundle, threads, precision=precision, emulate=True)
    return lambda graph, name, array: backend.run(graph, {name: array})[0]


def in_openvino(bundle: Bundle, threads: int | None, *, hint: str, ours: bool = False) -> Run:
    """Compile for each input.

    hint: OpenVINO's hint of the inference precision. ours: whether `lower_products` rewrites the graph.
    """
    import openvino as ov

    from glic_deploy.backends.openvino import extension_path
    from glic_deploy.backends.openvino_mixed import lower_products

    core = ov.Core()
    core.add_extension(extension_path())
    requests: dict[str, ov.InferRequest] = {}

    def run(graph: str, name: str, array: Array) -> Array:
        if graph not in requests:
            model = core.read_model(bundle.graph(graph, ("native",)))
            if ours:
                lower_products(model)
            model.reshape({name: list(array.shape)})
            options = {"INFERENCE_PRECISION_HINT": hint} | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
            requests[graph] = core.compile_model(model, "CPU", options).create_infer_request()
        return np.array(requests[graph].infer({name: array})[0])

    return run


class Way(NamedTuple):
    """Describe a way to run a transform: the name of its row, and what opens a bundle."""

    name: str
    open: Callable[[Bundle, int | None], Run]


# For each runtime, float32 first.
RUNTIMES = (
    (
        Way("onnxruntime, fp32", partial(in_onnxruntime, precision="fp32")),
        Way("onnxruntime, bf16", partial(in_onnxruntime, precision="bf16")),
    ),
    (
        Way("OpenVINO, fp32", partial(in_openvino, hint="f32")),
        Way("OpenVINO, bf16", partial(in_openvino, hint="f32", ours=True)),
        Way("OpenVINO's own bf16", partial(in_openvino, hint="bf16")),
    ),
)


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


def can_emulate_in_openvino() -> bool:
    """Return whether OpenVINO is here and rounds to bfloat16: without AVX-512 it computes in float32 instead."""
    if importlib.util.find_spec("openvino") is None or "avx512f" not in machine.cpu()["instructions"]:
        print("without OpenVINO and AVX-512, the rows of OpenVINO are left out")
        return False
    return True


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
    chosen: dict[str, float] = {}
    for ways in RUNTIMES if can_emulate_in_openvino() else RUNTIMES[:1]:
        exact: list[Outcome] = []
        for way in ways:
            found = list(outcomes(way.open(bundle, threads), images, exact))
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
            values = (f"{noise:10.2f}{min(noises):10.2f}", *(f"{loss:10.4f}" for loss in (*losses, y_loss)))
            print(f"{way.name:20}{''.join(values)}{seconds:16.3f}")
            chosen = chosen or {
                "noise_db": noise,
                "worst_db": min(noises),
                "loss_at_40_db": losses[1],
                "y_loss_db": y_loss,
            }
    trial = run_trial(
        OnnxRuntimeBackend(bundle, threads), OnnxRuntimeBackend(bundle, threads, precision="bf16", emulate=True)
    )
    print(f"\nCodec's own trial: noise {trial.noise:.2f} dB, {trial.gain:.2f} times as fast, so {trial.precision}")
    print(json.dumps({name: round(float(value), 4) for name, value in chosen.items()} | {"emulated": emulated}))


def outcomes(run: Run, images: list[Array], exact: list[Outcome]) -> Iterator[Outcome]:
    """Run both transforms of each image, after a warm-up.

    exact: the outcomes in float32, whose rounded y is synthesised; if empty, each image's own y is used.
    """
    run("synthesis", "y_hat", np.round(run("analysis", "image", images[0])))

    def timed(graph: str, name: str, array: Array) -> tuple[Array, float]:
        start = time.perf_counter()
        return run(graph, name, array), time.perf_counter() - start

    for number, image in enumerate(images):
        y, seconds_y = timed("analysis", "image", image)
        image, seconds = timed("synthesis", "y_hat", np.round(exact[number].y if exact else y))
        yield Outcome(y, image, seconds_y + seconds)


if __name__ == "__main__":
    main()
