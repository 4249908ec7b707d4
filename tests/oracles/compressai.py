"""compressai's two compiled modules, loaded by file path: its package imports torchvision, which no test here needs."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

VERSION = "1.2.8"
DOWNLOADS = Path(__file__).resolve().parents[2] / "build" / "oracles"


class OracleMissingError(RuntimeError):
    """compressai's compiled modules are neither installed nor to be had from the package index."""


@cache
def load(name: str) -> ModuleType:
    """compressai's extension module `ans` (the rANS coder) or `_CXX` (the CDF quantiser).

    Taken from an installed compressai, else from its wheel, which is unpacked without dependencies under build/.
    Raises OracleMissingError saying what is missing.
    """
    paths = list(_package_folder().glob(f"{name}.*.so"))
    if not paths:
        raise OracleMissingError(f"compressai has no compiled module {name} for Python {sys.version_info[:2]}")
    loader = importlib.machinery.ExtensionFileLoader(name, str(paths[0]))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@cache
def _package_folder() -> Path:
    installed = importlib.util.find_spec("compressai")
    if installed is not None and installed.submodule_search_locations:
        return Path(installed.submodule_search_locations[0])
    target = DOWNLOADS / f"compressai-{VERSION}-{sys.implementation.cache_tag}"
    if not (target / "compressai").is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
        command += ["--target", str(target), f"compressai=={VERSION}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            reason = done.stderr.strip().splitlines()[-1:] or ["pip said nothing"]
            raise OracleMissingError(f"compressai {VERSION}'s wheel is not to be had here: {reason[0]}")
    return target / "compressai"
