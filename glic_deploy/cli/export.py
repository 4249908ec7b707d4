"""Convert checkpoints to engine bundles, and bundles to other forms. The tool reads the arguments behind its name.

glic export to_onnx --checkpoint C.pth --output DIR
glic export to_trt --engine DIR
glic export to_trt --help

glic export TOOL runs the same program as python -m export.TOOL, but also from a directory with a folder named export.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from importlib import import_module
from pathlib import Path

from ..errors import EngineError
from . import exits

PASSES_ON = True
"""Says that this command parses only the tool's name and passes the other arguments on."""

_TOOLS = {
    "to_onnx": "a checkpoint to an engine bundle",
    "to_trt": "a checkpoint or a bundle to a bundle with TensorRT plans",
    "to_triton": "a bundle to a model repository of Triton Inference Server",
    "compare": "the graphs of a bundle on several runtimes",
}
_PACKAGE = "export"
_FOLDER = Path(__file__).resolve().parents[2] / _PACKAGE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    there = [name for name in _TOOLS if (_FOLDER / f"{name}.py").is_file()] or list(_TOOLS)
    parser.add_argument("tool", choices=there, help="; ".join(f"{name}: {_TOOLS[name]}" for name in there))
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    _load_package()
    try:
        tool = import_module(f"{_PACKAGE}.{args.tool}")
    except ModuleNotFoundError as error:
        raise EngineError(
            f"glic export {args.tool} needs the package {error.name}, which is not installed: "
            "pip install 'glic-deploy[export]'"
        ) from None
    code: int | None = tool.main(args.arguments, prog=f"glic export {args.tool}")
    return code or exits.OK


def _load_package() -> None:
    """Import the exporter that lies beside this package, even if another package named `export` comes first.

    Raises EngineError if the exporter is not installed.
    """
    init = _FOLDER / "__init__.py"
    loaded = getattr(sys.modules.get(_PACKAGE), "__file__", None)
    if loaded is not None and Path(loaded).resolve() == init:
        return
    if not init.is_file():
        raise EngineError(f"the exporter is not installed, {_FOLDER} is missing; install glic-deploy again")
    for name in [name for name in sys.modules if name.partition(".")[0] == _PACKAGE]:
        del sys.modules[name]
    spec = importlib.util.spec_from_file_location(_PACKAGE, init, submodule_search_locations=[str(_FOLDER)])
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[_PACKAGE] = package
    spec.loader.exec_module(package)
