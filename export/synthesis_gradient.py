"""Differentiates the synthesis transform, for an encoder that must not import torch itself.

`python -m export.synthesis_gradient --checkpoint C.pth` first writes a line {"model": FINGERPRINT}. Each line on
standard input then names .npy files: {"y_hat": float32 (1, M, h, w), "image": uint8 (H, W, 3), "gradient": to write}.
The answer is a line {"error": E}, E being the sum of the squared errors of the image's 8-bit samples. The file
`gradient` receives the derivative of E with respect to y_hat.
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np
import torch

from .assembly import model_fingerprint
from .checkpoint import load_checkpoint
from .network import Synthesis
from .network.scope import Scope

PEAK = 255


def gradient(synthesis: Synthesis, y_hat: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the derivative of the squared error with respect to y_hat, and the error.

    The padding is not counted. The graphs' edges are constants, as they were in training.
    """
    height, width = image.shape[:2]
    leaf = torch.tensor(y_hat, requires_grad=True)
    decoded = synthesis.reconstruct(leaf)[0, :, :height, :width].clamp(0, 1) * PEAK
    error = (decoded - torch.tensor(image).permute(2, 0, 1)).square().sum()
    (derivative,) = torch.autograd.grad(error, leaf)
    return derivative.numpy(), float(error.detach())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m export.synthesis_gradient", description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    checkpoint = load_checkpoint(args.checkpoint)
    synthesis = Synthesis(Scope(checkpoint.state) / "g_s").eval().requires_grad_(False)
    print(json.dumps({"model": model_fingerprint(checkpoint)}), flush=True)
    for line in sys.stdin:
        paths = json.loads(line)
        derivative, error = gradient(synthesis, np.load(paths["y_hat"]), np.load(paths["image"]))
        np.save(paths["gradient"], derivative)
        print(json.dumps({"error": error}), flush=True)


if __name__ == "__main__":
    main()
