"""Measure time and memory of the command line on an image of 100 megapixels: `python -m benchmarks.large`.

The image is the shipped photographs side by side. `glic encode` and `glic decode` run in processes of their own, whose
peak resident memory is read from the system. The last line is a JSON object: {"megapixels", "bytes", "bpp", "psnr",
"encode": {"seconds", "peak_mib"}, "decode": {...}, "region": {...}}.

    python -m benchmarks.large --engine DIR [--megapixels 100] [--tile 1024] [--max-memory 3G] [--threads N]
    python -m benchmarks.large --engine DIR --tiles 512,768,1024     measure the peak memory of single tiles instead
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from glic_deploy import machine
from glic_deploy.image import load_image
from glic_deploy.limits import Limits
from glic_deploy.qualities import bundles_in

PHOTOS = Path(__file__).resolve().parent.parent / "samples" / "photos"


def mosaic(width: int, height: int) -> NDArray[np.uint8]:
    """Repeat the landscape photographs in both directions to an image, uint8 (height, width, 3)."""
    photos = [load_image(path) for path in sorted(PHOTOS.glob("*.png"))]
    same = [photo for photo in photos if photo.shape == photos[0].shape]
    band = np.concatenate(same, axis=1)
    rows, columns = -(-height // band.shape[0]), -(-width // band.shape[1])
    return np.tile(band, (rows, columns, 1))[:height, :width]


def run(arguments: list[str]) -> dict[str, float]:
    """Run a process; return its seconds and peak resident MiB. Raises CalledProcessError if the process fails."""
    start = time.perf_counter()
    peak = 0
    with subprocess.Popen([sys.executable, *arguments]) as process:
        while process.poll() is None:
            peak = max(peak, peak_kib(process.pid))
            time.sleep(0.05)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return {"seconds": round(time.perf_counter() - start, 2), "peak_mib": peak // 1024}


def peak_kib(pid: int) -> int:
    with suppress(OSError):  # the process may end at any moment
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


def image(args: argparse.Namespace, folder: Path) -> dict[str, object]:
    side = int((args.megapixels * 1e6) ** 0.5)
    source, coded, decoded, part = (folder / name for name in ("big.ppm", "big.glic", "back.ppm", "part.png"))
    Image.fromarray(mosaic(side, side)).save(source)
    options = ["--engine", args.engine, "--max-memory", args.max_memory]
    options += ["--threads", str(args.threads)] if args.threads else []
    tile = ["--tile", str(args.tile)] if args.tile else []
    glic = ["-m", "glic_deploy"]
    found: dict[str, object] = {"megapixels": side * side / 1e6}
    found["encode"] = run([*glic, "encode", str(source), str(coded), *options, *tile])
    found["decode"] = run([*glic, "decode", str(coded), str(decoded), *options])
    middle = f"{side // 2},{side // 2},{side // 10},{side // 10}"
    found["region"] = run([*glic, "decode", str(coded), str(part), "--region", middle, *options])
    limits = Limits()
    original, back = load_image(source, limits=limits), load_image(decoded, limits=limits)
    squares = [np.mean((original[y].astype(np.float32) - back[y]) ** 2) for y in range(side)]
    size = coded.stat().st_size
    found |= {
        "bytes": size,
        "bpp": round(8 * size / side**2, 4),
        "psnr": round(float(10 * np.log10(255**2 / np.mean(squares))), 3),
    }
    return found


def tiles(args: argparse.Namespace, folder: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    memory = bundles_in(args.engine)[0].memory
    print(f"{'tile':>6}{'encode':>12}{'decode':>12}{'estimate':>12}")
    for side in args.tiles:
        source, coded, decoded = (folder / f"{side}{suffix}" for suffix in (".png", ".glic", ".ppm"))
        Image.fromarray(mosaic(side, side)).save(source)
        options = ["--engine", args.engine, "--max-memory", "1T", "-q"]
        options += ["--threads", str(args.threads)] if args.threads else []
        ways = (["encode", str(source), str(coded), "--tile", "0"], ["decode", str(coded), str(decoded)])
        encode, decode = (run(["-m", "glic_deploy", *way, *options])["peak_mib"] for way in ways)
        estimate = memory.needed(side, side) >> 20
        print(f"{side:6}{encode:8.0f} MiB{decode:8.0f} MiB{estimate:8} MiB", flush=True)
        found[str(side)] = {"encode_peak_mib": encode, "decode_peak_mib": decode, "estimate_mib": estimate}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", metavar="DIR", required=True)
    parser.add_argument("--megapixels", type=float, default=100)
    parser.add_argument("--tile", type=int, help="side of the tiles (default: that of glic encode)")
    parser.add_argument("--max-memory", default="3G")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    parser.add_argument(
        "--tiles", type=lambda text: [int(part) for part in text.split(",")], help="sides of single tiles to measure"
    )
    args = parser.parse_args()
    Image.MAX_IMAGE_PIXELS = None
    args.engine = os.path.abspath(args.engine)
    print(machine.summary(machine.describe()))
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps((tiles if args.tiles else image)(args, Path(folder))))


if __name__ == "__main__":
    main()
