"""Run one graph on several runners with Polygraphy's Comparator, and judge the differences.

Graphs of an exact entropy path must agree in every value. The transforms are floating point: if rounding changes the
selection of a node's neighbours, the values around the node change. Two numbers are therefore limited for each output.
The limit of the largest absolute difference is loose; the limit of the mean absolute difference detects a wrong graph.
Limits of floating-point outputs are shares of the reference's largest magnitude, limits of integers are absolute.

The table lists the largest and the mean difference from `base` on six 256x256 crops of Kodak photographs, with the
sample network and with a network of the released size and pseudo-random weights, whose selections are less stable:

    precision of the transforms            y (shares)         image (levels)   z_symbols
    fp32 (native, OpenVINO)    sample      1.9e-4, 9.3e-7     1, 2.5e-5        0, 0
                               full size   7.6e-3, 8.5e-6     2, 3.4e-3        0, 0
    fp16                       sample      6.7e-4, 4.4e-5     1, 0.015         0, 0
                               full size   2.7e-2, 2.1e-4     12, 0.21         1, 1.3e-3
    bf16 (OpenVINO)            sample      1.2e-3, 2.0e-4     4, 0.16          0, 0
                               full size   4.2e-2, 5.2e-4     29, 1.2          0, 0

A mean difference of 2 levels is about 40 dB. `export.to_trt` refuses plans below 40 dB, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from polygraphy.comparator import AccuracyResults, Comparator, RunResults, SimpleCompareFunc

from glic_deploy.bundle import Bundle
from glic_deploy.errors import EngineError

from .inputs import Arrays
from .runners import Configuration, in_short, silence

# Backends on a GPU set up a graph in its first run and capture it as a CUDA graph in its second.
_WARM_UP = 2


@dataclass(frozen=True)
class Tolerance:
    """Limit the largest and the mean absolute difference of an output."""

    largest: float
    mean: float


EXACT = Tolerance(0, 0)
IN_FULL = {"float": Tolerance(0.03, 3e-5), "image": Tolerance(8, 0.01), "integer": Tolerance(1, 0.01)}
IN_HALF = {"float": Tolerance(0.2, 2e-3), "image": Tolerance(64, 2), "integer": Tolerance(2, 0.05)}


@dataclass(frozen=True)
class Difference:
    """Hold an output's differences from the reference.

    Attributes:
        largest: largest absolute difference over all images; NaN if shapes differ or a value is NaN.
        mean: largest mean absolute difference of an image; NaN in the same cases.
        tolerance: limits of both.
        within: whether both are within the limits.
    """

    largest: float
    mean: float
    tolerance: Tolerance
    within: bool


@dataclass(frozen=True)
class Outcome:
    """Hold the result of one graph on one runner.

    Attributes:
        graph: name of the graph.
        runner: name of the runner.
        seconds: mean time of a run; None if the graph did not run.
        differences: the difference of each output from the reference; empty for the reference itself.
        failure: the reason why the graph did not run; None if the graph ran.
    """

    graph: str
    runner: str
    seconds: float | None = None
    differences: dict[str, Difference] = field(default_factory=dict)
    failure: str | None = None

    @property
    def right(self) -> bool:
        """Whether the graph ran and every output is within its tolerance."""
        return self.failure is None and all(difference.within for difference in self.differences.values())


@dataclass(frozen=True)
class GraphComparison:
    """Hold the outcomes of a graph on all runners, the reference first, and Polygraphy's own results."""

    outcomes: list[Outcome]
    results: RunResults
    accuracy: AccuracyResults


def compare_graph(
    bundle: Bundle, graph: str, feeds: Sequence[Arrays], configurations: Sequence[Configuration]
) -> GraphComparison:
    """Run a graph on the inputs of each image in every configuration, and compare with the first configuration.

    The failure of a later runner is an outcome. Raises EngineError if the first runner lacks the graph or fails on it.
    """
    with silence(), np.errstate(divide="ignore", invalid="ignore"):
        reference, *others = configurations
        results, failure = _run(graph, feeds, reference)
        if failure is not None or results is None:
            reason = failure or "it has no such graph"
            raise EngineError(
                f"{reference.name}, which the other runners are compared with, cannot run {graph}: {reason}; "
                "name another one first: --runners base,..."
            )
        comparison = GraphComparison([Outcome(graph, reference.name, _seconds(results))], results, AccuracyResults())
        for configuration in others:
            found, failure = _run(graph, feeds, configuration)
            if failure is not None:
                comparison.outcomes.append(Outcome(graph, configuration.name, failure=failure))
            elif found is not None:
                halves = any(one.precision != "fp32" for one in (reference, configuration))
                _compare(bundle, graph, comparison, found, halves)
        return comparison


def _run(graph: str, feeds: Sequence[Arrays], configuration: Configuration) -> tuple[RunResults | None, str | None]:
    """Run a graph; return its results, or None if the configuration lacks the graph, and the failure, or None."""
    runner = configuration.runner(graph)
    if runner is None:
        return None, None
    try:
        return Comparator.run([runner], data_loader=feeds, warm_up=_WARM_UP, use_subprocess=False), None
    except Exception as error:  # each runtime raises its own types
        return None, in_short(error)


def _compare(bundle: Bundle, graph: str, comparison: GraphComparison, found: RunResults, halves: bool) -> None:
    """Add a runner's results and their differences from the reference to a comparison."""
    (first, reference), (name, iterations) = comparison.results[0], found[0]
    exact = bundle.exact and graph not in bundle.transforms()
    tolerances = {
        output: EXACT if exact else _tolerance(output, [result[output] for result in reference], halves)
        for output in bundle.outputs(graph)
    }
    pair = RunResults([(first, reference), (name, iterations)])
    accuracy = Comparator.compare_accuracy(pair, compare_func=_compare_functions(tolerances))
    differences = {
        output: _difference([result[first, name] for result in accuracy], output, tolerance)
        for output, tolerance in tolerances.items()
    }
    comparison.outcomes.append(Outcome(graph, name, _seconds(found), differences))
    comparison.results.append((name, iterations))
    comparison.accuracy.extend(accuracy)


def _tolerance(output: str, arrays: Sequence[Any], halves: bool) -> Tolerance:
    """Return the tolerance of an output. arrays: the output's values on the reference."""
    kind = "image" if output == "image" else "float" if arrays[0].dtype.kind == "f" else "integer"
    tolerance = (IN_HALF if halves else IN_FULL)[kind]
    if kind != "float":
        return tolerance
    peak = max(float(np.abs(array).max()) for array in arrays)
    return Tolerance(tolerance.largest * peak, tolerance.mean * peak)


def _compare_functions(tolerances: dict[str, Tolerance]) -> list[SimpleCompareFunc]:
    """Return Polygraphy's comparison of the largest and, unless all tolerances are zero, of the mean differences."""
    statistics = ["max"] if set(tolerances.values()) == {EXACT} else ["max", "mean"]
    return [
        SimpleCompareFunc(
            check_error_stat=statistic,
            rtol=0,
            atol={
                output: tolerance.largest if statistic == "max" else tolerance.mean
                for output, tolerance in tolerances.items()
            },
        )
        for statistic in statistics
    ]


def _difference(checks: Iterable[list[dict[str, Any]]], output: str, tolerance: Tolerance) -> Difference:
    """Return the largest differences of one output. Each check has a result for every image, False if shapes differ.

    Polygraphy skips an output that a runner lacks; here a missing output counts as a difference.
    """
    results = [image.get(output, False) for images in checks for image in images]
    largest = np.max([getattr(result, "max_absdiff", np.nan) for result in results])
    mean = np.max([getattr(result, "mean_absdiff", np.nan) for result in results])
    return Difference(float(largest), float(mean), tolerance, all(bool(result) for result in results))


def _seconds(results: RunResults) -> float:
    return float(np.mean([iteration.runtime for iteration in results[0][1]]))
