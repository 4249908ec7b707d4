"""Write a checkpoint with the size and form of the released files and with pseudo-random weights:
`python -m benchmarks.full_size_checkpoint OUT.pth [--seed 0]`.

Only their authors may distribute the released weights. This checkpoint has the same keys, shapes and dtypes; a
generator that is seeded by the name of each key draws the values. Each latent channel has an amplitude from 0.03 to
100, mostly a small one, and the predicted scales follow the amplitude. Symbols, scales and escapes are therefore
distributed like those of a trained model, but decoded images do not resemble the originals. The program prints a
SHA-256 of all values.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import zlib
from pathlib import Path

import numpy as np
import torch

from export.schema import Config, expected_shapes
from glic_deploy.bundle import GraphAggregation

BUFFERS = Path(__file__).with_name("buffers.npz")  # constants, by the part of the name that follows the last index
OFFICIAL = Config(
    widths=(128, 192, 192),
    latent=320,
    hyper=192,
    groups=(16, 16, 32, 64, 192),
    graphs=tuple(GraphAggregation(name, 192, depth=5, heads=8) for name in ("g_a.g2", "g_a.g3", "g_s.g1", "g_s.g2")),
    window=8,
    sample=16,
)


def amplitude(seed: int) -> np.ndarray:
    """Return the amplitude of each latent channel, relative to the output of the analysis transform."""
    rng = np.random.default_rng([zlib.crc32(b"amplitude"), seed])
    u = rng.permutation(np.linspace(0, 1, sum(OFFICIAL.groups)))
    return (np.exp(np.log(0.03) + np.log(100 / 0.03) * u**2) / 2.6).astype(np.float32)


def latent_rows(name: str, shape: list[int], seed: int) -> np.ndarray | None:
    """Return the factors of the rows (outputs) of a tensor that computes latents or their parameters, or None."""
    a = amplitude(seed)
    if name.startswith(("g_a.down3.", "g_a.AuxT_enc.3.OLP.linear.")):
        return a
    if ".entropy_parameters.4." in name and (".mixer." in name or ".project_out." in name):
        k = int(name.split(".latent_codec.y")[1][0])
        start = sum(OFFICIAL.groups[:k])
        return np.tile(a[start : start + OFFICIAL.groups[k]], 2)
    return None


def latent_columns(name: str, shape: list[int], seed: int) -> np.ndarray | None:
    """Return the divisors of the columns (inputs) of a tensor that reads latents, or None."""
    a = amplitude(seed)
    if name in ("latent_codec.hyper.h_a.0.weight", "g_s.up0.0.weight", "g_s.AuxT_dec.0.OLP.linear.weight"):
        return a
    if ".channel_context." in name and name.split(".", 4)[-1] in ("0.mixer.conv1.0.weight", "0.mixer.adaptor.weight"):
        return a[: shape[1]]
    if name.endswith(".context_prediction.weight"):
        k = int(name.split(".latent_codec.y")[1][0])
        start = sum(OFFICIAL.groups[:k])
        return a[start : start + OFFICIAL.groups[k]]
    return None


def draw(name: str, shape: list[int], seed: int) -> np.ndarray:
    value = base(name, shape, seed)
    rows, columns = latent_rows(name, shape, seed), latent_columns(name, shape, seed)
    if rows is not None:
        value = value * rows.reshape(-1, *[1] * (len(shape) - 1))
    if columns is not None:
        value = value / columns.reshape(1, -1, *[1] * (len(shape) - 2))
    return value.astype(np.float32)


def base(name: str, shape: list[int], seed: int) -> np.ndarray:
    rng = np.random.default_rng([zlib.crc32(name.encode()), seed])
    n = rng.standard_normal(shape).astype(np.float32)
    leaf = name.rsplit(".", 1)[-1]
    if ".norm" in name:
        return 1 + 0.1 * n if leaf == "weight" else 0.05 * n
    if leaf == "logit_scale":
        return math.log(10) + 0.2 * n
    if leaf == "scaling_factors":
        base = np.full(shape, 0.5, np.float32)
        base[..., shape[-1] * 3 // 4 :] = 0
        return base + 0.05 * n
    if leaf == "quantiles":
        spread = 3 + 4 * np.abs(n)
        out = 0.5 * n
        out[..., 0] -= spread[..., 0]
        out[..., 2] += spread[..., 2]
        return out
    if ".entropy_bottleneck." in name:
        index = int(leaf)
        if ".matrices." in name:
            width = 3 if index < 4 else 1
            return math.log(math.expm1(1 / 10**0.2 / width)) + 0.1 * n
        return 0.2 * n
    if leaf == "bias":
        if ".entropy_parameters.4.mixer." in name:  # the head: scales first, then means
            half = shape[0] // 2
            return np.concatenate([2.6 + 0.5 * n[:half], 0.5 * n[half:]])
        return 0.05 * n
    fan_in = int(np.prod(shape[1:]))
    gain = 1.0
    if name.startswith("g_a.") and ".OLP." in name:  # the low band doubles at every level
        gain = 0.35
    elif name.startswith("g_s.") and ".OLP." in name:
        gain = 0.5
    elif leaf == "weight" and (".project_out." in name or ".grapher.proj." in name or ".conv2." in name):
        gain = 0.3  # ends of residual branches
    if name == "g_a.down3.weight":
        gain = 2.0
    if name in ("g_s.up3.0.weight", "g_s.AuxT_dec.3.OLP.linear.weight"):
        gain = 0.1
    if ".entropy_parameters.4." in name:
        gain = 0.1
    return (gain / math.sqrt(fan_in)) * n


def buffer(name: str, shape: tuple[int, ...] | None, buffers: np.lib.npyio.NpzFile) -> np.ndarray | None:
    """Return the value of a constant, or None for a weight. Tables are empty, as in the released files."""
    if shape is None:
        return np.zeros(0, np.float32 if name.endswith("scale_table") else np.int32)
    for depth in (1, 2):
        leaf = ".".join(name.rsplit(".", depth)[1:])
        if leaf in buffers:
            return np.broadcast_to(buffers[leaf], shape)
    return None


def make_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """Return all tensors of the checkpoint by name."""
    state = {}
    with np.load(BUFFERS) as buffers:
        for name, shape in expected_shapes(OFFICIAL).items():
            value = buffer(name, shape, buffers)
            if value is None:
                value = draw(name, list(shape or ()), seed)
            state[name] = torch.from_numpy(np.array(value)).reshape(value.shape if shape is None else shape)
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    state = make_state(args.seed)
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(state[name].numpy().tobytes())
    print(digest.hexdigest())
    torch.save({"epoch": 0, "global_step": 0, "state_dict": state}, args.out)


if __name__ == "__main__":
    main()
