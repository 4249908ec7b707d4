"""A bundle that is changed is a valid one at every moment, lists all that it has, and has all that it lists."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest

from export.bundle import BundleUpdate, updating
from export.tensorrt_bundle import add_graphs, add_plans
from glic_deploy.bundle import MANIFEST, PLANS, TENSORRT, Bundle, PlanEntry, SizeRange
from glic_deploy.errors import EngineError
from glic_deploy.tensorrt import BuildOptions, Flavour

from .small_bundle import graphs, model, write_small_bundle

HALVES = "graphs/weights.fp16.bin"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_small_bundle(tmp_path / "bundle")


def add_forms(update: BundleUpdate, first_seed: int) -> None:
    """Give all graphs the form for TensorRT, with constants that the seed decides."""
    for number, (name, ends) in enumerate(graphs().items()):
        update.add_graph(name, TENSORRT, model(name, ends, first_seed + number), precision="fp16", weights=HALVES)


def plan(graph: str, capability: tuple[int, int] = (8, 9)) -> PlanEntry:
    file = f"{PLANS}/{graph}.sm{capability[0]}{capability[1]}.plan"
    sizes = SizeRange((128, 128), (512, 768), (2176, 3840))
    return PlanEntry(graph, file, "rtx", "1.2", (capability,), "fp16", sizes, 0.5)


def add_all(path: Path, seed: int = 100) -> None:
    """Forms and a plan of each graph."""
    with updating(path) as update:
        add_forms(update, seed)
    with updating(path) as update:
        for name in graphs():
            update.add_plan(plan(name), f"{name} {seed}".encode())


def check(path: Path) -> Bundle:
    """Everything that is listed is there, as it is listed."""
    bundle = Bundle.open(path)
    for name, graph in bundle.manifest.graphs.items():
        for form in graph.forms:
            bundle.graph(name, [form])
    for name in bundle.manifest.files:
        bundle.file(name)
    return bundle


def files_in(path: Path) -> set[str]:
    return {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()} - {MANIFEST}


def test_what_is_added_is_listed_and_the_rest_stays(bundle: Path) -> None:
    before = Bundle.open(bundle).manifest
    add_all(bundle)
    after = check(bundle).manifest
    assert files_in(bundle) == set(after.files)
    assert before.files.items() <= after.files.items()
    assert (after.model, after.arithmetic) == (before.model, before.arithmetic)
    assert {graph: sorted(entry.forms) for graph, entry in after.graphs.items()} == {
        graph: ["base", "tensorrt"] for graph in graphs()
    }
    assert after.graphs["analysis"].forms["base"] == before.graphs["analysis"].forms["base"]
    assert len(after.plans) == len(graphs())


def test_an_update_that_fails_changes_nothing(bundle: Path) -> None:
    add_all(bundle)
    before = {name: (bundle / name).read_bytes() for name in files_in(bundle) | {MANIFEST}}

    def interrupted() -> None:
        with updating(bundle) as update:
            add_forms(update, 200)
            update.drop_plans()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert {name: (bundle / name).read_bytes() for name in files_in(bundle) | {MANIFEST}} == before


def test_whenever_the_process_is_killed_the_bundle_is_valid(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy is made before and after each step, as a killed process would leave it."""
    add_all(bundle)
    copies: list[Path] = []
    replace = os.replace

    def watched(source: Any, target: Any) -> None:
        copies.append(shutil.copytree(bundle, tmp_path / f"copy{len(copies)}"))
        replace(source, target)
        copies.append(shutil.copytree(bundle, tmp_path / f"copy{len(copies)}"))

    monkeypatch.setattr("os.replace", watched)
    with updating(bundle) as update:
        add_forms(update, 200)
    # The manifest twice, all graphs, and their constants.
    assert len(copies) == 2 * (2 + len(graphs()) + 1)
    forms = [sum(TENSORRT in graph.forms for graph in check(copy).manifest.graphs.values()) for copy in copies]
    assert forms == [len(graphs()), *[0] * (len(copies) - 2), len(graphs())]
    monkeypatch.undo()
    add_all(copies[4])  # what a killed process left is swept up
    assert files_in(copies[4]) == set(check(copies[4]).manifest.files)


def test_plans_stay_while_their_graphs_do(bundle: Path) -> None:
    add_all(bundle)
    with updating(bundle) as update:
        add_forms(update, 100)
        update.add_plan(plan("analysis", (12, 0)), b"another GPU's")
    assert len(check(bundle).plans()) == len(graphs()) + 1
    with updating(bundle) as update:
        update.add_graph("analysis", TENSORRT, model("analysis", graphs()["analysis"], 7), weights="graphs/w.bin")
    plans = check(bundle).plans()
    assert {entry.graph for entry in plans} == set(graphs()) - {"analysis"}
    assert files_in(bundle) == set(Bundle.open(bundle).manifest.files)


def test_a_plan_built_again_takes_the_older_one_s_place(bundle: Path) -> None:
    add_all(bundle)
    with updating(bundle) as update:
        update.add_plan(plan("analysis"), b"built again")
    assert len(check(bundle).plans()) == len(graphs())
    assert (bundle / plan("analysis").file).read_bytes() == b"built again"


def test_plans_are_dropped_with_their_files(bundle: Path) -> None:
    add_all(bundle)
    with updating(bundle) as update:
        update.drop_plans(lambda entry: entry.graph == "synthesis")
    assert len(check(bundle).plans()) == len(graphs()) - 1
    with updating(bundle) as update:
        update.drop_plans()
    assert not check(bundle).plans()
    assert not list((bundle / PLANS).iterdir())


def test_what_nothing_lists_is_deleted_but_for_the_user_s_own(bundle: Path) -> None:
    orphans = ["plans/left.plan", "graphs/left.onnx", "graphs/left.bin"]
    own = ["notes.txt", "graphs/notes.txt", "plans/deeper/mine.plan"]
    for name in (*orphans, *own):
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        (bundle / name).write_text("left")
    (bundle / ".update.killed").mkdir()
    with updating(bundle):
        pass
    assert files_in(bundle) == set(check(bundle).manifest.files) | set(own)
    assert not (bundle / ".update.killed").exists()


def test_two_processes_do_not_change_one_bundle(bundle: Path) -> None:
    with (
        updating(bundle),
        pytest.raises(EngineError, match="another process is changing"),
        updating(bundle),
    ):
        raise AssertionError("never entered")
    with updating(bundle):
        pass


def test_damage_is_not_listed_as_right(bundle: Path) -> None:
    for name in ("tables.npz", "graphs/weights.bin"):
        data = bytearray((bundle / name).read_bytes())
        data[-1] ^= 1
        (bundle / name).write_bytes(data)
    add_all(bundle)
    for name in ("tables.npz", "graphs/weights.bin"):
        with pytest.raises(EngineError, match="SHA-256 differs"):
            Bundle.open(bundle).file(name)


def test_a_graph_that_onnx_refuses_is_not_listed(bundle: Path) -> None:
    add_all(bundle)
    wrong = model("analysis", graphs()["analysis"], 1)
    wrong.graph.node[0].op_type = "Unheard"

    def update_wrongly() -> None:
        with updating(bundle) as update:
            update.add_graph("analysis", TENSORRT, wrong, weights="graphs/w.bin")

    with pytest.raises(onnx.checker.ValidationError):
        update_wrongly()
    assert TENSORRT not in check(bundle).manifest.graphs["analysis"].forms
    assert files_in(bundle) == set(Bundle.open(bundle).manifest.files)


def test_constants_that_others_need_are_not_replaced(bundle: Path) -> None:
    add_all(bundle)
    before = (bundle / MANIFEST).read_bytes()

    def update_in_part() -> None:
        with updating(bundle) as update:
            update.add_graph("analysis", TENSORRT, model("analysis", graphs()["analysis"], 1), weights=HALVES)

    with pytest.raises(EngineError, match="constants in a file that this update replaces; add that graph"):
        update_in_part()
    check(bundle)
    assert (bundle / MANIFEST).read_bytes() == before


def test_what_is_no_bundle_is_not_changed(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no engine bundle"), updating(tmp_path):
        raise AssertionError("never entered")
    assert not list(tmp_path.iterdir())


def test_exporting_for_another_gpu_keeps_the_first_one_s_plans(
    gpu_engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = shutil.copytree(gpu_engine, tmp_path / "engine")
    flavour = Flavour("rtx", None, "1.2", None, "plugins")
    monkeypatch.setattr("export.tensorrt_bundle.build_plan", lambda *arguments, **options: b"a plan")
    capabilities = [(8, 9), (12, 0)]
    for capability in capabilities:
        add_plans(engine, flavour, (capability,), BuildOptions())
        add_graphs(engine, "fp16")
    bundle = check(engine)
    assert [(entry.graph, entry.capabilities[0]) for entry in bundle.plans()] == [
        (graph, capability) for capability in capabilities for graph in bundle.graphs()
    ]
    add_graphs(engine, "fp32")
    entropy = [graph for graph in bundle.graphs() if graph not in bundle.transforms()]
    assert {entry.graph for entry in check(engine).plans()} == set(entropy)
    assert files_in(engine) == set(Bundle.open(engine).manifest.files)
