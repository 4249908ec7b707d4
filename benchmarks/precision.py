"""`make bench-precision`: what bfloat16 transforms on OpenVINO cost in noise, and gain in time.

For each number of last products kept in float32: the noise of the synthesis transform in dB (255² over the mean square
of what it adds to the picture, before rounding to 8 bits), what that costs a decoding of 32 and of 40 dB, the noise
that the analysis transform adds to y as the loss at the finest quantisation, and seconds. A processor without bfloat16
emulates it: then the noise holds and the times mean nothing, which the last line, a JSON object, says as "emulated".
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glic_deploy import machine
from glic_deploy.backends.openvino import OpenVinoBackend
from glic_deploy.backends.openvino_mixed import KEPT_PRODUCTS
from glic_deploy.bundle import Bundle
from glic_deploy.image import load_image, pad

_ROOT = Path(__file__).resolve().parent.parent
_CHOICES = (0, 2, KEPT_PRODUCTS, 6, 16, 36)

Array = NDArray[Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=_ROOT / "samples" / "glic_tiny.pth")
    parser.add_argument("--image", type=Path, default=_ROOT / "samples" / "photos" / "kodim23.png")
    parser.add_argument("--side", type=int, default=256, help="of the square that is taken from the image's middle")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        export = [sys.executable, "-m", "export.to_onnx", "--checkpoint", str(args.checkpoint), "--output", directory]
        subprocess.run(export, check=True, stdout=subprocess.DEVNULL)
        report(Bundle.open(directory), middle(load_image(args.image), args.side), args.threads)


def middle(picture: Array, side: int) -> Array:
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    return pad(np.ascontiguousarray(picture[top : top + side, left : left + side]))


def report(bundle: Bundle, image: Array, threads: int | None) -> None:
    emulated = not machine.has_bfloat16()
    exact = OpenVinoBackend(bundle, threads, precision="fp32")
    y, seconds_y = timed(exact, "analysis", image=image)
    y_hat = np.round(y)
    picture, seconds = timed(exact, "synthesis", y_hat=y_hat)
    print(machine.summary(machine.describe()))
    if emulated:
        print("this processor emulates bfloat16: noise as anywhere, times without meaning")
    columns = "".join(f"{title:>10}" for title in ("noise dB", "at 32 dB", "at 40 dB", "y costs"))
    print(f"\n{'float32 products':18}{columns}{'seconds, both':>16}")
    print(f"{'all':18}{'':40}{seconds_y + seconds:16.3f}")
    chosen: dict[str, float] = {}
    for kept in _CHOICES:
        backend = OpenVinoBackend(bundle, threads, precision="bf16", kept_products=kept, emulate=True)
        low_y, seconds_y = timed(backend, "analysis", image=image)
        low_picture, seconds = timed(backend, "synthesis", y_hat=y_hat)
        noise = noise_db(picture, low_picture)
        losses = [10 * np.log10(1 + 10 ** ((quality - noise) / 10)) for quality in (32, 40)]
        y_loss = 10 * np.log10(1 + 12 * np.square(low_y - y).mean())
        print(f"{kept:<18}{noise:10.2f}{losses[0]:10.4f}{losses[1]:10.4f}{y_loss:10.4f}{seconds_y + seconds:16.3f}")
        if kept == KEPT_PRODUCTS:
            chosen = {"noise_db": noise, "loss_at_40_db": losses[1], "y_loss_db": y_loss}
        backend.close()
    print(json.dumps({name: round(float(value), 4) for name, value in chosen.items()} | {"emulated": emulated}))


def noise_db(picture: Array, other: Array) -> float:
    """Power of the difference before rounding, from how often and far rounded pictures differ.

    A difference d too small to see is one level with probability |d|; Gaussian ones have a standard deviation of
    sqrt(pi / 2) times the mean of |d|.
    """
    deviation = np.abs(picture.astype(float) - other).mean() * np.sqrt(np.pi / 2)
    return float(20 * np.log10(255 / deviation))


def timed(backend: OpenVinoBackend, graph: str, **inputs: Array) -> tuple[Array, float]:
    """Result and seconds of a run whose model is compiled already."""
    backend.run(graph, inputs)
    start = time.perf_counter()
    result = backend.run(graph, inputs)[0]
    return result, time.perf_counter() - start


if __name__ == "__main__":
    main()
