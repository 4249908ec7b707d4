"""Reads a GLIC checkpoint file into named tensors, and refuses everything else with a reason."""

from __future__ import annotations

import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from glic_deploy.errors import CheckpointError

from .schema import Config, Shape, expected_shapes, read_config

_OLD_FACTORIZED = re.compile(r"(?<=entropy_bottleneck\.)_(matrix|bias|factor)(\d)$")
_NEW_FACTORIZED = {"matrix": "matrices", "bias": "biases", "factor": "factors"}
_LAYOUTS = ("state_dict", "model_state_dict")
_SHOWN = 4
_ADVICE = "pass a GLIC checkpoint as its authors release it (for example 0.0130checkpoint_best.pth.tar)"


@dataclass(frozen=True)
class Checkpoint:
    """A GLIC network's tensors under their canonical names, and the configuration that their shapes spell."""

    config: Config
    state: dict[str, torch.Tensor]


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Load a checkpoint written by `torch.save`: weights at the top, or under `state_dict` or `model_state_dict`.

    `module.` prefixes and the older names of the factorized prior are accepted. No pickled code is run.
    Raises CheckpointError when the file cannot be read safely, or its keys and shapes are not GLIC's.
    """
    path = Path(path)
    return from_state(_weights(_read(path), path), path)


def from_state(state: dict[str, torch.Tensor], source: str | Path) -> Checkpoint:
    """Check named tensors against the network's form. Raises CheckpointError naming the first differences."""
    state = {_canonical(key): value for key, value in state.items()}
    shapes: dict[str, Shape] = {key: tuple(value.shape) for key, value in state.items()}
    try:
        config = read_config(shapes)
        expected = expected_shapes(config)
    except (KeyError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"{source}: no GLIC network ({_guess(shapes)}): it lacks or mis-shapes {error}; {_ADVICE}"
        ) from None
    problems = _differences(shapes, expected)
    if problems:
        raise CheckpointError(f"{source}: keys are not those of a GLIC network: {'; '.join(problems)}; {_ADVICE}")
    broken = [key for key, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if broken:
        raise CheckpointError(f"{source}: not-a-number or infinite values in {_list(broken)}; download the file again")
    return Checkpoint(config, state)


def _read(path: Path) -> Any:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; {_ADVICE}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{path}: refused, it is not a plain file of tensors (nothing in it was run): {reason}; {_ADVICE}"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        size = path.stat().st_size
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: not a checkpoint, or cut short at {size} bytes: {reason}; {_ADVICE}") from None


def _weights(content: Any, path: Path) -> dict[str, torch.Tensor]:
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, expected a dict of tensors; {_ADVICE}")
    for name in _LAYOUTS:
        if isinstance(content.get(name), dict):
            content = content[name]
            break
    tensors = {key: value for key, value in content.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise CheckpointError(
            f"{path}: no tensors at the top nor under {' or '.join(_LAYOUTS)}; "
            f"found keys {_list(map(str, content))}; {_ADVICE}"
        )
    return {str(key): value for key, value in tensors.items()}


def _canonical(key: str) -> str:
    return _OLD_FACTORIZED.sub(lambda match: f"{_NEW_FACTORIZED[match[1]]}.{match[2]}", key.removeprefix("module."))


def _differences(shapes: dict[str, Shape], expected: dict[str, Shape | None]) -> list[str]:
    missing = [key for key in expected if key not in shapes]
    extra = [key for key in shapes if key not in expected]
    wrong = [
        f"{key} is {list(shapes[key])}, expected {list(shape)}"
        for key, shape in expected.items()
        if shape is not None and key in shapes and shapes[key] != shape
    ]
    found = (("missing", missing), ("unexpected", extra), ("mis-shaped", wrong))
    return [f"{len(keys)} {what}: {_list(keys)}" for what, keys in found if keys]


def _list(items: Any) -> str:
    items = list(items)
    return ", ".join(items[:_SHOWN]) + (f", ... ({len(items)} in all)" if len(items) > _SHOWN else "")


def _guess(shapes: dict[str, Shape]) -> str:
    """What kind of file a set of keys looks like, for an error message."""
    if any(".grapher." in key for key in shapes):
        return "a part of one, or a variant"
    if any("entropy_bottleneck" in key or "gaussian_conditional" in key for key in shapes):
        return "it looks like another learned image codec"
    if any(key.endswith("running_mean") for key in shapes):
        return "it looks like a convolutional classifier"
    if any("attn" in key or "attention" in key for key in shapes):
        return "it looks like a transformer"
    return f"it looks like something else: {_list(shapes)}"
