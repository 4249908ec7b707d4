"""Export the sample checkpoint, code the sample photographs, and write them beside the decoded images: `make demo`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from glic_deploy import Codec
from glic_deploy.files import atomic_write
from glic_deploy.image import load_image
from glic_deploy.metrics import psnr
from glic_deploy.saving import save_image

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "out" / "demo"
CHECKPOINT = ROOT / "samples" / "glic_tiny.pth"
PHOTOS = ROOT / "samples" / "photos"


def main() -> None:
    engine = OUTPUT / "engine"
    OUTPUT.mkdir(parents=True, exist_ok=True)
    print(f"Exporting {CHECKPOINT.relative_to(ROOT)} to an engine bundle (about a minute) ...", flush=True)
    command = [sys.executable, "-m", "export.to_onnx", "--checkpoint", str(CHECKPOINT), "--output", str(engine)]
    subprocess.run(command, check=True)
    print()
    rows = []
    with Codec(engine) as codec:
        backend = codec.describe()["backend"]
        print(f"Codec on {backend['name']} {backend['version']}, threads: {backend['threads']}\n")
        print(f"{'image':12} {'bytes':>8} {'bpp':>7} {'PSNR dB':>8} {'encode s':>9} {'decode s':>9}")
        for path in sorted(PHOTOS.glob("*.png")):
            image = load_image(path)
            encoding: dict[str, float] = {}
            decoding: dict[str, float] = {}
            data = codec.encode(image, stages=encoding)
            atomic_write(OUTPUT / f"{path.stem}.glic", data)
            decoded = codec.decode((OUTPUT / f"{path.stem}.glic").read_bytes(), stages=decoding)
            bpp = 8 * len(data) / image[..., 0].size
            decibels = psnr(image, decoded) or float("inf")
            print(
                f"{path.stem:12} {len(data):8,} {bpp:7.3f} {decibels:8.2f} "
                f"{sum(encoding.values()):9.2f} {sum(decoding.values()):9.2f}",
                flush=True,
            )
            rows.append(np.concatenate([image, decoded], axis=1))
    print("\nSeconds per stage of the last image:")
    print_stages("encode", encoding)
    print_stages("decode", decoding)
    side_by_side = OUTPUT / "side_by_side.png"
    save_image(np.concatenate(rows), side_by_side)
    print(f"\nOriginals beside decoded images: {side_by_side}")


def print_stages(title: str, stages: Mapping[str, float]) -> None:
    """Print a line for each stage; the passes over the slices of y share a line."""
    merged: dict[str, float] = {}
    for name, seconds in stages.items():
        merged_name = "slices of y" if name.startswith("slice") else name.replace("_", " ")
        merged[merged_name] = merged.get(merged_name, 0.0) + seconds
    for name, seconds in merged.items():
        print(f"  {title}  {name:16} {seconds:7.3f}")


if __name__ == "__main__":
    main()
