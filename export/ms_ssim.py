"""MS-SSIM by pytorch-msssim, whose values are the ones that papers on learned compression give.

As a program, `python -m export.ms_ssim`, it serves an evaluation that must not import torch itself: for each line on
standard input, {"original": path, "decoded": path} of two .npy files (uint8 H×W×3), it answers {"ms_ssim": value}, with
null for a picture too small for five scales.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import pytorch_msssim
import torch

SMALLEST_SIDE = 161  # ten pixels of window less one, at the fifth scale


def ms_ssim(original: np.ndarray, decoded: np.ndarray) -> float | None:
    """Mean over the channels of RGB, values 0 to 255; None where a side is below SMALLEST_SIDE."""
    if min(original.shape[:2]) < SMALLEST_SIDE:
        return None
    pair = [torch.from_numpy(picture).permute(2, 0, 1)[None].float() for picture in (original, decoded)]
    return float(pytorch_msssim.ms_ssim(*pair, data_range=255))


def main() -> None:
    for line in sys.stdin:
        paths = json.loads(line)
        value = ms_ssim(np.load(paths["original"]), np.load(paths["decoded"]))
        print(json.dumps({"ms_ssim": value}), flush=True)


if __name__ == "__main__":
    main()
