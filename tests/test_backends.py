"""Which backend is opened where the user names none, what is said of the others, and what the doctor finds."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from glic_deploy import Codec, EngineError, PluginError, backends, cache, conformance, doctor, machine
from glic_deploy.backends import Backend, Precision, UnusableError, declarations, open_backend
from glic_deploy.backends.base import Offer
from glic_deploy.backends.onnxruntime import OnnxRuntimeBackend
from glic_deploy.bundle import BASE, BF16, FP16, FUSED, NATIVE, TENSORRT, Bundle
from glic_deploy.cli import exits, main
from glic_deploy.forms import CUDA
from glic_deploy.notices import PROCESS, Notices

from .conftest import PHOTOS

TEMPLATE = declarations.by_name("onnxruntime")


class Made(Backend):
    """A backend that does nothing; `fails` is raised when it is opened, `refuses` when it is asked for an offer."""

    fails: EngineError | None = None
    refuses: EngineError | None = None
    last_resort = False

    @classmethod
    def check_machine(cls) -> str:
        if cls.refuses:
            raise cls.refuses
        return "made up"

    @classmethod
    def offer(cls, bundle: Bundle, threads: int | None, precision: Precision | None) -> Offer:
        cls.check_machine()
        return Offer(precision, cls.last_resort)

    @classmethod
    def open(cls, bundle: Bundle, threads: int | None, precision: Precision | None) -> Made:
        if cls.fails:
            raise cls.fails
        return cls()

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        return [np.zeros(1)]

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}

    def close(self) -> None:
        pass


@pytest.fixture
def bundle(engine: Path) -> Bundle:
    return Bundle.open(engine)


def declare(monkeypatch: pytest.MonkeyPatch, **classes: type[Backend]) -> None:
    """Let there be these backends alone, the best first."""

    class Declared(declarations.Declaration):
        def load(self) -> type[Backend]:
            classes[self.name].name = self.name
            return classes[self.name]

    declared = tuple(
        Declared(**{**{field: getattr(TEMPLATE, field) for field in TEMPLATE.__dataclass_fields__}, "name": name})
        for name in classes
    )
    monkeypatch.setattr(declarations, "BACKENDS", declared)


def test_a_backend_that_fails_is_told_with_its_reason(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    best = type("Best", (Made,), {"fails": EngineError("its library is too old; upgrade it")})
    declare(monkeypatch, best=best, second=type("Second", (Made,), {}))
    backend = open_backend(bundle)
    assert backend.name == "second"
    wanted = "backend best could not be opened, second is used instead: its library is too old; upgrade it"
    assert list(backend.notices) == [wanted]
    assert [(record.levelno, record.message) for record in caplog.records] == [(logging.WARNING, wanted)]


def test_a_backend_without_its_device_is_no_news(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    absent = type("Absent", (Made,), {"refuses": UnusableError("no GPU here", "use another")})
    declare(monkeypatch, absent=absent, second=type("Second", (Made,), {}))
    backend = open_backend(bundle)
    assert not list(backend.notices)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_last_resort_comes_last(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    last = type("Last", (Made,), {"last_resort": True})
    declare(monkeypatch, last=last, second=type("Second", (Made,), {}))
    assert open_backend(bundle).name == "second"
    declare(monkeypatch, last=last, second=type("Second", (Made,), {"fails": EngineError("broken; mend it")}))
    backend = open_backend(bundle)
    assert backend.name == "last"
    assert len(list(backend.notices)) == 1


def test_all_reasons_are_given_where_none_opens(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    first = type("First", (Made,), {"fails": EngineError("first reason; do this")})
    declare(
        monkeypatch,
        first=first,
        second=type("Second", (Made,), {"refuses": UnusableError("second reason", "use another")}),
    )
    with pytest.raises(EngineError, match=r"first: first reason; do this; second: second reason"):
        open_backend(bundle)
    declare(monkeypatch)
    with pytest.raises(EngineError, match="no installed backend runs this engine in precision bf16 on this machine"):
        open_backend(bundle, precision="bf16")


@pytest.mark.parametrize("refuses", [UnusableError("no GPU here", "use another"), EngineError("broken; mend it")])
def test_a_precision_that_a_missing_backend_has_names_that_backend_first(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, refuses: EngineError
) -> None:
    declare(monkeypatch, gpu=type("Gpu", (Made,), {"refuses": refuses}))
    gpu = declarations.by_name("gpu")
    missing = replace(gpu, name="missing", package="absent_package", extra="missing")
    both = tuple(replace(each, precisions=("fp32", "bf16")) for each in (gpu, missing))
    monkeypatch.setattr(declarations, "BACKENDS", both)
    monkeypatch.setattr(machine, "has_bfloat16", lambda: True)
    first = (
        r"in precision bf16 on this machine: missing is not installed: pip install 'glic-deploy\[missing\]'.*; gpu: "
    )
    with pytest.raises(EngineError, match=first):
        open_backend(bundle, precision="bf16")
    monkeypatch.setattr(machine, "has_bfloat16", lambda: False)
    with pytest.raises(EngineError) as raised:
        open_backend(bundle, precision="bf16")
    assert "missing" not in str(raised.value)


def test_a_name_that_is_none_lists_those_that_are(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="'cuda'; expected one of tensorrt, onnxruntime-cuda, openvino, onnxruntime"):
        open_backend(bundle, "cuda")


def test_graphs_without_kernels_are_told(
    engine: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def absent(name: str, remedy: str) -> Path:
        raise PluginError(f"lib{name}.so not found", remedy, missing=True)

    monkeypatch.setattr(declarations, "library_path", absent)
    with Codec(engine, backend="onnxruntime", threads=1) as codec:
        described = codec.describe()
    (notice,) = (notice for notice in described["notices"] if "native kernels" in notice)
    assert notice.startswith("onnxruntime runs the graphs without the native kernels, many times slower: ")
    assert "libglic_onnxruntime.so not found; from a checkout, with a C++17 compiler: " in notice
    assert described["backend"]["graphs"] == "base"
    assert notice in [record.message for record in caplog.records]
    findings = doctor.round_trip(engine, backend="onnxruntime", threads=1)
    assert notice in [finding.detail for finding in findings if finding.status == "slower"]


def test_kernels_that_do_not_load_are_told(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "libbroken.so"
    broken.write_bytes(b"no library")
    monkeypatch.setattr(declarations, "library_path", lambda name, remedy: broken)
    backend = OnnxRuntimeBackend(bundle, 1)
    assert "does not load into onnxruntime" in next(iter(backend.notices))
    assert backend.run("hyper_analysis", {"y": np.zeros((1, bundle.latent, 16, 16), np.float32)})


def test_a_cache_that_cannot_be_written_is_told(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cache, "PROCESS", Notices())
    monkeypatch.setenv("GLIC_CACHE", str(tmp_path))
    (cache.directory() / "conformance").write_text("in the way")
    conformance.ensure(bundle, OnnxRuntimeBackend(bundle, 1))
    conformance.ensure(bundle, OnnxRuntimeBackend(bundle, 1))
    (record,) = caplog.records
    assert "cannot be written" in record.message
    assert "GLIC_CACHE" in record.message


def test_notices_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    notices = Notices()
    notices.add("slow; do this")
    notices.add("slow; do this")
    assert list(notices) == ["slow; do this"]
    assert len(caplog.records) == 1
    assert not list(PROCESS) or all(isinstance(message, str) for message in PROCESS)


def test_the_doctor_asks_every_backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = {finding.name: finding for finding in doctor.examine() if finding.area == "backend"}
    assert list(found) == backends.names()
    assert found["onnxruntime"].status == "ok"
    missing = replace(declarations.by_name("openvino"), package="absent_package")
    monkeypatch.setattr(declarations, "BACKENDS", (missing,))
    monkeypatch.setattr(declarations, "library_path", lambda name, remedy: tmp_path)
    (finding,) = (finding for finding in doctor.examine() if finding.area == "backend")
    assert (finding.status, finding.remedy) == ("missing", "pip install 'glic-deploy[openvino]'")

    def absent(name: str, remedy: str) -> Path:
        raise PluginError(f"lib{name}.so not found", remedy, missing=True)

    monkeypatch.setattr(declarations, "library_path", absent)
    assert missing.remedy == (
        "pip install 'glic-deploy[openvino]', then from a checkout: pip install --force-reinstall --no-deps ."
    )


def test_the_doctor_says_that_no_engine_was_tried() -> None:
    found = [doctor.Finding("backend", "made", "ok", "works")]
    assert doctor.as_text(found).endswith("glic can code here (no engine was tried: add --engine DIR)")
    assert doctor.as_text([*found, doctor.Finding("engine", "e", "ok", "works")]).endswith("glic can code here")


TRIVIAL_BACKEND = """
from collections.abc import Mapping

from glic_deploy.backends import Backend, by_name
from glic_deploy.backends.onnxruntime import open_session

DECLARATION = by_name("trivial")


class TrivialBackend(Backend):
    name = DECLARATION.name

    def __init__(self, bundle, threads):
        self._bundle, self._threads = bundle, threads or 0

    @classmethod
    def check_machine(cls):
        return "trivial 1.0"

    @classmethod
    def open(cls, bundle, threads, precision):
        return cls(bundle, threads)

    def run(self, graph, inputs):
        path = self._bundle.graph(graph, DECLARATION.forms)
        return open_session(path, self._threads).run(None, dict(inputs))

    def describe(self):
        return {"name": self.name}

    def close(self):
        pass
"""


def test_a_new_backend_is_a_module_and_a_declaration(
    engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever lists, selects or describes backends finds a backend that one module and one declaration add."""
    (tmp_path / "trivial.py").write_text(TRIVIAL_BACKEND)
    monkeypatch.setattr(backends, "__path__", [*backends.__path__, str(tmp_path)])
    trivial = declarations.Declaration(
        name="trivial",
        purpose="tests",
        module="trivial",
        class_name="TrivialBackend",
        package="numpy",
        distributions=("numpy",),
        extra="trivial",
        device="cpu",
        precisions=("fp32",),
        forms=(FUSED, NATIVE, BASE),
    )
    monkeypatch.setattr(declarations, "BACKENDS", (trivial, *declarations.BACKENDS))
    try:
        assert backends.names()[0] == "trivial"
        assert open_backend(Bundle.open(engine)).name == "trivial"
        assert "numpy" in machine.describe()["versions"]
        (finding,) = (finding for finding in doctor.examine() if finding.name == "trivial")
        assert (finding.status, finding.detail) == ("ok", "trivial 1.0")
        photo, coded, decoded = str(PHOTOS / "kodim23.png"), str(tmp_path / "a.glic"), str(tmp_path / "a.png")
        options = ["--engine", str(engine), "--backend", "trivial"]
        assert main(["encode", photo, coded, *options]) == main(["decode", coded, decoded, *options]) == exits.OK
        with Codec(engine, backend="onnxruntime", threads=1) as codec:
            assert codec.encode(photo) == Path(coded).read_bytes()
        with pytest.raises(SystemExit):
            main(["encode", photo, coded, "--engine", str(engine), "--backend", "unheard-of"])
        assert "expected one of trivial, tensorrt, " in capsys.readouterr().err
    finally:
        sys.modules.pop("glic_deploy.backends.trivial", None)


def test_every_declaration_names_its_class() -> None:
    for declaration in declarations.BACKENDS:
        assert set(declaration.forms) <= {CUDA, FUSED, NATIVE, BASE, FP16, BF16, TENSORRT}
        assert set(declaration.forms_without_library) < set(declaration.forms)
        if declaration.is_installed() and declaration.versions():
            assert declaration.load().name == declaration.name
