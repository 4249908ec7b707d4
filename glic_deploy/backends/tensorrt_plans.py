"""Finds the TensorRT plans of a bundle's graphs for one GPU and version: in the bundle, in the cache, or built."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from .. import cache
from ..bundle import Bundle, PlanEntry
from ..errors import EngineError
from ..notices import Notices, logger
from ..tensorrt import BuildOptions, Flavour, Profile, build_plan, on_terminal
from .cuda import Device
from .declarations import by_name

DECLARATION = by_name("tensorrt")
(FORM,) = DECLARATION.forms

_KEPT_PLANS = 8 << 30
"""The size limit of the plans in the cache, in bytes."""


class Plans:
    """The plans of one bundle for one device and one flavour of TensorRT. Plans that are built stay in the cache.

    Raises EngineError if the bundle has no graphs for TensorRT.
    """

    def __init__(self, bundle: Bundle, device: Device, flavour: Flavour) -> None:
        self._bundle, self._device, self._flavour = bundle, device, flavour
        for name in bundle.graphs():
            bundle.form(name, FORM)

    def missing(self) -> list[str]:
        """Return the graphs that have no plan for this device and version, in the bundle or in the cache."""
        return [
            graph
            for graph in self._bundle.graphs()
            if self._in_bundle(graph) is None and not cache.holds(self._name(graph))
        ]

    def find(self, graph: str, notices: Notices) -> bytes:
        """Return the plan of a graph. Builds it with a notice if there is none. Raises EngineError."""
        if (listed := self._in_bundle(graph)) is not None:
            return self._bundle.file(listed.file).read_bytes()
        name = self._name(graph)
        kept = cache.unsealed(cache.fetch(name))
        return bytes(kept) if kept else self._build(graph, name, notices)

    def what_is_missing(self) -> str:
        """Return that the bundle lacks plans for this device and version, and how to add them, for people."""
        return (
            f"{self._bundle.path} has no plans for {self._device.name} and {self._flavour.name} "
            f"{self._flavour.version}; to add them to the bundle, run: python -m export.to_trt "
            f"--engine {self._bundle.path}"
        )

    def _in_bundle(self, graph: str) -> PlanEntry | None:
        ours = self._flavour.name, self._flavour.version
        for plan in self._bundle.plans():
            fits = (plan.flavour, plan.version) == ours and self._device.capability in plan.capabilities
            if plan.graph == graph and fits:
                return plan
        return None

    def _build(self, graph: str, name: str, notices: Notices) -> bytes:
        """Build the plan of a graph and keep it in the cache under `name`."""
        notices.add(
            f"{self.what_is_missing()}; until then, plans are built at first use, which takes seconds to minutes, and "
            "kept in the cache"
        )
        graphs = self._bundle.graphs()
        step = f"building plan {graphs.index(graph) + 1} of {len(graphs)}, {graph}"
        logger.info("%s", step)
        inputs, _ = self._bundle.ports(graph)
        plan = build_plan(
            self._flavour,
            self._bundle.graph(graph, DECLARATION.forms),
            inputs,
            self._bundle.form(graph, FORM).plugins,
            BuildOptions(Profile()),
            _prefixed(step, on_terminal()),
            exact=graph in self._bundle.exact_graphs(),
        )
        cache.store(name, cache.sealed(plan), limit=_KEPT_PLANS)
        return plan

    def _name(self, graph: str) -> str:
        """Return the name in the cache, a digest of everything that a plan depends on."""
        return "plans/" + digest_of(
            self._bundle.graph_digest(graph, FORM),
            [self._flavour.name, self._flavour.version, self._flavour.plugins],
            [self._device.name, self._device.capability],
            Profile().as_dict(),
        )


class KernelCache:
    """TensorRT-RTX's cache of the kernels that it compiled for one plan, kept in the user's cache across processes.

    Args:
        config: the runtime configuration that uses the cache.
        plan: the digest of the plan.
        device: the device.
    """

    def __init__(self, config: Any, plan: str, device: Device) -> None:
        self._kernels = config.create_runtime_cache()
        self._name = "plans/" + digest_of("kernels", plan, device.describe())
        stored = cache.unsealed(cache.fetch(self._name))
        # TensorRT-RTX itself refuses the kernels of another driver or GPU, and then compiles them again.
        self._stored = bytes(stored) if stored and self._kernels.deserialize(bytes(stored)) else b""
        if not config.set_runtime_cache(self._kernels):
            raise EngineError("TensorRT-RTX does not accept its own cache of kernels; install another version of it")

    def store(self) -> None:
        """Write the kernels that were compiled since the last call."""
        kernels = bytes(self._kernels.serialize() or b"")
        if kernels and kernels != self._stored:
            cache.store(self._name, cache.sealed(kernels), limit=_KEPT_PLANS)
            self._stored = kernels


def digest_of(*parts: object) -> str:
    """Return a digest of values that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _prefixed(step: str, progress: Callable[[str], None] | None) -> Callable[[str], None] | None:
    return None if progress is None else lambda phase: progress(f"{step}: {phase}")
