"""Files made once decode to the latents that were pinned then, in every lowering, for ever after."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from export.bundle import fingerprint
from export.integer import LOWERINGS
from glic_deploy import Codec, ModelMismatchError
from glic_deploy.backends.onnxruntime import custom_ops_library
from glic_deploy.bundle import MANIFEST, Bundle

from .golden_files import DIRECTORY, LatentsOnly, digest, latents, read


@pytest.fixture(scope="module")
def bundle(golden_engine: Path) -> Bundle:
    return Bundle.open(golden_engine)


@pytest.mark.parametrize("form", LOWERINGS)
@pytest.mark.parametrize("name", latents())
def test_golden_files_decode_to_their_latents(bundle: Bundle, form: str, name: str) -> None:
    if form == "native" and custom_ops_library() is None:
        pytest.skip("needs the native kernels (libglic_onnxruntime): build the package")
    backend = LatentsOnly(bundle, 1, forms=(form,))
    with Codec(bundle.path, backend=backend) as codec:
        codec.decode(read(name))
    assert digest(backend.y_hat) == latents()[name]


def test_another_arithmetic_refuses_them(bundle: Bundle, tmp_path: Path) -> None:
    """One different integer anywhere in the network makes another arithmetic."""
    manifest = json.loads((bundle.path / MANIFEST).read_text())
    arrays = dict(np.load(DIRECTORY / "network.npz"))
    arrays["network.slices.3.thresholds"][7] += 1
    manifest["arithmetic"]["fingerprint"] = fingerprint({n: v.astype(np.int64) for n, v in arrays.items()})
    engine = shutil.copytree(bundle.path, tmp_path / "engine")
    (engine / MANIFEST).write_text(json.dumps(manifest))
    with (
        Codec(engine, backend=LatentsOnly(Bundle.open(engine), 1)) as codec,
        pytest.raises(ModelMismatchError, match="entropy arithmetic"),
    ):
        codec.decode((DIRECTORY / "pixel.glic").read_bytes())
