"""Verifies that a backend on this machine computes the entropy path bit for bit as the bundle requires.

A bundle contains conformance vectors: small inputs with the exact results of every pass. A backend with one wrong bit
is refused: no other machine could decode its files, and it would decode the files of other machines to garbage.
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
    """Return the name of the graph of a pass, such as `slice0_anchors`."""
    return part.graph


def check(bundle: Bundle, backend: Backend) -> int:
    """Run the bundle's conformance vectors. Returns the number of compared values.

    Raises EngineError, which names the first pass with a wrong result.
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
                    raise inexact(bundle, backend, wrong, got.size, what, name)
            symbols: Symbols = vectors[f"{name}_symbols"][case]
            return symbols

        walk(bundle.groups, run, vectors["z_symbols"][case], step)
    return compared


def ensure(bundle: Bundle, backend: Backend) -> None:
    """Run `check` unless the cache says that bundle, backend and machine have passed it. Raises EngineError."""
    if has_passed(bundle, backend):
        return
    check(bundle, backend)
    backend.trim()  # no image has the size of these vectors
    remember(bundle, backend)


def has_passed(bundle: Bundle, backend: Backend, what: Any = None) -> bool:
    """Return whether the cache says that bundle, backend and machine have passed `check`, or the check `what`."""
    return cache.fetch(_entry(bundle, backend, what)) == _PASSED


def remember(bundle: Bundle, backend: Backend, what: Any = None) -> None:
    """Store in the cache that bundle, backend and machine have passed `check`, or the check `what`."""
    cache.store(_entry(bundle, backend, what), _PASSED)


def inexact(bundle: Bundle, backend: Backend, wrong: int, of: int, what: str, where: str) -> EngineError:
    """Return the error for a backend that computed `wrong` of the values `what` of a pass or graph wrongly."""
    return EngineError(
        f"{_summary(backend)} does not compute the entropy path exactly: {wrong} of {of} {what} of {where} are wrong, "
        "so it must not encode or decode; use another backend or version, and report this with the output of: "
        f"glic doctor --engine {bundle.path}"
    )


def identity(bundle: Bundle, backend: Backend, what: Any = None) -> str:
    """Return a digest of everything that could change the results: the bundle, the backend, its device and the CPU.

    what: a check of less than the whole entropy path.
    """
    parts: Mapping[str, Any] = {
        "files": {name: entry.sha256 for name, entry in bundle.manifest.files.items()},
        "backend": backend.fingerprint(),
        "machine": [platform.machine(), platform.system(), _processor()],
        **({"check": what} if what else {}),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _entry(bundle: Bundle, backend: Backend, what: Any) -> str:
    return f"conformance/{identity(bundle, backend, what)}"


def _processor() -> str:
    """Return the model and the features of the CPU, as far as the system reports them."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return platform.processor()
    return "\n".join(line for line in first.splitlines() if line.startswith(("model name", "flags", "Features", "CPU")))


def _summary(backend: Backend) -> str:
    described = backend.describe()
    return " ".join(str(described[key]) for key in ("name", "version") if key in described)
