"""Stands for Polygraphy's TrtRunner on an engine of `tensorrt_simulation`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from polygraphy.backend.base import BaseRunner
from polygraphy.common import TensorMetadata


class SimulatedTrtRunner(BaseRunner):
    """Runs an engine, whose inputs it takes in the engine's own types, as TrtRunner does."""

    def __init__(self, engine: Callable[[], Any], name: str) -> None:
        super().__init__(name=name)
        self._make = engine

    def activate_impl(self) -> None:
        self._engine = self._make()

    def get_input_metadata_impl(self) -> TensorMetadata:
        metadata = TensorMetadata()
        for name, end in self._engine.inputs.items():
            metadata.add(name, dtype=self._engine.simulation.api.nptype(end.type), shape=end.shape)
        return metadata

    def infer_impl(self, feed_dict: dict[str, Any]) -> dict[str, Any]:
        start = time.perf_counter()
        outputs = self._engine.session.run(None, feed_dict)
        self.inference_time = time.perf_counter() - start
        return dict(zip([end.name for end in self._engine.session.get_outputs()], outputs, strict=True))
