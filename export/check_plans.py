"""Check new plans on the GPU that they were built for, and remove plans that fail."""

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
from .integer.build import default_images
from .progress import SILENT, Progress

LOWEST_PSNR = 40.0
"""Lowest accepted PSNR, in dB, between images decoded by the plans and by the float32 graphs on the CPU."""


def check_plans(directory: Path, new: Callable[[PlanEntry], bool], progress: Progress = SILENT) -> None:
    """Run the conformance vectors and a shipped image through a bundle's plans.

    Removes the plans for which `new` returns true, and raises EngineError, if the entropy path is not exact to the bit,
    or if the transforms differ by more than rounding to their precision explains.
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
                f"images decoded by the transforms' plans have a PSNR of {found:.1f} dB against the float32 graphs', "
                f"expected at least {LOWEST_PSNR}: build them in another precision: --precision bf16 or fp32"
            )
    except EngineError:
        with updating(directory) as update:
            update.drop_plans(new)
        raise
    finally:
        plans.close()


def transform_psnr(bundle: Bundle, plans: TensorRTBackend) -> float:
    """Return the PSNR in dB between two reproductions of a shipped image: by the plans and by the float32 graphs.

    Each reproduction runs the analysis transform, rounds y, and runs the synthesis transform.
    """
    image = np.ascontiguousarray(default_images()[0][:256, :384])
    cpu = OnnxRuntimeBackend(bundle)
    results = []
    for backend in (plans, cpu):
        y = backend.run("analysis", {"image": image})[0]
        results.append(backend.run("synthesis", {"y_hat": np.rint(y)})[0])
    decibels = psnr(*results)
    return float("inf") if decibels is None else decibels
