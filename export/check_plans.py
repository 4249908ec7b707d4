"""Proves freshly built plans on the GPU they were built for; plans that fail are not kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from glic_deploy import conformance
from glic_deploy.backends.onnxruntime import OnnxRuntimeBackend
from glic_deploy.backends.tensorrt import TensorRTBackend
from glic_deploy.bundle import Bundle, PlanEntry
from glic_deploy.errors import EngineError
from glic_deploy.metrics import psnr

from .bundle import updating
from .integer.build import default_pictures
from .progress import SILENT, Progress

LOWEST_PSNR = 40.0
"""In dB, of a picture that went through the plans against one that went through the float32 graphs on the CPU."""


def check_plans(directory: Path, new: Callable[[PlanEntry], bool], progress: Progress = SILENT) -> None:
    """Run the conformance vectors and a shipped image through a bundle's plans.

    Raises EngineError, and takes the plans that are `new` out of the bundle, where the entropy path is not exact to the
    bit or the transforms lose more than rounding to their precision explains.
    """
    bundle = Bundle.open(directory)
    plans = TensorRTBackend(bundle)
    try:
        if bundle.exact:
            progress.say(f"{conformance.check(bundle, plans):,} conformance values reproduced bit for bit")
        found = transform_psnr(bundle, plans)
        progress.say(f"transforms in their precision against float32: {found:.1f} dB")
        if found < LOWEST_PSNR:
            raise EngineError(
                f"the transforms' plans give pictures {found:.1f} dB from those of the float32 graphs, expected "
                f"{LOWEST_PSNR} at least: build them in another precision: --precision bf16 or fp32"
            )
    except EngineError:
        with updating(directory) as update:
            update.drop_plans(new)
        raise
    finally:
        plans.close()


def transform_psnr(bundle: Bundle, plans: TensorRTBackend) -> float:
    """PSNR in dB between a shipped picture through both transforms, with rounding between, on either backend."""
    picture = np.ascontiguousarray(default_pictures()[0][:256, :384])
    cpu = OnnxRuntimeBackend(bundle)
    results = []
    for backend in (plans, cpu):
        y = backend.run("analysis", {"image": picture})[0]
        results.append(backend.run("synthesis", {"y_hat": np.rint(y)})[0])
    decibels = psnr(*results)
    return float("inf") if decibels is None else decibels
