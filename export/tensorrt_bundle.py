"""Adds to an engine bundle what TensorRT runs: graphs that fit its parser, in a chosen precision, and plans.

The bundle is at every moment a valid one: see `export.bundle.updating`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import onnx

from glic_deploy.bundle import PLANS, TENSORRT, PlanEntry, SizeRange
from glic_deploy.tensorrt import BuildOptions, Flavour, build_plan

from .bundle import updating
from .precision import HALVES, in_half_precision
from .tensorrt_graph import fit_tensorrt

PRECISIONS = ("fp32", *HALVES)

Progress = Callable[[str], None]


def add_graphs(directory: Path, precision: str) -> None:
    """Give a bundle the graph variants `precision` (of the transforms, unless fp32) and `tensorrt` (of all).

    Plans of graphs that come out as they were stay.
    """
    with updating(directory) as update:
        for name, graph in update.bundle.manifest.graphs.items():
            path = update.bundle.graph(name, ["base"])
            transform = graph.role == "transform"
            if transform and precision in HALVES:
                half = in_half_precision(onnx.load(path), precision)
                weights = f"graphs/weights.{precision}.bin"
                path = update.add_graph(name, precision, half, precision=precision, weights=weights)
            # It shares the weights of its source, which are never read here.
            model = fit_tensorrt(onnx.load(path, load_external_data=False))
            computed_in = precision if transform else "exact integers in fp32"
            update.add_graph(name, TENSORRT, model, precision=computed_in)


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
    with updating(directory) as update:
        bundle = update.bundle
        graphs = bundle.graphs()
        for number, name in enumerate(graphs, 1):
            form, graph = bundle.variant(name, TENSORRT), bundle.graph(name, [TENSORRT])
            inputs, _ = bundle.ports(name)
            start = time.perf_counter()
            plan = build_plan(flavour, graph, inputs, form.plugins, options, phases)
            seconds = time.perf_counter() - start
            precision = form.precision or "fp32"
            update.add_plan(
                PlanEntry(
                    graph=name,
                    file=f"{PLANS}/{name}.{flavour.name}-{flavour.version}.sm{capability[0]}{capability[1]}.plan",
                    flavour=flavour.name,
                    version=flavour.version,
                    capability=capability,
                    precision=precision,
                    profile=SizeRange(**options.profile.as_dict()),
                    build_seconds=round(seconds, 2),
                ),
                plan,
            )
            progress(f"[{number:2}/{len(graphs)}] {name:18} {precision}, {len(plan):,} bytes, {seconds:.1f} s")
