"""Adds to an engine bundle what TensorRT runs: graphs that fit its parser, in a chosen precision, and plans.

The manifest is replaced last, so a bundle is at every moment a valid one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from glic_deploy.bundle import MANIFEST, PLANS, TENSORRT, Bundle, sha256
from glic_deploy.errors import EngineError
from glic_deploy.files import atomic_writer
from glic_deploy.tensorrt import BuildOptions, Capability, Flavour, build_plan

from .bundle import BundleWriter
from .graphs import Port
from .precision import HALVES, in_half_precision
from .progress import SILENT, Progress
from .tensorrt_graph import fit_tensorrt

TRANSFORMS = ("analysis", "hyper_analysis", "synthesis")
PRECISIONS = ("fp32", *HALVES)


def add_graphs(directory: Path, precision: str) -> None:
    """Give a bundle the graph variants `precision` (of the transforms, unless fp32) and `tensorrt` (of all).

    Plans of graphs that come out as they were stay in the bundle, the files of all others are deleted.
    """
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
    plans = [plan for plan in manifest.get(PLANS, []) if _is_unchanged(directory, manifest, plan["graph"])]
    _delete_plans(directory, manifest.get(PLANS, []), plans)
    halves.finish(**_entries(manifest) | ({PLANS: plans} if plans else {}))


def add_plans(
    directory: Path,
    flavour: Flavour,
    capabilities: tuple[Capability, ...],
    options: BuildOptions,
    progress: Progress = SILENT,
) -> None:
    """Build the plan of every graph's `tensorrt` variant for GPUs of `capabilities` and list them in the manifest.

    Raises EngineError where TensorRT refuses a graph; the bundle then stays as it was.
    """
    bundle = Bundle.open(directory)
    (directory / PLANS).mkdir(exist_ok=True)
    graphs = bundle.manifest["graphs"]
    progress.expect(len(graphs))
    plans = []
    targets = "-".join("sm{}{}".format(*capability) for capability in capabilities)
    for name, entry in graphs.items():
        progress.begin(f"building the plan of {name}")
        variant = entry["variants"].get(TENSORRT)
        if variant is None:
            raise EngineError(f"{directory} has no graph {name} for TensorRT; add it: python -m export.to_trt")
        start = time.perf_counter()
        plan = build_plan(
            flavour, bundle.graph(name, [TENSORRT]), entry["inputs"], variant["plugins"], options, progress.begin
        )
        seconds = time.perf_counter() - start
        file = f"{PLANS}/{name}.{flavour.name}-{flavour.version}.{targets}.plan"
        with atomic_writer(directory / file) as stream:
            stream.write(plan)
        plans.append(
            {
                "graph": name,
                "file": file,
                "flavour": flavour.name,
                "version": flavour.version,
                "capabilities": [list(capability) for capability in capabilities],
                "precision": variant["precision"],
                "profile": options.profile.as_dict(),
                "build_seconds": round(seconds, 2),
            }
        )
        progress.done(f"{name:18} plan in {variant['precision']}, {len(plan):,} bytes, {seconds:.1f} s")
    manifest = bundle.manifest
    kept = [plan for plan in manifest.get(PLANS, []) if not _is_superseded(plan, plans[0])]
    _delete_plans(directory, manifest.get(PLANS, []), [*kept, *plans])
    BundleWriter(directory, manifest["graphs"]).finish(**_entries(manifest), **{PLANS: [*kept, *plans]})


def _is_superseded(plan: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether every GPU that an earlier plan runs on, with the same TensorRT, is served by the new plans too."""
    same = all(plan[key] == new[key] for key in ("flavour", "version"))
    return same and all(capability in new["capabilities"] for capability in plan["capabilities"])


def _is_unchanged(directory: Path, manifest: Mapping[str, Any], graph: str) -> bool:
    """Whether what the plans of a graph were built from is still what the manifest says: the graph and all weights."""
    files = manifest["files"]
    sources = [f"graphs/{graph}.{TENSORRT}.onnx", *(name for name in files if name.endswith(".bin"))]
    return all(
        name in files and (directory / name).is_file() and sha256(directory / name) == files[name]["sha256"]
        for name in sources
    )


def _delete_plans(directory: Path, listed: list[dict[str, Any]], kept: list[dict[str, Any]]) -> None:
    """Delete the files of the plans that are not kept."""
    for file in {plan["file"] for plan in listed} - {plan["file"] for plan in kept}:
        (directory / file).unlink(missing_ok=True)


def _entries(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a writer does not write by itself, but for the plans."""
    return {
        key: value for key, value in manifest.items() if key not in ("format", "generator", "graphs", "files", PLANS)
    }
