"""Proves, on the machine it runs on, that a backend computes the entropy path bit for bit as the bundle says.

A bundle carries small inputs with the exact results of every pass. A backend that gives one wrong bit may not code:
what it writes could be read nowhere, and what others wrote it would read as garbage.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import cache
from .backends.base import Backend
from .bundle import Bundle
from .bundle.tables import CASES
from .entropy.passes import Pass, Symbols, walk
from .errors import EngineError
from .values import Value

_PASSED = b"passed\n"

__all__ = ["CASES", "check", "ensure", "identity", "pass_name"]


def pass_name(part: Pass) -> str:
    """`slice0_anchors` and so on."""
    return f"slice{part.k}_{'nonanchors' if part.parity else 'anchors'}"


def check(bundle: Bundle, backend: Backend) -> int:
    """Run the bundle's conformance vectors. Returns how many values were compared.

    Raises EngineError naming the pass where the backend's results differ first.
    """
    vectors = bundle.conformance()
    compared = 0

    def run(graph: str, **inputs: Value) -> Sequence[Value]:
        outputs = backend.start(graph, inputs)
        bundle.check_outputs(graph, inputs, outputs)
        return outputs

    for case in range(CASES):

        def step(part: Pass, indexes: NDArray[np.uint8], means: Value, case: int = case) -> Symbols:
            nonlocal compared
            name = pass_name(part)
            for what, got in (("indexes", indexes), ("means", np.asarray(means))):
                wrong = int((got != vectors[f"{name}_{what}"][case]).sum())
                compared += got.size
                if wrong:
                    raise EngineError(
                        f"{_summary(backend)} does not compute the entropy path exactly: {wrong} of {got.size} {what} "
                        f"of {name} are wrong, so it may not encode or decode; use another backend or version of it, "
                        f"and report this with the output of: glic doctor --engine {bundle.path}"
                    )
            symbols: Symbols = vectors[f"{name}_symbols"][case]
            return symbols

        walk(bundle.groups, run, vectors["z_symbols"][case], step)
    return compared


def ensure(bundle: Bundle, backend: Backend) -> None:
    """`check`, unless this bundle has passed it before with this backend on this machine. Raises EngineError."""
    name = f"conformance/{identity(bundle, backend)}"
    if cache.fetch(name) == _PASSED:
        return
    check(bundle, backend)
    backend.trim()  # no image has the size of these vectors
    cache.store(name, _PASSED)


def identity(bundle: Bundle, backend: Backend) -> str:
    """Name for what was found: changes with all that could change it, the bundle, the backend, the processor."""
    parts: Mapping[str, Any] = {
        "files": {name: entry.sha256 for name, entry in bundle.manifest.files.items()},
        "backend": backend.describe(),
        "machine": [platform.machine(), platform.system(), _processor()],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _processor() -> str:
    """Model and features of the processor, as far as the system tells."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return platform.processor()
    return "\n".join(line for line in first.splitlines() if line.startswith(("model name", "flags", "Features", "CPU")))


def _summary(backend: Backend) -> str:
    described = backend.describe()
    return " ".join(str(described[key]) for key in ("name", "version") if key in described)
