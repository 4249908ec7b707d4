"""Target for checkpoints: `.pth` archives and `.safetensors` files through the exporter's loader."""

from __future__ import annotations

import io
import json
import random
import warnings
from collections.abc import Callable, Hashable, Sequence

import torch

from export.checkpoint import load_checkpoint

from .mutate import havoc, json_havoc, zip_havoc
from .target import ROOT, Place, Target

State = dict[str, torch.Tensor]

_TYPES = (
    *(torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.int8, torch.bool, torch.complex64),
    torch.float8_e4m3fn,
)
_TENSORS: tuple[Callable[[torch.Tensor], object], ...] = (
    *(lambda t, kind=kind: t.to(kind) for kind in _TYPES),
    lambda t: torch.full_like(t, float("nan")),
    lambda t: torch.full_like(t, 1e37),
    lambda t: t.reshape(-1),
    lambda t: t[:0],
    lambda t: torch.zeros(()).expand(1 << 40),
    lambda t: t.to_sparse(),
    lambda t: t.to("meta"),
    lambda t: torch.nn.Parameter(t),
    lambda t: t.transpose(0, -1) if t.ndim else t,
    lambda t: None,
    lambda t: [t],
    lambda t: {"weight": t},
    lambda t: "tensor",
    lambda t: 1 << 70,
)


def _saved(content: object) -> bytes:
    written = io.BytesIO()
    torch.save(content, written)
    return written.getvalue()


def safetensors_file(state: State) -> bytes:
    """The tensors' names and shapes in the layout of safetensors, over one zero each."""
    header = {
        key: {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [4 * i, 4 * i + 4 * tensor.numel()]}
        for i, (key, tensor) in enumerate(state.items())
    }
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(4096)


class Checkpoints(Target):
    """A checkpoint, or a CheckpointError that says what is wrong with it."""

    name = "checkpoints"
    memory = 1 << 30
    deadline = 20.0

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        warnings.simplefilter("ignore")
        sample = load_checkpoint(ROOT / "samples" / "glic_tiny.pth").state
        # One zero stands for all values, so that files stay small enough to be mutated.
        self.state: State = {key: torch.zeros(()).expand(tensor.shape) for key, tensor in sample.items()}

    def seeds(self) -> list[bytes]:
        few = dict(list(self.state.items())[:5])
        return [_saved(self.state), _saved({"state_dict": few, "epoch": 3}), safetensors_file(few)]

    def mutate(self, data: bytes, rng: random.Random, pool: Sequence[bytes]) -> bytes:
        if data[8:9] == b"{" and rng.random() < 0.8:
            length = int.from_bytes(data[:8], "little")
            text = json_havoc(data[8 : 8 + length], rng)
            return len(text).to_bytes(8, "little") + text + data[8 + length :]
        if rng.random() < 0.4:
            try:
                return _saved(self._other_state(rng))
            except Exception:  # torch does not save everything
                return data
        return zip_havoc(data, rng, pool) if rng.random() < 0.8 else havoc(data, rng, pool)

    def _other_state(self, rng: random.Random) -> object:
        state: dict[object, object] = dict(self.state)
        for _ in range(rng.randint(1, 3)):
            key = rng.choice([key for key in state if isinstance(state[key], torch.Tensor)])
            tensor = state[key]
            assert isinstance(key, str)
            assert isinstance(tensor, torch.Tensor)
            kind = rng.choice(("drop", "rename", "number", "tensor", "tensor", "tensor"))
            if kind == "drop":
                del state[key]
            elif kind == "rename":
                state[rng.choice((f"module.{key}", key.upper(), 7, (key,), "", "blocks.10000000.x"))] = state.pop(key)
            elif kind == "number":
                state["".join(str(rng.choice((9, 10**7))) if c.isdigit() else c for c in key)] = tensor
            else:
                state[key] = rng.choice(_TENSORS)(tensor)
        layouts: tuple[object, ...] = (state, {"state_dict": state}, {"state_dict": [state]}, [state], {"x": state})
        return rng.choice(layouts)

    def fuzz_one(self, data: bytes) -> Hashable:
        path = self.place.scratch / f"c{'.safetensors' if data[8:9] == b'{' else '.pth'}"
        path.write_bytes(data)
        return load_checkpoint(path).config
