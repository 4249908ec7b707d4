"""Find and load the package's own shared libraries, which CMake puts into `_native` of the package.

The libraries of the GPU backends may be in a package of their own, glic-deploy-cuda.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from importlib import metadata
from pathlib import Path

from .errors import PluginError

REBUILD = "from a checkout, with a C++17 compiler: pip install --force-reinstall --no-deps ."
_FOLDER = "_native"
_GPU_PACKAGE, _GPU_DISTRIBUTION = "glic_deploy_cuda", "glic-deploy-cuda"


def file_name(name: str) -> str:
    """Return the file name of the shared library `name` on this system: `lib<name>.so` on Linux."""
    if sys.platform == "win32":
        return f"{name}.dll"
    return f"lib{name}.dylib" if sys.platform == "darwin" else f"lib{name}.so"


def library_path(name: str, remedy: str = REBUILD) -> Path:
    """Return the path of the shared library `name`, of this package or of glic-deploy-cuda.

    Raises PluginError, which ends with `remedy`, if the library was not built, and PluginError if glic-deploy-cuda is
    of another version.
    """
    # GLIC_NATIVE names a folder with another build of the libraries, for example with sanitizers.
    folder = Path(os.environ.get("GLIC_NATIVE") or Path(__file__).parent / _FOLDER)
    path = folder / file_name(name)
    if path.is_file():
        return path
    if (gpu := _in_gpu_package(name)) is not None:
        return gpu
    raise PluginError(f"native library {path.name} not found in {folder}", remedy, missing=True)


def _in_gpu_package(name: str) -> Path | None:
    """Return the path of a library of glic-deploy-cuda; None if there is none. Raises PluginError."""
    from . import __version__

    found = importlib.util.find_spec(_GPU_PACKAGE)
    if found is None or not found.submodule_search_locations:
        return None
    path = Path(found.submodule_search_locations[0]) / _FOLDER / file_name(name)
    if not path.is_file():
        return None
    version = metadata.version(_GPU_DISTRIBUTION)
    if version != __version__:
        raise PluginError(
            f"{path} is of {_GPU_DISTRIBUTION} {version}, glic-deploy is {__version__}",
            f"pip install {_GPU_DISTRIBUTION}=={__version__}",
        )
    return path


def load(name: str, remedy: str = REBUILD) -> ctypes.CDLL:
    """Load the library `name`; calls to it release the GIL. Raises PluginError if it is missing or does not load."""
    path = library_path(name, remedy)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise PluginError(f"native library {path} does not load: {error}", remedy) from error
