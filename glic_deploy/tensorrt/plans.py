"""Builds a TensorRT plan from one ONNX graph."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..bundle import Port, Shape
from ..errors import EngineError
from .flavours import RTX_CAPABILITIES, Capability, Flavour, shown

Size = tuple[int, int]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Profile:
    """The padded image sizes, (height, width) in multiples of 128, that a plan accepts; it is fastest at `optimal`."""

    smallest: Size = (128, 128)
    optimal: Size = (512, 768)
    largest: Size = (2176, 3840)

    def __post_init__(self) -> None:
        for name, size in vars(self).items():
            if any(side < 128 or side % 128 for side in size):
                raise EngineError(
                    f"{name} size of the profile is {size}, expected multiples of 128, like padded images"
                )
        for axis in (0, 1):
            if not self.smallest[axis] <= self.optimal[axis] <= self.largest[axis]:
                raise EngineError(f"sizes of the profile are {self}, expected smallest <= optimal <= largest")

    def shapes(self, port: Port) -> tuple[Shape, Shape, Shape]:
        """Return the smallest, optimal and largest shape of a graph's input."""
        smallest, optimal, largest = (port.at(*size) for size in vars(self).values())
        return smallest, optimal, largest

    def as_dict(self) -> dict[str, Size]:
        return dict(vars(self))


@dataclass(frozen=True)
class BuildOptions:
    """The options for building plans.

    Attributes:
        profile: the image sizes.
        capabilities: the compute capabilities of the target GPUs (TensorRT-RTX only); empty: this machine's GPU.
        workspace: the limit of scratch memory on the GPU in bytes; None: all memory.
        timing_cache: the file for the timings of kernels; None: no file. TensorRT-RTX does not measure kernels.
    """

    profile: Profile = Profile()
    capabilities: tuple[Capability, ...] = ()
    workspace: int | None = None
    timing_cache: Path | None = None

    def for_capabilities(self, capabilities: tuple[Capability, ...]) -> BuildOptions:
        """Return the same options for other GPUs."""
        return replace(self, capabilities=capabilities)


def build_plan(
    flavour: Flavour,
    graph: Path,
    inputs: Sequence[Port],
    plugins: int,
    options: BuildOptions,
    progress: Progress | None = None,
    *,
    exact: bool = False,
) -> bytes:
    """Build the serialized plan of an ONNX graph.

    Args:
        flavour: the result of `load`.
        graph: the ONNX file, with its external weights beside it.
        inputs: the graph's inputs in the manifest.
        plugins: the number of nodes that must become plugin layers.
        options: the build options.
        progress: called with a line for each phase of TensorRT.
        exact: whether the graph must not contain a sum of TensorRT's, because it belongs to the exact entropy path.

    Raises EngineError if TensorRT refuses the graph, uses a function body in place of a plugin, sums in an exact graph,
    or cannot build.
    """
    api = flavour.api
    builder = api.Builder(flavour.logger)
    network = builder.create_network(_network_flags(api))
    parser = api.OnnxParser(network, flavour.logger)
    if not parser.parse_from_file(str(graph)):
        errors = "; ".join(str(parser.get_error(i)).strip() for i in range(parser.num_errors))
        raise EngineError(
            f"TensorRT {flavour.version} cannot parse {graph}: {errors}; what the ops' plugins found wrong is on the "
            "standard error stream; export the bundle again, or use another TensorRT"
        )
    layers = [network.get_layer(i).type for i in range(network.num_layers)]
    if exact:
        _refuse_sums(api, graph, layers)
    found = sum(kind == api.LayerType.PLUGIN_V3 for kind in layers)
    if found != plugins:
        raise EngineError(
            f"TensorRT {flavour.version} made {found} plugin layers of {graph}, expected {plugins}: it would run the "
            "ops' slow function bodies instead; build the plugin library for it: "
            "make gpu-libraries"
        )
    config = configured(api, builder, options)
    profile = builder.create_optimization_profile()
    for port in inputs:
        profile.set_shape(port.name, *options.profile.shapes(port))
    config.add_optimization_profile(profile)
    timing_cache = options.timing_cache if flavour.name == "tensorrt" else None
    if timing_cache is not None:
        known = timing_cache.read_bytes() if timing_cache.exists() else b""
        config.set_timing_cache(config.create_timing_cache(known), ignore_mismatch=False)
    if progress is not None:
        config.progress_monitor = _monitor(api, progress)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(
            f"TensorRT {flavour.version} cannot build {graph}: see its messages on the standard error stream; if the "
            "GPU's memory is short, lower --max-size or --workspace"
        )
    if timing_cache is not None:
        timing_cache.write_bytes(bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


def _refuse_sums(api: Any, graph: Path, layers: Sequence[Any]) -> None:
    """Raise EngineError if a layer computes a value from several values in an order of TensorRT's choice."""
    sums = sorted({name for name in _SUMS if getattr(api.LayerType, name, None) in layers})
    if sums:
        raise EngineError(
            f"TensorRT {api.__version__} would compute {', '.join(sums)} of {graph} itself, but the exact entropy path "
            "may leave no sum to a library: export the bundle again: python -m export.to_trt --checkpoint C.pth"
        )


_SUMS = (
    "ATTENTION", "CONVOLUTION", "CUMULATIVE", "DECONVOLUTION", "EINSUM", "FULLY_CONNECTED", "LRN", "MATRIX_MULTIPLY",
    "NORMALIZATION", "POOLING", "RAGGED_SOFTMAX", "REDUCE", "RNN_V2", "SOFTMAX",
)  # fmt: skip
"""The kinds of TensorRT's layers that sum; a version of TensorRT has most of them."""


def configured(api: Any, builder: Any, options: BuildOptions) -> Any:
    """Return a builder configuration with the options that are the same for all graphs."""
    config = builder.create_builder_config()
    config.clear_flag(api.BuilderFlag.TF32)  # so that fp32 means float32
    if hasattr(api.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
        config.set_flag(api.BuilderFlag.REQUIRE_USER_ALLOCATION)  # else a run may allocate, which breaks captures
    if options.workspace is not None:
        config.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, options.workspace)
    if options.capabilities:
        _build_for(api, config, options.capabilities)
    return config


def on_terminal() -> Progress | None:
    """Return a function that shows progress on one line of the terminal; None if stderr is not a terminal."""
    if not sys.stderr.isatty():
        return None
    return lambda phase: print(f"\r\033[K{phase[:79]}\r", end="", file=sys.stderr, flush=True)


def _network_flags(api: Any) -> int:
    """Return the flags of a strongly typed network. TensorRT 10 needs the flag, later versions are always so."""
    flag = getattr(api.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    major = int(api.__version__.split(".")[0])
    return 1 << int(flag) if flag is not None and api.__name__ == "tensorrt" and major == 10 else 0


def _build_for(api: Any, config: Any, capabilities: Sequence[Capability]) -> None:
    if not hasattr(config, "set_compute_capability"):
        raise EngineError(
            f"TensorRT {api.__version__} builds only for the GPU of the machine that it runs on; omit "
            "--compute-capability there, or build ahead of time with TensorRT-RTX: pip install tensorrt-rtx"
        )
    config.num_compute_capabilities = len(capabilities)
    for number, capability in enumerate(capabilities):
        target = getattr(api.ComputeCapability, "SM{}{}".format(*capability), None)
        if target is None:
            raise EngineError(
                f"TensorRT-RTX {api.__version__} does not build for compute capability {shown(capability)}, expected "
                f"one of {shown(*RTX_CAPABILITIES)}; that GPU needs TensorRT: pip install tensorrt"
            )
        config.set_compute_capability(target, number)


def _monitor(api: Any, progress: Progress) -> Any:
    """Return a progress monitor, which TensorRT calls from its own threads."""

    class Monitor(api.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.steps: dict[str, int] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self.steps[phase] = steps

        def step_complete(self, phase: str, step: int) -> bool:
            progress(f"{phase}: {step + 1} of {self.steps.get(phase, 0)}")
            return True

        def phase_finish(self, phase: str) -> None:
            self.steps.pop(phase, None)

    return Monitor()
