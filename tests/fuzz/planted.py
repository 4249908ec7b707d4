"""A target that breaks every rule, so that a test sees whether the driver tells."""

from __future__ import annotations

import os
import signal
from collections.abc import Hashable

from glic_deploy.errors import BitstreamError

from .target import Find, Target


class Planted(Target):
    """The input says what happens."""

    name = "planted"
    deadline = 0.5
    memory = 32 << 20

    def seeds(self) -> list[bytes]:
        return [b"fine"]

    def fuzz_one(self, data: bytes) -> Hashable:
        if data == b"refused":
            raise BitstreamError("as it should be")
        if data == b"exception":
            raise KeyError("outputs")
        if data == b"rule":
            raise Find("an input was replaced")
        if data == b"hang":
            while True:
                pass
        if data == b"reserve":
            bytearray(1 << 40)
        if data == b"grow":
            return len(b"x" * (100 << 20))
        if data == b"end":
            os.kill(os.getpid(), signal.SIGKILL)
        return data
