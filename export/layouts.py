"""Rename a checkpoint's tensors, whose names depend on the program that wrote the file, to the released names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from .checkpoint_file import shown

_WRAPPERS = re.compile(r"(?:module\.|_orig_mod\.)+")  # prefixes of data-parallel training and of torch.compile
_OLD_FACTORIZED = re.compile(r"(?<=entropy_bottleneck\.)_(matrix|bias|factor)(\d)$")
_NEW_FACTORIZED = {"matrix": "matrices", "bias": "biases", "factor": "factors"}

# Names in a fork of CompressAI that differ from the released names: pattern of the fork's name, and replacement.
_FORK = (
    (re.compile(r"^latent_codec\.(?=h_[as]\.)"), "latent_codec.hyper."),
    (re.compile(r"^latent_codec\.z\."), "latent_codec.hyper."),
    (re.compile(r"\.olp\."), ".OLP."),
    (re.compile(r"\.mixer\.skip\."), ".mixer.adaptor."),
    (re.compile(r"^(?!.*\.residual_group\.blocks\.)(.*)\.norm\."), r"\1.norm2."),
)
# The fork stores one-dimensional wavelet filters instead of the released form's two-dimensional ones.
_FORK_WAVELET = re.compile(r"\.AuxT_(?:enc|dec)\.\d+\.(?:dwt\.transform|idwt\.inverse)\.")


def canonical_names(names: Iterable[str]) -> dict[str, str]:
    """Map each name in a file to its released name. Raises ValueError if two names stand for the same tensor."""
    origins: dict[str, str] = {}
    for name in names:
        released = _released(name)
        if released in origins:
            raise ValueError(f"{shown(origins[released])} and {shown(name)} are the same tensor")
        origins[released] = name
    return {name: released for released, name in origins.items()}


def _released(name: str) -> str:
    name = _WRAPPERS.sub("", name, count=1) if _WRAPPERS.match(name) else name
    name = _OLD_FACTORIZED.sub(lambda match: f"{_NEW_FACTORIZED[match[1]]}.{match[2]}", name)
    for pattern, replacement in _FORK:
        name = pattern.sub(replacement, name)
    return name


def is_fork_wavelet(name: str) -> bool:
    """Return whether a tensor is a wavelet filter of the fork, which the released form does not have."""
    return _FORK_WAVELET.search(name) is not None


def is_haar(values: Tensor) -> bool:
    """Return whether a one-dimensional wavelet filter may be Haar's: two taps of one magnitude, in any shape."""
    return values.numel() == 2 and torch.allclose(values.float().abs(), torch.tensor(0.5**0.5), atol=0.01)


def _haar() -> dict[str, Tensor]:
    """Build the buffers of the Haar transform, float32, by the end of their names.

    The products of two float32 roots are an ulp below one half, as they are in the released files.
    """
    low, high = np.float32(0.5**0.5) * np.array([[1, 1], [1, -1]], np.float32)
    bands = {"ll": (low, low), "lh": (high, low), "hl": (low, high), "hh": (high, high)}
    filters = {band: torch.from_numpy(np.outer(*pair))[None, None] for band, pair in bands.items()}
    return {f"dwt.w_{band}": value for band, value in filters.items()} | {
        "idwt.filters": torch.cat(list(filters.values()))
    }


_HAAR = _haar()
_HAAR_ERROR = 1e-6  # rounding to 16 bits moves the filters by an ulp of float32, to one half


def is_haar_buffer(name: str) -> bool:
    """Return whether a tensor of the released form is a constant of the Haar transform, which a file may omit."""
    return _end(name) in _HAAR


def with_haar(state: Mapping[str, Tensor], expected: Iterable[str]) -> dict[str, Tensor]:
    """Return the tensors of `state` in the order of `expected`, and add Haar buffers that are missing.

    A checkpoint has the same fingerprint whether its file holds these constants, in any precision, or omits them:
    rounded ones become exact again. Filters that are not Haar's stay as they are.
    """
    result = {}
    for name in expected:
        haar, stored = _HAAR.get(_end(name)), state.get(name)
        if haar is not None and (stored is None or torch.allclose(stored, haar, rtol=0, atol=_HAAR_ERROR)):
            result[name] = haar.clone()
        elif stored is not None:
            result[name] = stored
    return result


def _end(name: str) -> str:
    return ".".join(name.rsplit(".", 2)[1:])
