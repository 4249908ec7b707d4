"""Compute MS-SSIM with pytorch-msssim, which papers on learned compression use.

`python -m export.ms_ssim` serves an evaluation that must not import torch itself. Each line on standard input names two
.npy files (uint8 H×W×3): {"original": path, "decoded": path}. The answer to each is a line {"ms_ssim": value}, with
null for an image that is too small for five scales.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import pytorch_msssim
import torch

SMALLEST_SIDE = 161  # the window of 11 pixels, less one, at the fifth scale: 10 · 16 + 1


def ms_ssim(original: np.ndarray, decoded: np.ndarray) -> float | None:
    """Compute the MS-SSIM, 0 to 1, of two images uint8 (H, W, 3): the mean over the channels.

    Returns None if a side is below SMALLEST_SIDE pixels.
    """
    if min(original.shape[:2]) < SMALLEST_SIDE:
        return None
    pair = [torch.from_numpy(image).permute(2, 0, 1)[None].float() for image in (original, decoded)]
    return float(pytorch_msssim.ms_ssim(*pair, data_range=255))


def main() -> None:
    for line in sys.stdin:
        paths = json.loads(line)
        value = ms_ssim(np.load(paths["original"]), np.load(paths["decoded"]))
        print(json.dumps({"ms_ssim": value}), flush=True)


if __name__ == "__main__":
    main()
