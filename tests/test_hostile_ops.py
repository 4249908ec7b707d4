"""The cases of `hostile_ops.py`, in processes of their own: what they look for would end pytest itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from glic_deploy.backends.onnxruntime import custom_ops_library

from .conftest import ROOT


def run(isa: str) -> str:
    """What pytest prints of the cases with these instructions, after it passed."""
    command = [sys.executable, "-X", "faulthandler", "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "tests/hostile_ops.py"],
        env=os.environ | {"GLIC_ISA": isa},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_hostile_nodes_give_results_or_errors() -> None:
    if custom_ops_library() is None:
        pytest.skip("needs the native kernels (libglic_onnxruntime): build the package")
    digests = {isa: re.findall("digest ([0-9a-f]{64})", run(isa)) for isa in ("best", "portable")}
    assert digests["best"] == digests["portable"] != []
