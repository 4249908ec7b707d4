"""Records the inputs of each graph of a bundle while an image is coded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glic_deploy.backends.base import Backend
from glic_deploy.bundle import PREVIEW, Bundle
from glic_deploy.entropy.passes import Pass, Symbols, pack, quantize, walk
from glic_deploy.image import pad
from glic_deploy.values import Value

Arrays = dict[str, NDArray[Any]]

# The folder of `export.integer.build.default_images`, whose module would import PyTorch.
_SHIPPED = Path(__file__).parents[1] / "integer" / "images"


def shipped_image() -> Path:
    """Return the path of the first default calibration image, of 256x256 pixels."""
    return min(_SHIPPED.glob("*.jpg"))


def coding_inputs(bundle: Bundle, backend: Backend, image: NDArray[np.uint8]) -> dict[str, Arrays]:
    """Encode and decode an image, uint8 (H, W, 3), and return the inputs of every graph, in the order of the runs.

    The range coder is skipped, since it changes no array. Raises EngineError where the backend cannot run a graph.
    """
    inputs: dict[str, Arrays] = {}

    def run(graph: str, **values: Value) -> list[NDArray[Any]]:
        inputs[graph] = {name: np.array(value, order="C") for name, value in values.items()}
        return backend.run(graph, inputs[graph])

    y = run("analysis", image=pad(image))[0]
    z_symbols = run("hyper_analysis", y=y)[0]

    def step(part: Pass, indexes: NDArray[np.uint8], means: Value) -> Symbols:
        return quantize(pack(y[:, part.start : part.stop], part.parity), np.asarray(means))

    y_hat = walk(bundle.groups, run, z_symbols, step)
    run("synthesis", y_hat=y_hat)
    if bundle.has_previews:
        run(PREVIEW, y_hat=y_hat)
    return inputs
