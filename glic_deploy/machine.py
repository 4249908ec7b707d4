"""Describe the machine of a measurement: CPU, memory, GPUs, versions, current clocks."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from . import __version__
from .errors import GlicError

# The instruction sets that the kernels, onnxruntime and torch select from.
_INSTRUCTIONS = (
    "sse4_2", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip
_ENVIRONMENT = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "GLIC_CACHE")
_GPU_FIELDS = (
    "name", "compute_cap", "driver_version", "memory.total", "clocks.sm", "clocks.mem", "clocks.max.sm",
    "power.limit", "temperature.gpu", "persistence_mode",
)  # fmt: skip


def describe() -> dict[str, Any]:
    """Return the properties of this machine on which a timing may depend, for JSON. Raises nothing."""
    return {
        "cpu": cpu(),
        "memory_bytes": memory_bytes(),
        "load_1min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "gpus": _gpus_if_any(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {"glic-deploy": __version__, **_versions()},
        "environment": {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        "kernels": kernels(),
        "revision": _revision(),
    }


def memory_bytes() -> int | None:
    """Return the bytes of memory that this process may use: the machine's, or the limit of its control group."""
    if not hasattr(os, "sysconf"):
        return None
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        limit = _read(path)
        if limit.isdigit():
            total = min(total, int(limit))
    return total


def summary(machine: Mapping[str, Any]) -> str:
    """Return the result of `describe()` as a few lines of text."""
    processor = machine["cpu"]
    clocks = f", {processor['clock_mhz']:.0f} MHz as found" if processor["clock_mhz"] else ""
    memory = f"{machine['memory_bytes'] / 2**30:.1f} GiB" if machine["memory_bytes"] else "unknown memory"
    lines = [
        f"{processor['model']}, {processor['cores']} cores{clocks}, {memory}; load {machine['load_1min'] or 0:.1f}",
        f"instructions {' '.join(processor['instructions']) or 'unknown'}; "
        + ", ".join(f"{name} runs {isa}" for name, isa in machine["kernels"].items()),
        *(f"GPU {', '.join(f'{name} {value}' for name, value in gpu.items())}" for gpu in machine["gpus"]),
        f"{machine['system']}, Python {machine['python']}, "
        + ", ".join(f"{name} {version}" for name, version in machine["versions"].items()),
    ]
    if machine["environment"]:
        lines.append(" ".join(f"{name}={value}" for name, value in machine["environment"].items()))
    if machine["revision"]:
        lines.append(f"revision {machine['revision']}")
    return "\n".join(lines)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu() -> dict[str, Any]:
    """Return the CPU's model, usable cores, vector instructions, current clock in MHz and frequency governor."""
    fields: dict[str, str] = {}
    clocks: list[float] = []
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        fields.setdefault(key, value)
        if key == "cpu MHz":
            clocks.append(float(value))
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    return {
        "model": fields.get("model name") or platform.processor() or platform.machine(),
        "cores": cores(),
        "instructions": [name for name in _INSTRUCTIONS if name in flags],
        "clock_mhz": sum(clocks) / len(clocks) if clocks else None,
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or None,
    }


def has_bfloat16() -> bool:
    """Return whether the CPU multiplies bfloat16 matrices faster than float32 ones."""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(cpu()["instructions"])


def gpus() -> list[dict[str, str]] | None:
    """Return the fields that nvidia-smi reports for each GPU, by nvidia-smi's names; None without nvidia-smi.

    Raises OSError or subprocess.SubprocessError if nvidia-smi fails.
    """
    if shutil.which("nvidia-smi") is None:
        return None
    rows = _run(["nvidia-smi", f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader"]).splitlines()
    return [dict(zip(_GPU_FIELDS, (value.strip() for value in row.split(",")), strict=False)) for row in rows]


def kernels() -> dict[str, str]:
    """Return the instruction set that each of our native libraries selects on this CPU."""
    import ctypes

    from .native import load

    chosen = {}
    try:
        library = load("glic_kernels")
        library.glic_selected_isa.restype = ctypes.c_char_p
        chosen["CPU kernels"] = library.glic_selected_isa().decode()
    except (GlicError, AttributeError):
        pass
    try:
        from .entropy.rans import InstructionSet

        best = [isa for isa in InstructionSet if isa is not InstructionSet.BEST and isa.available()][-1]
        chosen["range coder"] = best.name.lower()
    except (GlicError, AttributeError, IndexError):
        pass
    return chosen


def _gpus_if_any() -> list[dict[str, str]]:
    try:
        return gpus() or []
    except (subprocess.SubprocessError, OSError):
        return []


def _versions() -> dict[str, str]:
    from .backends import declarations

    of_backends = (name for backend in declarations.BACKENDS for name in backend.distributions)
    versions = {}
    for name in ("numpy", "Pillow", *dict.fromkeys(of_backends), "torch"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _revision() -> str | None:
    """Return the Git revision of the checkout that this package runs from; None if it is installed."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    try:
        return _run(["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]) or None
    except (subprocess.SubprocessError, OSError):
        return None


def _run(command: list[str]) -> str:
    """Return the output of a command. Raises OSError or subprocess.SubprocessError if the command fails."""
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""
