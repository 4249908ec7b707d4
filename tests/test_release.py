"""The programs of `release/`: versions, wheels, machines, and the workflows that call them."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import glic_deploy
from release import pairs, trial, versions, wheels
from release.commands import ReleaseError, built, view_wheel
from release.machines import Machine

from .conftest import PHOTOS, ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


class TestVersions:
    def test_the_number_is_the_packages(self) -> None:
        assert versions.version() == glic_deploy.__version__

    def test_a_wrong_tag_and_an_old_wheel_are_found(self, tmp_path: Path) -> None:
        (tmp_path / f"glic_deploy-{glic_deploy.__version__}-py3-none-any.whl").touch()
        assert list(versions.problems(f"v{glic_deploy.__version__}", tmp_path)) == []
        (tmp_path / "glic_deploy-0.0.9.tar.gz").touch()
        found = list(versions.problems("v9.9.9", tmp_path))
        assert len(found) == 2
        assert "the tag is v9.9.9" in found[0]
        assert "glic_deploy-0.0.9.tar.gz is of another version" in found[1]

    def test_no_wheels_are_a_problem(self, tmp_path: Path) -> None:
        assert ["make wheels" in problem for problem in versions.problems(None, tmp_path)] == [True]

    def test_the_notes_are_those_of_the_release(self) -> None:
        changelog = "## [Unreleased]\n\nsoon\n\n## [1.1.0] - 2030-01-02\n\n- new\n\n## [1.0.0] - 2029-01-02\n\n- old\n"
        assert versions.notes(changelog, "1.1.0") == "- new"
        assert versions.notes(changelog, "1.0.0") == "- old"
        assert versions.notes(changelog, "1.1") is None
        assert versions.notes("## [1.1.0]\n- without a date\n", "1.1.0") is None


class TestWheelCheck:
    def test_tag_libraries_needs_and_exports_are_checked(self, tmp_path: Path) -> None:
        pytest.importorskip("elftools", reason="needs pyelftools: pip install pyelftools")
        if shutil.which("g++") is None or platform.system() != "Linux":
            pytest.skip("needs Linux and g++")
        source, library = tmp_path / "a.cpp", tmp_path / "librans.so"
        source.write_text('#include <string>\nstd::string rans_a() { return std::string("a") + std::to_string(1); }\n')
        subprocess.run(["g++", "-shared", "-fPIC", source, "-o", library], check=True)
        wheel = tmp_path / "glic_deploy-0.1.0-py3-none-linux_x86_64.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.write(library, "glic_deploy/_native/librans.so")
        found = "\n".join(wheels.problems(wheel, "x86_64", {"librans.so", "libglic_kernels.so"}))
        for words in ("has another tag", "expected ['libglic_kernels.so'", "libstdc++.so.6", "exports"):
            assert words in found

    @pytest.mark.parametrize("missing", [None, "index.html", "glic/ort/LICENSE", "glic/ort/ThirdPartyNotices.txt"])
    def test_a_page_without_its_index_or_a_licence_is_found(self, missing: str | None, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
            for name in {"index.html", "glic/ort/LICENSE", "glic/ort/ThirdPartyNotices.txt"} - {missing}:
                archive.writestr(f"glic_deploy_view/web_page/{name}", "")
        problems = wheels.problems_of_view(tmp_path / "a.whl")
        assert [missing in problem for problem in problems] == ([True] if missing else [])

    @pytest.mark.slow
    def test_the_built_wheels(self) -> None:
        pytest.importorskip("elftools", reason="needs pyelftools: pip install pyelftools")
        for machine in wheels.MACHINES:
            assert wheels.problems(wheel_for(machine), machine, wheels.CPU_LIBRARIES) == []


def wheel_for(machine: str) -> Path:
    try:
        return built(machine)
    except ReleaseError as error:
        pytest.skip(f"needs the wheels: {error}")


@pytest.mark.slow
class TestInstalled:
    """The wheels in empty environments, without a compiler."""

    def test_on_this_machine(self, engine: Path, tmp_path: Path) -> None:
        wheel = wheel_for(platform.machine())
        run = trial.empty(sys.executable, tmp_path / "venv", [f"{wheel}[cpu]"])
        assert f"on {platform.machine()}" in trial.code(run, engine, PHOTOS / "kodim23.png", tmp_path)

    @pytest.mark.skipif(
        sys.version_info >= (3, 12), reason="the oldest packages have no wheels for Python 3.12 and later"
    )
    def test_with_the_oldest_packages(self, engine: Path, tmp_path: Path) -> None:
        wheel = wheel_for(platform.machine())
        run = trial.empty(sys.executable, tmp_path / "venv", [f"{wheel}[cpu]", *trial.lower_bounds()])
        said = trial.code(run, engine, PHOTOS / "kodim23.png", tmp_path)
        for requirement in trial.lower_bounds():
            name, _, version = requirement.partition("==")
            assert re.search(rf"{name} {re.escape(version)}", said, re.IGNORECASE)

    def test_the_viewers_page(self, engine: Path, tmp_path: Path) -> None:
        """`glic view` finds the page of glic-deploy-view, and without it says what to install."""
        try:
            page = view_wheel()
        except ReleaseError as error:
            pytest.skip(f"needs the wheels: {error}")
        run = trial.empty(sys.executable, tmp_path / "venv", [f"{wheel_for(platform.machine())}[cpu]"])
        view = ["-m", "glic_deploy", "view", "--engine", str(engine), "--output"]
        with pytest.raises(ReleaseError, match="pip install glic-deploy-view"):
            run([*view, str(tmp_path / "page")])
        run(["-m", "pip", "install", "-q", "--only-binary", ":all:", str(page)])
        run([*view, str(tmp_path / "page")])
        assert (tmp_path / "page" / "index.html").is_file()
        assert sorted(path.name for path in (tmp_path / "page" / "glic" / "ort").glob("*.wasm"))

    def test_on_arm64(self, engine: Path, tmp_path: Path) -> None:
        """`make arm64-check` does more. The machine is made by it, since that takes minutes."""
        machine = Machine("bookworm", "arm64")
        if lacking := "; ".join(machine.lacking()):
            pytest.skip(f"needs {lacking}")
        if not machine.made:
            pytest.skip("needs the emulated machine: make arm64-check")
        machine.install(wheel_for("aarch64"))
        assert "on aarch64" in trial.code(machine.run_python, engine, PHOTOS / "kodim23.png", tmp_path)


def test_lower_bounds_are_read() -> None:
    names = {requirement.partition("==")[0] for requirement in trial.lower_bounds()}
    assert names == {"numpy", "Pillow", "google-crc32c", "onnxruntime"}


@pytest.mark.parametrize(
    ("minors", "oldest_with"), [((12, 11, 10), 11), ((10,), 10), ((14, 13), None)], ids=["three", "one", "too new"]
)
def test_the_oldest_packages_are_tried_with_a_python_that_they_support(
    minors: tuple[int, ...], oldest_with: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[tuple[int, bool]] = []

    def empty(python: str, folder: Path, requirements: list[str]) -> trial.Run:
        tried.append((int(python), set(trial.lower_bounds()) <= set(requirements)))
        return lambda arguments: ""

    monkeypatch.setattr(trial, "minor_version", int)
    monkeypatch.setattr(trial, "empty", empty)
    monkeypatch.setattr(trial, "code", lambda *arguments: "coded")
    monkeypatch.setattr(trial, "installed_size", lambda folder: "0 MiB")
    lines = list(trial.on_this_machine([str(minor) for minor in minors], Path("a.whl"), Path("bundle")))
    assert tried == [(minor, False) for minor in minors] + ([(oldest_with, True)] if oldest_with else [])
    assert ("not tried" in lines[-1]) == (oldest_with is None)


@pytest.mark.parametrize("name", ["bookworm", "bookworm-sparc", "woody-arm64", ""])
def test_unknown_machines_are_refused(name: str) -> None:
    with pytest.raises(ReleaseError, match="expected SUITE-ARCHITECTURE"):
        Machine.named(name)


def test_pairs_of_files_are_compared(engine: Path, tmp_path: Path) -> None:
    """Equal files are counted as identical, and a file whose digest differs is not."""
    pairs.encode(engine, [PHOTOS / "kodim23.png"], 128, tmp_path)
    pairs.decode(engine, tmp_path)
    counts = pairs.matrix(tmp_path)
    assert len(counts) == 9
    assert set(counts.values()) == {(1, 1)}
    digests = tmp_path / f"decoders-{platform.machine()}.json"
    digests.write_text(digests.read_text().replace(digests.read_text().split('"')[5], "0" * 64, 1))
    assert sorted(pairs.matrix(tmp_path).values())[0] == (1, 0)


class TestWorkflows:
    @pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
    def test_actions_are_pinned_and_targets_exist(self, path: Path) -> None:
        text = path.read_text()
        targets = " ".join(re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)).split()
        for action in re.findall(r"uses: (\S+)", text):
            assert re.search(r"@v\d+(\.\d+)*$", action) or (ROOT / action).exists(), action
        for target in re.findall(r"run: make (\S+)", text):
            assert target in targets or target == "out/sample/manifest.json", target

    def test_there_is_one_for_each_task(self) -> None:
        assert {path.stem for path in WORKFLOWS} == {"checks", "fuzz", "release", "wheels"}

    @pytest.mark.slow
    def test_they_fit_githubs_schema(self) -> None:
        tool = ROOT / ".venv-release" / "bin" / "check-jsonschema"
        if not tool.exists():
            pytest.skip("needs check-jsonschema: make wheels installs it")
        subprocess.run([tool, "--builtin-schema", "vendor.github-workflows", *WORKFLOWS], check=True)


@pytest.mark.slow
def test_a_linter_names_nothing_in_the_dockerfile() -> None:
    tool = ROOT / ".venv-release" / "bin" / "hadolint"
    if not tool.exists():
        pytest.skip("needs hadolint: make wheels installs it")
    subprocess.run([tool, ROOT / "Dockerfile"], check=True)
