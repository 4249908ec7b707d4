"""Shared fixtures: where the large test data is, and what to say when it is not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data"


def large_data(relative: str) -> Path:
    """Path of a large test file or folder, under GLIC_TEST_DATA or beside the checkout; skips the test when absent."""
    base = Path(os.environ.get("GLIC_TEST_DATA", ROOT.parent / "shared"))
    path = base / relative
    if not path.exists():
        pytest.skip(f"needs {relative} of the large test data; set GLIC_TEST_DATA to the folder that holds it")
    return path
