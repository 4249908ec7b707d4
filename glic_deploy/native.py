"""Find and load the package's own shared libraries, which CMake puts into `glic_deploy/_native`."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from .errors import PluginError

REBUILD = "from a checkout, with a C++17 compiler: pip install --force-reinstall --no-deps ."


def library_path(name: str, remedy: str = REBUILD) -> Path:
    """Return the path of the shared library `lib<name>.so`.

    Raises PluginError, which ends with `remedy`, if the library was not built.
    """
    # GLIC_NATIVE names a folder with another build of the libraries, for example with sanitizers.
    path = Path(os.environ.get("GLIC_NATIVE") or Path(__file__).parent / "_native") / f"lib{name}.so"
    if not path.is_file():
        raise PluginError(f"native library lib{name}.so not found in {path.parent}", remedy, missing=True)
    return path


def load(name: str, remedy: str = REBUILD) -> ctypes.CDLL:
    """Load `lib<name>.so`; calls to it release the GIL. Raises PluginError if it is missing or does not load."""
    path = library_path(name, remedy)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise PluginError(f"native library {path} does not load: {error}", remedy) from error
