"""Adds to an engine bundle what TensorRT runs: graphs that fit its parser, in a chosen precision, and plans.

The manifest is replaced last, so a bundle is at every moment a valid one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from glic_deploy.bundle import MANIFEST, PLANS, TENSORRT, Bundle
from glic_deploy.errors import EngineError
from glic_deploy.files import atomic_writer
from glic_deploy.tensorrt import BuildOptions, Flavour, build_plan

from .bundle import BundleWriter
from .graphs import Port
from .precision import HALVES, in_half_precision
from .tensorrt_graph import fit_tensorrt

TRANSFORMS = ("analysis", "hyper_analysis", "synthesis")
PRECISIONS = ("fp32", *HALVES)

Progress = Callable[[str], None]


def add_graphs(directory: Path, precision: str) -> None:
    """Give a bundle the graph variants `precision` (of the transforms, unless fp32) and `tensorrt` (of all)."""
    manifest = json.loads((directory / MANIFEST).read_bytes())
    halves = BundleWriter(directory, manifest["graphs"], f"graphs/weights.{precision}.bin")
    (directory / halves.weights).unlink(missing_ok=True)
    for name, entry in halves.graphs.items():
        source = "base"
        if name in TRANSFORMS and precision in HALVES:
            model = onnx.load(directory / entry["variants"]["base"]["file"])
            inputs, outputs = ([Port(**port) for port in entry[ends]] for ends in ("inputs", "outputs"))
            halves.add_graph(name, precision, in_half_precision(model, precision), inputs, outputs)
            source = precision
        # It shares the weights of its source, which are never read here.
        path = f"graphs/{name}.{TENSORRT}.onnx"
        model = fit_tensorrt(onnx.load(directory / entry["variants"][source]["file"], load_external_data=False))
        (directory / path).write_bytes(model.SerializeToString(deterministic=True))
        onnx.checker.check_model(str(directory / path))
        plugins = entry["variants"][source]["plugins"]
        computed_in = precision if name in TRANSFORMS else "exact integers in fp32"
        entry["variants"][TENSORRT] = {"file": path, "plugins": plugins, "precision": computed_in}
    # Plans of other graphs would be of no use.
    halves.finish(**{key: value for key, value in _entries(manifest).items() if key != PLANS})


def add_plans(
    directory: Path,
    flavour: Flavour,
    capability: tuple[int, int],
    options: BuildOptions,
    progress: Progress,
    phases: Progress | None = None,
) -> None:
    """Build the plan of every graph's `tensorrt` variant for GPUs of `capability` and list them in the manifest.

    `progress` gets a line for each plan, `phases` one for each step of TensorRT's.
    Raises EngineError where TensorRT refuses a graph; the bundle then stays as it was.
    """
    bundle = Bundle.open(directory)
    (directory / PLANS).mkdir(exist_ok=True)
    plans = []
    for number, (name, entry) in enumerate(bundle.manifest["graphs"].items(), 1):
        variant = entry["variants"].get(TENSORRT)
        if variant is None:
            raise EngineError(f"{directory} has no graph {name} for TensorRT; add it: python -m export.to_trt")
        start = time.perf_counter()
        plan = build_plan(flavour, bundle.graph(name, [TENSORRT]), entry["inputs"], variant["plugins"], options, phases)
        seconds = time.perf_counter() - start
        file = f"{PLANS}/{name}.{flavour.name}-{flavour.version}.sm{capability[0]}{capability[1]}.plan"
        with atomic_writer(directory / file) as stream:
            stream.write(plan)
        plans.append(
            {
                "graph": name,
                "file": file,
                "flavour": flavour.name,
                "version": flavour.version,
                "capability": list(capability),
                "precision": variant["precision"],
                "profile": options.profile.as_dict(),
                "build_seconds": round(seconds, 2),
            }
        )
        count = len(bundle.manifest["graphs"])
        progress(f"[{number:2}/{count}] {name:18} {variant['precision']}, {len(plan):,} bytes, {seconds:.1f} s")
    manifest = bundle.manifest
    of_another_kind = [plan for plan in manifest.get(PLANS, []) if plan["file"] not in {new["file"] for new in plans}]
    BundleWriter(directory, manifest["graphs"]).finish(**{**_entries(manifest), PLANS: [*of_another_kind, *plans]})


def _entries(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a writer does not write by itself."""
    return {key: value for key, value in manifest.items() if key not in ("format", "generator", "graphs", "files")}
