"""Runs an exported graph beside its PyTorch module."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from glic_deploy.backends.onnxruntime import open_session

from .graphs import GraphSpec

_BLOCKS = (1, 2)


def largest_difference(path: Path, spec: GraphSpec, module: nn.Module) -> str:
    """Largest difference of each output on a pseudo-random input, relative to the output's largest value."""
    examples = spec.examples(*_BLOCKS, seed=1)
    with torch.no_grad():
        expected = module(*examples)
    expected = expected if isinstance(expected, tuple) else (expected,)
    session = open_session(path, threads=1)
    feeds = {port.name: example.numpy() for port, example in zip(spec.inputs, examples, strict=True)}
    results = session.run(None, feeds)
    parts = []
    for port, result, reference in zip(spec.outputs, results, expected, strict=True):
        ours, theirs = np.asarray(result, np.float64), reference.double().numpy()
        parts.append(f"{port.name} {np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30):.1e}")
    return "largest difference from PyTorch: " + ", ".join(parts)
