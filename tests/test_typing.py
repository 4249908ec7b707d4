"""A caller's program is checked by mypy --strict against the package's own types."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from .conftest import ROOT

PROGRAM = """
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glic_deploy import Codec, DamagedTilesWarning, Limits, TargetWarning

with Codec(Path("engine"), threads=1, limits=Limits(max_pixels=1 << 24)) as codec:
    data: bytes = codec.encode("a.png", quality=1, background=(255, 255, 255))
    files: list[bytes] = list(codec.encode_many(["a.png"], workers=2, target_bpp=0.3))
    outcomes: list[bytes | Exception] = list(codec.encode_many([Path("a.png")], on_error="yield", tile=256))
    with open("a.glic", "rb") as stream:
        image: NDArray[np.uint8] = codec.decode(stream, region=(0, 0, 8, 8))
    images: list[NDArray[np.uint8]] = list(codec.decode_many(["a.glic", Path("b.glic"), data], region=(0, 0, 8, 8)))
    strips: list[NDArray[np.uint8]] = list(codec.decode_strips("a.glic", on_error="fill", damaged=[]))
    codec.encode_many([], qualty=1)  # type: ignore[call-overload]
    codec.encode_many([], quality="x")  # type: ignore[call-overload]
    codec.decode_many([], out=image)  # type: ignore[call-overload]
    codec.decode_strips(data, on_error="bogus")  # type: ignore[arg-type]
    codec.decode(3)  # type: ignore[arg-type]
"""


def test_the_package_says_that_it_has_types() -> None:
    assert resources.files("glic_deploy").joinpath("py.typed").is_file()


@pytest.mark.slow
def test_a_callers_program_is_checked(tmp_path: Path) -> None:
    """An error that mypy does not find is an unused `type: ignore`, which --strict reports."""
    pytest.importorskip("mypy", reason="needs mypy: pip install 'glic-deploy[dev]'")
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", "cache", "program.py"]
    environment = {"MYPYPATH": str(ROOT), "PATH": ""}
    checked = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert checked.returncode == 0, checked.stdout + checked.stderr
