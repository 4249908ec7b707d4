"""Add graphs for TensorRT's parser, in a chosen precision, and plans to an engine bundle.

The bundle stays valid at every moment: see `export.bundle.updating`.
"""

from __future__ import annotations

import time
from pathlib import Path

import onnx

from glic_deploy.bundle import BASE, NATIVE, PLANS, TENSORRT, PlanEntry, SizeRange
from glic_deploy.errors import EngineError
from glic_deploy.forms import CUDA
from glic_deploy.tensorrt import BuildOptions, Capability, Flavour, build_plan

from .bundle import updating
from .capture import with_equal_concats, without_unequal_splits
from .gated_ffn import fuse_gated_ffns
from .precision import HALVES, in_half_precision
from .progress import SILENT, Progress
from .sums import left_to_libraries
from .tensorrt_graph import fit_tensorrt

PRECISIONS = ("fp32", *HALVES)


def add_graphs(directory: Path, precision: str) -> None:
    """Add the form `tensorrt` of all graphs to a bundle and, unless it is fp32, the form `precision` of the transforms.

    The graphs of the exact entropy path are made from the form `native`, whose sums are all in ops of ours. Graphs that
    onnxruntime could not capture in `native`, or in fp32 in `base`, get the form `cuda` too. A plan stays in the bundle
    if its graph did not change.

    Raises EngineError if a graph of the exact entropy path leaves a sum to TensorRT.
    """
    with updating(directory) as update:
        for name, graph in update.bundle.manifest.graphs.items():
            exact = name in update.bundle.exact_graphs()
            path = update.bundle.graph(name, [NATIVE if exact else BASE])
            transform = graph.role == "transform"
            if transform and precision in HALVES:
                blocks = onnx.load(path)
                fuse_gated_ffns(blocks)
                half = in_half_precision(blocks, precision)
                without_unequal_splits(half)
                weights = f"graphs/weights.{precision}.bin"
                path = update.add_graph(name, precision, half, precision=precision, weights=weights)
            elif transform or exact:
                captured = onnx.load(path, load_external_data=False)
                if with_equal_concats(captured) if exact else without_unequal_splits(captured):
                    update.add_graph(name, CUDA, captured)
            # The new graph refers to the weights of its source; they are not read here.
            model = fit_tensorrt(onnx.load(path, load_external_data=False))
            if exact and left_to_libraries(model):
                raise EngineError(
                    f"{directory}: graph {name} leaves {left_to_libraries(model)} sums to TensorRT, whose results are "
                    "not the same on every GPU: export the checkpoint again: python -m export.to_onnx"
                )
            computed_in = "exact integers" if exact else precision if transform else "fp32"
            update.add_graph(name, TENSORRT, model, precision=computed_in)


def add_plans(
    directory: Path,
    flavour: Flavour,
    capabilities: tuple[Capability, ...],
    options: BuildOptions,
    progress: Progress = SILENT,
) -> None:
    """Build a plan of every graph's `tensorrt` form for GPUs of `capabilities`, and list the plans in the manifest.

    An earlier plan stays, unless the new plans serve all its GPUs.

    Raises EngineError if TensorRT refuses a graph; the bundle is then unchanged.
    """
    targets = "-".join("sm{}{}".format(*capability) for capability in capabilities)

    def is_superseded(plan: PlanEntry) -> bool:
        same = (plan.flavour, plan.version) == (flavour.name, flavour.version)
        return same and set(plan.capabilities) <= set(capabilities)

    with updating(directory) as update:
        bundle = update.bundle
        update.drop_plans(is_superseded)
        progress.expect(len(bundle.graphs()))
        for name in bundle.graphs():
            progress.begin(f"building the plan of {name}")
            form, graph = bundle.form(name, TENSORRT), bundle.graph(name, [TENSORRT])
            inputs, _ = bundle.ports(name)
            start = time.perf_counter()
            exact = name in bundle.exact_graphs()
            plan = build_plan(flavour, graph, inputs, form.plugins, options, progress.begin, exact=exact)
            seconds = time.perf_counter() - start
            precision = form.precision or "fp32"
            update.add_plan(
                PlanEntry(
                    graph=name,
                    file=f"{PLANS}/{name}.{flavour.name}-{flavour.version}.{targets}.plan",
                    flavour=flavour.name,
                    version=flavour.version,
                    capabilities=capabilities,
                    precision=precision,
                    profile=SizeRange(**options.profile.as_dict()),
                    build_seconds=round(seconds, 2),
                ),
                plan,
            )
            progress.done(f"{name:18} plan in {precision}, {len(plan):,} bytes, {seconds:.1f} s")
