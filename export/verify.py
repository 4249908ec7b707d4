"""Compare an exported graph with its PyTorch module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from glic_deploy.backends.onnxruntime import open_session
from glic_deploy.errors import CheckpointError

from .graphs import GraphSpec

_BLOCKS = (1, 2)
_LARGEST = 1e18  # norms and cosines square their inputs; squares of larger values exceed the range of float32


def largest_difference(path: Path, spec: GraphSpec, module: nn.Module) -> str:
    """Describe the largest difference of each output on a pseudo-random input, relative to the output's largest value.

    Raises CheckpointError if a layer of the module, or the graph, computes values that are not numbers, infinite or
    beyond 1e18. A comparison alone would miss such values: both sides may agree, and uint8 images hide them.
    """
    examples = spec.examples(*_BLOCKS, seed=1)
    with torch.no_grad(), _overflows(module) as overflows:
        expected = module(*examples)
    expected = expected if isinstance(expected, tuple) else (expected,)
    if overflows:
        raise _broken(spec, f"the PyTorch module, first in its layer {overflows[0]}")
    session = open_session(path, threads=1)
    feeds = {port.name: example.numpy() for port, example in zip(spec.inputs, examples, strict=True)}
    results = session.run(None, feeds)
    parts = []
    for port, result, reference in zip(spec.outputs, results, expected, strict=True):
        ours, theirs = np.asarray(result, np.float64), reference.double().numpy()
        if not np.isfinite(ours).all():
            raise _broken(spec, f"the ONNX graph, in its output {port.name}")
        parts.append(f"{port.name} {np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30):.1e}")
    return "largest difference from PyTorch: " + ", ".join(parts)


def _broken(spec: GraphSpec, where: str) -> CheckpointError:
    return CheckpointError(
        f"{spec.name}: {where}, computes values that are not numbers, infinite or beyond {_LARGEST:.0e}, expected a "
        "trained network's; a weight of the checkpoint is damaged, or its training diverged: download the file again"
    )


@contextmanager
def _overflows(module: nn.Module) -> Iterator[list[str]]:
    """Collect, while the block runs, the names of layers whose inputs or outputs are out of range."""
    names: list[str] = []

    def watch(name: str) -> Any:
        def check(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if not all(map(_in_range, (*inputs, *(output if isinstance(output, tuple) else (output,))))):
                names.append(name or "(all of it)")

        return check

    hooks = [layer.register_forward_hook(watch(name)) for name, layer in module.named_modules()]
    try:
        yield names
    finally:
        for hook in hooks:
            hook.remove()


def _in_range(value: Any) -> bool:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return True
    return bool((value.abs() < _LARGEST).all())  # false for a value that is not a number
