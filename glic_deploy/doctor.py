"""Examine a machine: find the components of glic_deploy, and name the commands that install missing ones."""

from __future__ import annotations

import contextlib
import ctypes
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from . import __version__, cache, machine
from .errors import GlicError, PluginError
from .native import REBUILD, load

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .backends import Declaration, Precision

Status = Literal["ok", "missing", "broken", "slower"]

_REQUIRED_PACKAGES = ("numpy", "Pillow", "google-crc32c")

_GPU_FIELDS = ("name", "compute_cap", "driver_version", "memory.total")

_REPORT = "report this with the output of: glic doctor --engine DIR --json -"


@dataclass(frozen=True)
class Finding:
    """Hold the result of one check.

    Attributes:
        area: the heading in the report: system, package, native, backend, engine.
        name: the component that was checked.
        status: "missing": not installed; "broken": installed but not working; "slower": working, but slower than
            necessary.
        detail: a version, a path, a measurement, or the error.
        remedy: the command or action that helps; empty if nothing is wrong.
        required: whether coding is impossible unless the status is ok.
    """

    area: str
    name: str
    status: Status
    detail: str
    remedy: str = ""
    required: bool = False

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def examine() -> list[Finding]:
    """Check the system, the packages, the native libraries and the backends. Raises nothing."""
    return [*_system(), *_packages(), *_native(), *_backends()]


def can_code(findings: Sequence[Finding]) -> bool:
    """Return whether all required components and at least one backend work."""
    required = all(finding.status == "ok" for finding in findings if finding.required)
    return required and any(finding.area == "backend" and finding.status == "ok" for finding in findings)


def as_text(findings: Sequence[Finding]) -> str:
    """Return a report for people: a line for each finding, with its remedy below."""
    marks = {"ok": "  ok", "missing": "  --", "broken": "  !!", "slower": "   !"}
    width = max(len(finding.name) for finding in findings)
    lines: list[str] = []
    area = ""
    for finding in findings:
        if finding.area != area:
            area = finding.area
            lines.append(area)
        lines.append(f"{marks[finding.status]}  {finding.name:{width}}  {finding.detail}")
        if finding.remedy:
            lines.append(f"{'':{width + 8}}-> {finding.remedy}")
    if not can_code(findings):
        lines.append("glic cannot code here: see the lines marked -- or !!")
    elif any(finding.area == "engine" for finding in findings):
        lines.append("glic can code here")
    else:
        lines.append("glic can code here (no engine was tried: add --engine DIR)")
    return "\n".join(lines)


def round_trip(
    engine: str | Path,
    *,
    backend: str | None = None,
    threads: int | None = None,
    precision: Precision | None = None,
    device: int | None = None,
) -> list[Finding]:
    """Open `engine`, and encode and decode a small synthetic image. Errors of the engine become findings."""
    from . import Codec
    from .metrics import psnr

    try:
        with Codec(engine, backend=backend, precision=precision, threads=threads, device=device) as codec:
            arithmetic = codec.check_arithmetic()
            image = _test_image()
            start = time.perf_counter()
            data = codec.encode(image)
            encoded = time.perf_counter()
            decoded = codec.decode(data)
            done = time.perf_counter()
            described = codec.describe()
    except (GlicError, OSError, MemoryError) as error:
        return [Finding("engine", str(engine), "broken", f"{type(error).__name__}: {error}", required=True)]
    height, width = image.shape[:2]
    backend_says = ", ".join(f"{key} {value}" for key, value in described["backend"].items())
    found = [
        Finding("engine", str(engine), "ok", backend_says, required=True),
        *(Finding("engine", "not the best", "slower", notice) for notice in described["notices"]),
        Finding("engine", "entropy arithmetic", "ok", arithmetic, required=True),
    ]
    if decoded.shape != image.shape:
        detail = f"decoded {decoded.shape}, expected {image.shape}"
        return [*found, Finding("engine", "round trip", "broken", detail, _REPORT, required=True)]
    quality = psnr(image, decoded)
    detail = (
        f"{width} x {height} in {len(data):,} bytes, {'equal' if quality is None else f'{quality:.2f} dB'}, "
        f"encoded in {encoded - start:.2f} s, decoded in {done - encoded:.2f} s"
    )
    return [*found, Finding("engine", "round trip", "ok", detail, required=True)]


def _test_image() -> NDArray[np.uint8]:
    """Return smooth waves with an edge, uint8 (136, 200, 3). Both sides need padding."""
    import numpy as np

    y, x = np.mgrid[:136, :200]
    waves = np.stack([np.sin(x / 17), np.sin(y / 11), np.sin((x + y) / 23)], axis=-1)
    levels: NDArray[np.float64] = 128 + 80 * waves + 40 * (x > y)[:, :, np.newaxis]
    return levels.clip(0, 255).astype(np.uint8)


def _system() -> Iterator[Finding]:
    yield Finding("system", "glic-deploy", "ok", f"{__version__}, {Path(__file__).parent}")
    yield Finding("system", "Python", "ok", f"{platform.python_version()}, {sys.executable}")
    yield Finding("system", "platform", "ok", platform.platform())
    cpu = machine.cpu()
    features = " ".join(cpu["instructions"]) or "no known vector instructions"
    yield Finding("system", "CPU", "ok", f"{cpu['model']}, {cpu['cores']} cores, {features}")
    memory = machine.memory_bytes()
    if memory is not None:
        yield Finding("system", "memory", "ok", f"{memory / 2**30:.1f} GiB")
    kept = cache.directory()
    detail = f"{kept}, {cache.size(kept) / 2**20:,.0f} MiB (glic doctor --clear-cache deletes it)"
    yield Finding("system", "cache", "ok", detail)
    yield _gpu()


def _gpu() -> Finding:
    remedy = "for coding on a GPU, install NVIDIA's driver"
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Finding("system", "NVIDIA GPU", "missing", "no driver (libcuda.so.1) here", remedy)
    try:
        gpus = machine.gpus()
    except (subprocess.SubprocessError, OSError) as error:
        return Finding("system", "NVIDIA GPU", "broken", f"nvidia-smi fails: {error}", "repair NVIDIA's driver")
    if gpus is None:
        return Finding("system", "NVIDIA GPU", "ok", "the driver is installed; nvidia-smi, which shows details, is not")
    detail = "; ".join(", ".join(gpu[field] for field in _GPU_FIELDS if field in gpu) for gpu in gpus)
    return Finding("system", "NVIDIA GPU", "ok", detail)


def _packages() -> Iterator[Finding]:
    for name in _REQUIRED_PACKAGES:
        version = _version(name)
        if version is None:
            yield Finding("package", name, "missing", "not installed", f"pip install {name}", required=True)
        else:
            yield Finding("package", name, "ok", version, required=True)
    with contextlib.suppress(ImportError):
        import google_crc32c

        if google_crc32c.implementation != "c":
            remedy = "pip install --force-reinstall google-crc32c"
            yield Finding("package", "CRC-32C", "missing", "only the slow implementation is installed", remedy)
    with contextlib.suppress(ImportError):
        from PIL import features

        if not features.check("littlecms2"):
            remedy = "pip install --force-reinstall --only-binary :all: Pillow"
            yield Finding("package", "littleCMS", "missing", "Pillow cannot convert ICC colour profiles", remedy)


def _native() -> Iterator[Finding]:
    from .backends import declarations

    yield _library("rans", "range coder", REBUILD, required=True)
    for backend in reversed(declarations.BACKENDS):
        if backend.library is not None and backend.is_installed() and backend.versions():
            yield _library(backend.library, f"ops for backend {backend.name}", backend.library_remedy)
    chosen = machine.kernels()
    if chosen:
        detail = ", ".join(f"{isa} for the {name}" for name, isa in chosen.items())
        yield Finding("native", "instruction sets", "ok", detail)


def _library(name: str, purpose: str, remedy: str, *, required: bool = False) -> Finding:
    try:
        load(name, remedy)
    except PluginError as error:
        status: Status = "missing" if error.missing else "broken"
        return Finding("native", f"lib{name}", status, f"{purpose}: {error.problem}", error.remedy, required)
    return Finding("native", f"lib{name}", "ok", purpose, required=required)


def _backends() -> Iterator[Finding]:
    from .backends import declarations

    yield from map(_backend, declarations.BACKENDS)


def _backend(backend: Declaration) -> Finding:
    """Check whether a backend works on this machine."""
    from .backends import UnusableError

    versions = ", ".join(f"{name} {version}" for name, version in backend.versions().items())
    if not versions or not backend.is_installed():
        return Finding("backend", backend.name, "missing", f"not installed ({backend.purpose})", backend.remedy)
    try:
        detail = backend.load().check_machine()
    except PluginError as error:
        status: Status = "missing" if error.missing else "broken"
        return Finding("backend", backend.name, status, f"{versions}: {error.problem}", error.remedy)
    except UnusableError as error:
        return Finding("backend", backend.name, "missing", f"{versions}: {error.problem}", error.remedy)
    except GlicError as error:
        return Finding("backend", backend.name, "broken", f"{versions}: {error}", f"reinstall it: {backend.remedy}")
    return Finding("backend", backend.name, "ok", detail)


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
