"""Selects and opens a backend. The package of a backend is imported only when that backend is tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import EngineError
from ..notices import logger
from . import declarations
from .base import Backend, Precision, UnusableError
from .declarations import Declaration, by_name, names

if TYPE_CHECKING:
    from ..bundle import Bundle

__all__ = [
    "Backend",
    "Declaration",
    "Precision",
    "UnusableError",
    "by_name",
    "names",
    "open_backend",
    "require_precision",
]


def open_backend(
    bundle: Bundle,
    name: str | None = None,
    threads: int | None = None,
    precision: Precision | None = None,
    device: int | None = None,
) -> Backend:
    """Open the backend of that name, or the best backend that works on this machine.

    If a better backend was tried and failed, the `notices` of the opened backend say why.

    Args:
        bundle: the bundle that the backend will run.
        name: the name of the backend; None selects the best one.
        threads: the number of threads; None uses all cores.
        precision: the precision of the transforms; None selects the backend's default.
        device: the number of the GPU; None selects a CPU backend too, and the first GPU.

    Raises EngineError if no backend works, or none runs the transforms in that precision.
    """
    if name is None:
        return _open_best(bundle, threads, precision, device)
    declaration = by_name(name)
    if not declaration.is_installed():
        raise EngineError(f"backend {name} is not installed: {declaration.remedy}")
    return _open(_load(declaration, device), bundle, threads, precision)


def require_precision(backend: Backend, precision: Precision | None) -> None:
    """Raise EngineError unless the backend runs its transforms in that precision; None accepts any."""
    if precision not in (None, backend.precision):
        raise EngineError(
            f"backend {backend.name} runs the transforms of this engine in {backend.precision}, expected precision "
            f"{precision}; use precision {backend.precision}, or another backend"
        )


def _load(declaration: Declaration, device: int | None) -> type[Backend]:
    loaded = declaration.load()
    return loaded if device is None else loaded.on_gpu(device)


def _open(loaded: type[Backend], bundle: Bundle, threads: int | None, precision: Precision | None) -> Backend:
    backend = loaded.open(bundle, threads, precision)
    try:
        require_precision(backend, precision)
    except EngineError:
        backend.close()
        raise
    return backend


def _open_best(bundle: Bundle, threads: int | None, precision: Precision | None, device: int | None) -> Backend:
    failures: list[tuple[str, EngineError]] = []
    unusable: list[tuple[str, UnusableError]] = []
    last_resorts: list[tuple[Declaration, Precision | None]] = []

    def skip(declaration: Declaration, error: UnusableError) -> None:
        unusable.append((declaration.name, error))
        logger.info("backend %s cannot be used here: %s", declaration.name, error)

    def try_to_open(declaration: Declaration, wanted: Precision | None) -> Backend | None:
        try:
            backend = _open(_load(declaration, device), bundle, threads, wanted)
        except UnusableError as error:
            skip(declaration, error)
            return None
        except EngineError as error:
            failures.append((declaration.name, error))
            return None
        for name, failure in failures:
            backend.notices.add(f"backend {name} could not be opened, {declaration.name} is used instead: {failure}")
        return backend

    for declaration in declarations.BACKENDS:
        if not declaration.is_installed() or precision not in (None, *declaration.precisions):
            continue
        if device is not None and declaration.device != "gpu":
            continue
        try:
            offer = _load(declaration, device).offer(bundle, threads, precision)
        except UnusableError as error:
            skip(declaration, error)
        except EngineError as error:
            failures.append((declaration.name, error))
        else:
            if offer.last_resort:
                last_resorts.append((declaration, offer.precision))
            elif backend := try_to_open(declaration, offer.precision):
                return backend
    for declaration, wanted in last_resorts:
        if backend := try_to_open(declaration, wanted):
            return backend
    installable = _installable(precision)
    if len(failures) == 1 and not unusable and not installable:
        raise failures[0][1]
    wanted_precision = f" in precision {precision}" if precision else ""
    if failures or unusable:
        missing = (f"{each.name} is not installed: {each.remedy}" for each in installable)
        reasons = "; ".join([*missing, *(f"{name}: {reason}" for name, reason in (*failures, *unusable))])
        raise EngineError(f"no backend runs this engine{wanted_precision} on this machine: {reasons}")
    remedies = (f"for {each.purpose}: {each.remedy}" for each in installable or reversed(declarations.BACKENDS))
    raise EngineError(
        f"no installed backend runs this engine{wanted_precision} on this machine; {'; or '.join(remedies)}"
    )


def _installable(precision: Precision | None) -> list[Declaration]:
    """Return the backends for this CPU that run this precision once they are installed. None returns none."""
    from .. import machine  # imported here because its imports are slow

    if precision is None or (precision == "bf16" and not machine.has_bfloat16()):
        return []
    return [
        each
        for each in declarations.BACKENDS
        if each.device == "cpu" and precision in each.precisions and not each.is_installed()
    ]
