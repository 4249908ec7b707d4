"""The cases of `hostile_ops.py`, in processes of their own: what they look for would end pytest itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from glic_deploy import PluginError, native

from .conftest import ROOT


def run(file: str, isa: str = "best") -> str:
    """What pytest prints of the cases in a file with these instructions, after they passed."""
    command = [sys.executable, "-X", "faulthandler", "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, f"tests/{file}"],
        env=os.environ | {"GLIC_ISA": isa},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def require(library: str) -> None:
    """Skip the test where a native library was not built."""
    try:
        native.library_path(library)
    except PluginError as error:
        pytest.skip(f"needs a native library: {error}")


def test_hostile_nodes_give_results_or_errors() -> None:
    require("glic_onnxruntime")
    digests = {isa: re.findall("digest ([0-9a-f]{64})", run("hostile_ops.py", isa)) for isa in ("best", "portable")}
    assert digests["best"] == digests["portable"] != []


def test_hostile_nodes_give_results_or_errors_in_openvino() -> None:
    pytest.importorskip("openvino", reason="needs OpenVINO: pip install 'glic-deploy[openvino]'")
    require("glic_openvino")
    run("hostile_openvino.py")
