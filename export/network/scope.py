"""A view of a checkpoint's tensors under one prefix, from which modules take their weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Scope:
    """`scope / "mlp"` is the scope one level down; `scope["weight"]` is a tensor of the scope, as float32."""

    state: Mapping[str, torch.Tensor]
    prefix: str = ""

    def __truediv__(self, name: str | int) -> Scope:
        return Scope(self.state, f"{self.prefix}{name}.")

    def __getitem__(self, name: str) -> torch.Tensor:
        value = self.state[self.prefix + name].detach()
        return value.float() if value.is_floating_point() else value

    def get(self, name: str) -> torch.Tensor | None:
        return self[name] if name in self else None  # noqa: SIM401  (it is what `get` means)

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.state

    def children(self) -> list[Scope]:
        """Return the members of a sequence in the order of their indices, which may have gaps."""
        size = len(self.prefix)
        indices = {key[size:].split(".")[0] for key in self.state if key.startswith(self.prefix)}
        return [self / index for index in sorted(indices, key=int)]
