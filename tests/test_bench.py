"""`glic bench`: statistics with known answers, the result's schema, its tables, and a run of the real thing."""

from __future__ import annotations

import json
import pickle
from contextlib import contextmanager

import jsonschema
import numpy as np
import pytest

from glic_deploy import errors, machine, stages
from glic_deploy.backends import UnusableError
from glic_deploy.bench import compare, latency, sweep, tables, worker
from glic_deploy.bench.contender import Contender, engine_command, torch_command
from glic_deploy.bench.images import prepare, synthetic
from glic_deploy.bench.latency import Plan
from glic_deploy.bench.run import SCHEMA_FILE, Settings, _starts, run
from glic_deploy.bench.statistics import Change, PowerLaw, Summary, paired_ratios
from glic_deploy.cli import exits, main
from glic_deploy.cli.bench import backends
from glic_deploy.limits import Limits

from .conftest import DATA, PHOTOS, SAMPLE_CHECKPOINT


def result() -> dict:
    """A result with two contenders and round numbers."""
    return json.loads((DATA / "bench" / "result.json").read_text())


class TestStatistics:
    def test_percentiles(self):
        summary = Summary.of([float(value) for value in range(101)][::-1])
        assert summary == Summary(n=101, median=50, p10=10, p90=90, p99=99, min=0)
        assert Summary.of([2.0]) == Summary(1, 2, 2, 2, 2, 2)
        assert Summary.from_dict(summary.as_dict()) == summary
        with pytest.raises(ValueError, match="no samples"):
            Summary.of([])

    def test_pairs_cancel_what_both_suffer(self):
        load = np.array([1.0, 7.0, 1.5, 3.0, 40.0])
        ratios = paired_ratios(list(3 * load), list(load))
        assert (ratios.p10, ratios.median, ratios.p99) == pytest.approx((3, 3, 3))
        with pytest.raises(ValueError):
            paired_ratios([1.0, 2.0], [1.0])

    def test_change_exceeds_spread_only_when_ranges_part(self):
        old = Summary.of([1.0, 1.1, 1.2])
        assert not Change.between(old, Summary.of([1.15, 1.2, 1.3])).exceeds_spread
        assert Change.between(old, Summary.of([2.0, 2.2, 2.4])) == Change(pytest.approx(2), True)
        assert Change.between(old, Summary.of([0.5])).exceeds_spread
        assert Change.between(Summary.of([0.0]), old).ratio is None

    def test_power_law(self):
        x = [1e4, 1e5, 1e6, 4e6]
        law = PowerLaw.fit(x, [3e-6 * value**1.25 for value in x])
        assert law.exponent == pytest.approx(1.25)
        assert law.at(2e6) == pytest.approx(3e-6 * 2e6**1.25)
        assert law.solve(law.at(123456)) == pytest.approx(123456)
        assert PowerLaw.fit([1, 1], [2, 3]) is None
        assert PowerLaw(1, 0).solve(5) is None

    def test_where_memory_ends(self):
        def point(pixels: int, peak: int) -> dict:
            second = Summary.of([pixels / 1e6]).as_dict()
            return {"pixels": pixels, "peak_resident_bytes": peak, "encode_s": second, "decode_s": second}

        fixed, each = 100 * 2**20, 500
        points = [point(n, fixed + each * (n if n > 16384 else 0)) for n in (16384, 10**5, 10**6)]
        laws = sweep.extrapolate(points, memory=fixed + 500 * 10**7)
        assert laws["encode_law"]["exponent"] == pytest.approx(1)
        assert laws["memory_law"]["ends_at_pixels"] == pytest.approx(10**7)
        assert sweep.extrapolate([], None)["memory_law"] is None


class TestSummaries:
    def run(self, total: float, **stages: float) -> dict:
        half = {"total": total, "stages": stages}
        return {"encode": half, "decode": half, "bytes": 1, "peak_resident_bytes": 2**20}

    def test_stages_and_rest_make_the_whole(self):
        runs = [self.run(10.0, read=1.0, analysis=6.0, write=2.0), self.run(20.0, read=1.0, analysis=16.0, write=1.0)]
        times = latency.summarise(runs)["decode"]
        assert times["total_s"]["median"] == 15
        assert times["rest_s"]["median"] == pytest.approx(1.5)
        assert times["without_files_s"]["median"] == pytest.approx(12.5)
        assert times["runs_s"] == [10, 20]

    def test_peak_of_all_runs(self):
        untold = {**self.run(1.0), "peak_resident_bytes": None}
        assert latency.peak_resident([untold, self.run(1.0)]) == 2**20
        assert latency.peak_resident([untold]) is None


class TestResult:
    def test_tables(self):
        assert tables.render(result()) + "\n" == (DATA / "bench" / "table.txt").read_text()

    def test_fixed_result_follows_the_schema(self):
        jsonschema.validate(result(), json.loads(SCHEMA_FILE.read_text()))

    def test_compare_tells_changes_from_scatter(self):
        old, new = result(), result()
        entry = new["latency"][0]["encode"]
        entry["total_s"] = Summary.of([3.0, 3.1]).as_dict()
        new["machine"]["versions"]["onnxruntime"] = "9.9"
        found = compare.changes(old, new)
        assert [change["what"][-1] for change in found if change["exceeds_spread"]] == ["encode"]
        text = compare.render(old, new)
        assert "9.9" in text
        assert f"{len(found) - 1} of {len(found)} times are within the spread" in text

    @pytest.mark.parametrize("content", ["{}", "no json", '{"schema": "glic-bench/0"}', "[]"])
    def test_compare_refuses_what_is_no_result(self, tmp_path, content):
        path = tmp_path / "old.json"
        path.write_text(content)
        with pytest.raises(errors.EngineError, match=r"old\.json"):
            compare.load(str(path))


class TestMachine:
    def test_description_is_json_and_readable(self):
        described = json.loads(json.dumps(machine.describe()))
        assert described["cpu"]["cores"] >= 1
        assert described["versions"]["numpy"] == np.__version__
        assert described["cpu"]["model"] in machine.summary(described)


class TestPictures:
    def test_synthetic_image_is_the_same_every_time(self):
        picture = synthetic(50, 30)
        assert picture.shape == (30, 50, 3)
        np.testing.assert_array_equal(picture, synthetic(50, 30))
        assert picture.std() > 20

    def test_sources_and_sizes(self, tmp_path):
        photo = str(PHOTOS / "kodim07.png")
        own, small, large = prepare(tmp_path, [photo], [], Limits()) + prepare(
            tmp_path, [photo], [(64, 48), (900, 100)], Limits()
        )
        assert (own.size, small.size, large.size) == ((768, 512), (64, 48), (900, 100))
        assert large.pixels == 90000
        with pytest.raises(errors.LimitError):
            prepare(tmp_path, [photo], [], Limits(max_pixels=100))


class TestStages:
    def test_ranges_for_profilers(self, monkeypatch):
        opened = []

        @contextmanager
        def annotate(name):
            opened.append(name)
            yield

        monkeypatch.setattr(stages, "_ranges", stages._ranges)
        stages.mark_ranges(annotate)
        seconds: dict[str, float] = {}
        with stages.stage(seconds, "analysis"), stages.stage(None, "nobody asked"):
            pass
        assert opened == list(seconds) == ["analysis"]


class TestContender:
    def test_engine_that_does_not_open(self, tmp_path):
        with pytest.raises(errors.EngineError, match="no engine bundle"):
            Contender("broken", engine_command(str(tmp_path)))

    def test_process_that_dies(self):
        with pytest.raises(errors.EngineError, match=r"ended with code 3.*last words"):
            Contender("dying", ["sh", "-c", "echo last words >&2; exit 3"])

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (errors.PluginError("no library", "build it", missing=True), errors.PluginError),
            (UnusableError("no GPU", "use another backend"), errors.EngineError),
            (errors.LimitError("too large"), errors.LimitError),
            (FileNotFoundError(2, "No such file", "a.png"), OSError),
            (MemoryError(), MemoryError),
            (KeyError("slice9"), errors.EngineError),
        ],
    )
    def test_errors_of_the_process(self, error, kind, tmp_path):
        said = tmp_path / "answer.json"
        with said.open("w") as stream:
            worker._answer(stream, worker._failure(error))
        with pytest.raises(kind, match="child: ") as raised:
            Contender("child", ["sh", "-c", f"cat {said}; read line"])
        assert type(raised.value) is kind
        assert getattr(raised.value, "missing", None) == getattr(error, "missing", None)

    def test_picture_that_is_none(self, engine, tmp_path):
        bad = tmp_path / "bad.png"
        bad.write_bytes(b"no picture")
        with Contender(None, engine_command(str(engine), threads=1)) as contender:
            assert contender.name == "onnxruntime"
            with pytest.raises(errors.ImageError, match=r"bad\.png"):
                contender.round_trip(bad)

    def test_torch_that_is_not_installed(self, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(errors.EngineError, match="pip install"):
            torch_command("C.pth", None)


class TestErrors:
    @pytest.mark.parametrize(
        "error",
        [
            errors.PluginError("no library", "build it", missing=True),
            UnusableError("none", "buy"),
            errors.LimitError("a"),
        ],
    )
    def test_errors_survive_pickling(self, error):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), again.args, vars(again)) == (type(error), error.args, vars(error))


class TestRun:
    def test_everything_small(self, engine):
        settings = Settings(
            str(engine), threads=1, sizes=[(128, 64)], plan=Plan(3, 1, 0), batch=2, cold=0, sweep=[(192, 128)]
        )
        measured = json.loads(json.dumps(run(settings, lambda line: None)))
        jsonschema.validate(measured, json.loads(SCHEMA_FILE.read_text()))
        (entry,) = measured["latency"]
        assert entry["encode"]["total_s"]["n"] == 3
        assert {"read", "analysis", "slice0_anchors", "range coder", "write"} <= set(entry["encode"]["stages_s"])
        assert entry["encode"]["rest_s"]["median"] < 0.5 * entry["encode"]["total_s"]["median"]
        assert measured["contenders"][0]["peak_resident_bytes"] > 2**20
        assert [point["size"] for point in measured["sweep"]["points"]] == [[128, 128], [192, 128]]
        assert measured["throughput"][0]["pixels"] == 2 * 128 * 64
        assert "MPixel/s" in tables.render(measured)

    @pytest.mark.slow
    def test_against_torch(self, engine, tmp_path, capsys):
        arguments = ["bench", "--engine", str(engine), "--against", "torch", "--checkpoint", str(SAMPLE_CHECKPOINT)]
        small = ["--size", "128x128", "--repeats", "3", "--warm-up", "1", "--batch", "0", "--cold", "0", "--json", "-"]
        assert main([*arguments, *small]) == exits.OK
        measured = json.loads(capsys.readouterr().out)
        assert [pair["of"] for pair in measured["ratios"]] == ["torch"]
        assert measured["ratios"][0]["encode"]["n"] == 3

    @pytest.mark.parametrize(
        "arguments",
        [["--against", "torch"], ["--checkpoint", "C.pth"], ["--size", "768"], ["--size", "0x9"], ["--repeats", "0"]],
    )
    def test_wrong_arguments(self, arguments, capsys):
        with pytest.raises(SystemExit) as left:
            main(["bench", "--engine", "E", *arguments])
        assert left.value.code == exits.USAGE


class TestBackends:
    def test_each_has_its_own_precision(self, monkeypatch):
        assert backends(None, "bf16") == [None]
        assert backends("onnxruntime,openvino:bf16", None) == ["onnxruntime", "openvino:bf16"]
        started: list[tuple[str | None, list[str]]] = []
        monkeypatch.setattr("glic_deploy.bench.run.Contender", lambda name, command: started.append((name, command)))
        for start in _starts(Settings("E", ("onnxruntime", "openvino:bf16", None))):
            start()
        options = [command[command.index("--engine") :] for _, command in started]
        assert [name for name, _ in started] == ["onnxruntime", "openvino:bf16", None]
        assert options == [
            ["--engine", "E", "--backend", "onnxruntime"],
            ["--engine", "E", "--backend", "openvino", "--precision", "bf16"],
            ["--engine", "E"],
        ]

    @pytest.mark.parametrize(
        ("text", "precision", "words"),
        [
            ("onnxruntime,openvino", "bf16", "--backend onnxruntime:bf16,openvino:bf16"),
            ("openvino:fp32", "bf16", "does not say"),
            ("openvino:int8", None, "openvino:int8"),
            ("openvino,", None, "''"),
            ("openvino,openvino", None, "twice"),
        ],
    )
    def test_what_is_ambiguous_is_refused(self, text, precision, words):
        with pytest.raises(exits.UsageError, match=words):
            backends(text, precision)
