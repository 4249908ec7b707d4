"""Target for the custom ops: one-node models drawn by hypothesis from the input's bytes."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence

from tests import hostile_ops

from .target import Target


class Nodes(Target):
    """A node of any shapes, types, values and attributes: it runs, or onnxruntime reports an error."""

    name = "nodes"
    memory = 512 << 20

    def seeds(self) -> list[bytes]:
        rng = random.Random(0)
        return [rng.randbytes(64) for _ in range(16)]

    def mutate(self, data: bytes, rng: random.Random, pool: Sequence[bytes]) -> bytes:
        return rng.randbytes(rng.choice((32, 64, 128))) if rng.random() < 0.5 else super().mutate(data, rng, pool)

    def fuzz_one(self, data: bytes) -> Hashable:
        hostile_ops.test_any_node_runs_or_is_refused.hypothesis.fuzz_one_input(data)
        return None
