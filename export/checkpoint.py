"""Load a GLIC checkpoint as named float32 tensors, and refuse every other file with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from glic_deploy.errors import CheckpointError

from .checkpoint_file import ADVICE, listed, read_tensors, shown, storage_bytes
from .layouts import canonical_names, is_fork_wavelet, is_haar, is_haar_buffer, with_haar
from .other_networks import guess
from .schema import INDEX, UNREAD, Config, Shape, expected_shapes, read_config, shape_text

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
_LARGEST = 1e9  # trained weights stay below some hundreds; larger values have a damaged exponent


@dataclass(frozen=True)
class Checkpoint:
    """Hold a GLIC network.

    Attributes:
        config: the configuration, read from the tensors' shapes.
        state: tensors by their released names: weights and constants in float32, position indexes in int64. No tensor
            shares memory with another.
    """

    config: Config
    state: dict[str, Tensor]


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Load a checkpoint file written by `torch.save` or safetensors, without running any code in the file.

    `docs/network.md` lists the layouts. All layouts of the same weights have the same fingerprint.
    Raises CheckpointError if the file cannot be read safely, if it is visibly damaged
    (`export.checkpoint_file.read_tensors`), or if its keys, shapes, types or values are not those of GLIC.
    """
    path = Path(path)
    return from_state(read_tensors(path), path)


def from_state(state: Mapping[str, Tensor], source: str | Path) -> Checkpoint:
    """Convert named tensors of any layout to the released form; the result shares no memory with `state`.

    Raises CheckpointError, whose message begins with `source` and names the first differences from a GLIC network.
    """
    foreign = [
        f"{shown(str(key))} is a {type(value).__name__}" for key, value in state.items() if not _is_tensor(value)
    ]
    if foreign:
        raise CheckpointError(f"{source}: holds what is no tensor: {listed(foreign)}; {ADVICE}")
    released = _released(state, source)
    shapes: dict[str, Shape] = {key: tuple(value.shape) for key, value in released.items()}
    try:
        config = read_config(shapes)
    except ValueError as error:
        raise CheckpointError(f"{source}: no GLIC network ({guess(shapes)}): {error}; {ADVICE}") from None
    expected = expected_shapes(config)
    if problems := _differences(shapes, expected):
        raise CheckpointError(f"{source}: keys are not those of a GLIC network: {'; '.join(problems)}; {ADVICE}")
    return Checkpoint(config, with_haar(_widened(released, source), expected))


def _is_tensor(value: object) -> bool:
    return type(value) in (Tensor, nn.Parameter)


def _released(state: Mapping[str, Tensor], source: str | Path) -> dict[str, Tensor]:
    """Rename tensors to their released names, and drop those that the released form does not have."""
    try:
        names = canonical_names(state)
    except ValueError as error:
        raise CheckpointError(f"{source}: holds a tensor twice: {error}; {ADVICE}") from None
    tensors = {names[key]: value.detach() for key, value in state.items()}
    wavelets = [key for key in tensors if is_fork_wavelet(key)]
    if foreign := [key for key in wavelets if _refusal(key, tensors[key]) or not is_haar(tensors[key])]:
        raise CheckpointError(f"{source}: wavelets other than Haar's: {listed(foreign)}; {ADVICE}")
    return {key: value for key, value in tensors.items() if not is_fork_wavelet(key)}


def _differences(shapes: Mapping[str, Shape], expected: Mapping[str, Shape | None]) -> list[str]:
    missing = [key for key in expected if key not in shapes and not key.endswith(UNREAD) and not is_haar_buffer(key)]
    extra = [key for key in shapes if key not in expected]
    wrong = [
        f"{key} is {shape_text(shapes[key])}, expected {list(shape)}"
        for key, shape in expected.items()
        if shape is not None and key in shapes and shapes[key] != shape
    ]
    found = (("missing", missing), ("unexpected", extra), ("mis-shaped", wrong))
    return [f"{len(keys)} {problem}: {listed(keys)}" for problem, keys in found if keys]


def _widened(state: Mapping[str, Tensor], source: str | Path) -> dict[str, Tensor]:
    """Copy tensors to the types that the network reads. Raises CheckpointError for values that cannot be weights."""
    refused = [f"{key} {reason}" for key, value in state.items() if (reason := _refusal(key, value))]
    if refused:
        raise CheckpointError(f"{source}: tensors that cannot be read as weights: {listed(refused)}; {ADVICE}")
    result = {key: _copy(value) for key, value in state.items()}
    broken = [key for key, value in result.items() if not (value.abs() <= _LARGEST).all()]
    if broken:
        kinds = f"not numbers, infinite or beyond {_LARGEST:.0e}"
        raise CheckpointError(f"{source}: values that are {kinds} in {listed(broken)}; download the file again")
    rounded = [key for key, value in state.items() if value.dtype == torch.float64 and not _equal(value, result[key])]
    if rounded:
        raise CheckpointError(
            f"{source}: float64 values that float32 cannot hold in {listed(rounded)}; save as float32"
        )
    return result


def _refusal(key: str, value: Tensor) -> str | None:
    """Return the reason why a tensor cannot be widened exactly, or None. Its values are not read."""
    kind = str(value.dtype).removeprefix("torch.")
    accepted = _INTEGERS if key.endswith(INDEX) else _FLOATS + _INTEGERS if key.endswith(UNREAD) else _FLOATS
    if value.device.type == "meta":
        return f"is {kind} without values (a meta tensor)"
    if value.layout != torch.strided:
        return f"is {kind} in {str(value.layout).removeprefix('torch.')} form, expected a dense tensor"
    if value.dtype not in accepted:
        names = "integers" if accepted is _INTEGERS else "float32, or float16 or bfloat16 to be widened"
        return f"is {kind}, expected {names}"
    stored = storage_bytes(value)
    if stored is None or value.numel() * value.element_size() > stored:
        return f"claims {value.numel()} values and stores fewer"
    return None


def _copy(value: Tensor) -> Tensor:
    dtype = torch.float32 if value.is_floating_point() else torch.int64
    return value.resolve_neg().to("cpu", dtype, copy=True, memory_format=torch.contiguous_format)


def _equal(value: Tensor, narrow: Tensor) -> bool:
    return torch.equal(value.cpu(), narrow.double())
