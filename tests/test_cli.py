"""The `glic` command over a codec that stores pixels: what goes where, what is said, and with which exit code."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import glic_deploy
from glic_deploy import backends, container, doctor
from glic_deploy.bench.contender import engine_command
from glic_deploy.cli import COMMANDS, batch, exits, main, options, progress
from glic_deploy.evaluation.run import Evaluation, Settings
from glic_deploy.image import load_image
from glic_deploy.run_manifest import RunManifest

from .conftest import DATA, ROOT
from .storing_codec import StoringCodec


@pytest.fixture(autouse=True)
def storing_codec(monkeypatch):
    monkeypatch.setitem(vars(glic_deploy), "Codec", StoringCodec)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (6, 10, 3), np.uint8)


@pytest.fixture
def pictures(folder, pixels) -> Path:
    (folder / "in" / "deep").mkdir(parents=True)
    for name in ("a.png", "b.bmp", "deep/c.png"):
        Image.fromarray(pixels).save(folder / "in" / name)
    (folder / "in" / "notes.txt").write_text("not a picture")
    (folder / "in" / ".hidden.png").write_bytes(b"")
    return folder / "in"


def glic(*arguments: str) -> int:
    try:
        return main([*arguments, "--engine", "E"] if arguments[0] in ("encode", "decode") else list(arguments))
    except SystemExit as error:
        return int(error.code or 0)


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class TestFiles:
    def test_one_file_there_and_back(self, pictures, pixels, capsys):
        assert glic("encode", "in/a.png", "a.glic") == exits.OK
        assert glic("decode", "a.glic", "back.png") == exits.OK
        np.testing.assert_array_equal(load_image("back.png"), pixels)
        said = capsys.readouterr()
        size = os.path.getsize("a.glic")
        assert f"in/a.png -> a.glic: 10 x 6, {size} bytes, {8 * size / 60:.4f} bpp" in said.err
        assert "(store 0.50)" in said.err
        assert said.out == ""

    def test_short_stages_are_summed(self):
        row = {"bytes": 9, "bpp": 1.0, "seconds": 3.0, "stages": {"long": 2.0, "short": 0.06, "tiny": 0.04}}
        assert batch.numbers(row).endswith("3.00 s (long 2.00, other 0.10)")

    def test_folder_keeps_its_shape(self, pictures, folder):
        assert glic("encode", "in", "out") == exits.OK
        assert tree(folder / "out") == ["a.glic", "b.glic", "deep/c.glic"]
        assert glic("decode", "out", "back/", "--format", "tiff") == exits.OK
        assert tree(folder / "back") == ["a.tiff", "b.tiff", "deep/c.tiff"]

    def test_globs_and_files_together(self, pictures, folder):
        assert glic("encode", "in/*.bmp", "in/**/c.png", "in/a.png", "out") == exits.OK
        assert tree(folder / "out") == ["a.glic", "b.glic", "c.glic"]

    def test_one_file_into_a_folder(self, pictures, folder):
        (folder / "out").mkdir()
        assert glic("encode", "in/a.png", "out") == exits.OK
        assert glic("encode", "in/a.png", "new/") == exits.OK
        assert tree(folder / "out") == tree(folder / "new") == ["a.glic"]

    def test_options_may_stand_anywhere(self, pictures):
        assert main(["encode", "in/a.png", "--engine", "E", "--threads", "2", "a.glic", "-q"]) == exits.OK

    def test_every_command_passes_the_number_of_the_gpu_on(self, pictures, monkeypatch):
        monkeypatch.setattr(StoringCodec, "devices", [])
        monkeypatch.setattr("glic_deploy.evaluation.run.Codec", StoringCodec)
        on_second = ("--device", "1")
        assert glic("encode", "in/a.png", "a.glic", *on_second) == exits.OK
        assert glic("decode", "a.glic", "a.png", *on_second) == exits.OK
        assert glic("decode", "a.glic", "b.png") == exits.OK
        doctor.round_trip("E", device=1)
        Evaluation(Settings(engines=["E"], images=[], device=1), print).open_codec("E")
        assert StoringCodec.devices == [1, 1, None, 1, 1]
        assert engine_command("E", device=1)[-2:] == ["--device", "1"]

    def test_file_whose_name_has_magic(self, folder, pixels):
        Image.fromarray(pixels).save(folder / "photo[1].png")
        assert glic("encode", "photo[1].png", "out.glic") == exits.OK

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["encode", "in", "-"], "cannot all go to stdout"),
            (["encode", "-", "in/a.png", "out"], "no name in a folder"),
            (["encode", "in", "in/notes.txt"], "is a file"),
            (["encode", "in/a.png", "in/deep/../a.png", "out"], "both be written to"),
            (["encode", "in/a.png", "in/a.png"], "over itself"),
            (["encode", "*.xyz", "out"], "nothing matches"),
            (["decode", "in", "out"], "holds no file"),
            (["encode", "in/a.png", "-", "--json", "-"], "only one of them"),
            (["encode", "in/a.png", "a.glic", "--threads", "0"], "at least 1"),
            (["encode", "in/a.png", "a.glic", "--threads", "many"], "many"),
            (["encode", "in/a.png", "a.glic", "--device", "-1"], "at least 0"),
            (["encode", "in/a.png", "a.glic", "--background", "transparent"], "opaque colour"),
            (["encode", "in/a.png", "a.glic", "--backend", "absent"], "onnxruntime"),
            (["eval", "in", "--backend", "absent"], "onnxruntime"),
            (
                ["bench", "--engine", "E", "--backend", "onnxruntime,absent:fp32"],
                "'absent:fp32'",
            ),
            (["serve", "--engine", "E", "--backend", "absent"], "onnxruntime"),
            (["encode", "in/a.png"], "required"),
            (["polish"], "invalid choice"),
            ([""], "invalid choice"),
        ],
    )
    def test_wrong_arguments(self, pictures, folder, capsys, arguments, words):
        before = tree(folder)
        assert glic(*arguments) == exits.USAGE
        assert words in capsys.readouterr().err
        assert tree(folder) == before

    def test_no_arguments(self, capsys):
        assert main([]) == exits.USAGE
        assert "commands:" in capsys.readouterr().err


class TestWhatWasMeant:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ("encode a.glic a.png --engine E", "did you mean: glic decode a.glic a.png --engine E"),
            ("encode a.glic new.glic --engine E", "a.glic is a .glic file already; did you mean: glic decode a.glic"),
            ("decode in/a.png a.glic --engine E", "did you mean: glic encode in/a.png a.glic --engine E"),
            ("decode in/a.png x.png --engine E", "did you mean: glic encode in/a.png in/a.glic --engine E"),
            ("encode a.glic a.png", "type: glic decode a.glic a.png --engine DIR"),
            ("encode", "type: glic encode photo.png photo.glic --engine DIR"),
            ("encode in/a.png", "type: glic encode in/a.png in/a.glic --engine DIR"),
            ("encode in/a.png --engine E", "type: glic encode in/a.png --engine E in/a.glic"),
            ("encode in", "type: glic encode in encoded/ --engine DIR"),
            ("encode in/a.png a.glic", "type: glic encode in/a.png a.glic --engine DIR"),
            ("decode a.glic", "type: glic decode a.glic a.png --engine DIR"),
            ("decode --engine E", "type: glic decode --engine E photo.glic photo.png"),
            ("eval in", "type: glic eval in --engine DIR"),
            ("eval --engine E", "type: glic eval --engine E images/"),
            ("encod in/a.png a.glic", "did you mean: glic encode in/a.png a.glic"),
        ],
    )
    def test_is_said(self, pictures, capsys, arguments, words):
        with pytest.raises(SystemExit, match=str(exits.USAGE)):
            main(arguments.split())
        assert words in capsys.readouterr().err

    def test_an_image_that_is_not_there_ends_eval_in_one_line(self, folder, capsys):
        assert glic("eval", "nothere.png", "--engine", "E") == exits.FILE_SYSTEM
        assert capsys.readouterr() == ("", "glic eval: error: nothere.png: No such file or directory\n")

    def test_files_that_are_passed_over(self, pictures, capsys):
        (pictures / "b.HEIC").write_bytes(b"")
        assert glic("encode", "in", "out") == exits.OK
        assert "glic encode: 2 files passed over (.heic, .txt)\n" in capsys.readouterr().err
        assert glic("encode", "in", "out2", "--workers", "1", "-q") == exits.OK
        assert glic("decode", "out2", "back") == exits.OK
        assert "passed over" not in capsys.readouterr().err

    def test_control_characters_are_escapes(self, folder, capsys):
        name = "a\n\x1b[2Jb.glic"
        (folder / name).write_bytes((DATA / "format" / "version2.glic").read_bytes())
        assert glic("info", name) == exits.OK
        assert glic("decode", name, "x.png") != exits.OK
        assert glic("decode", name, name) == exits.USAGE
        assert glic("decode", name, "x.png", "--" + name) == exits.USAGE
        said = capsys.readouterr()
        assert "\x1b" not in said.out + said.err
        assert "a\\n\\x1b[2Jb.glic\n" in said.out
        assert "a\\n\\x1b[2Jb.glic" in said.err


class TestStandardStreams:
    @pytest.fixture
    def stdin(self, monkeypatch):
        stream = io.BytesIO()
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
        return stream

    def test_there_and_back(self, pictures, pixels, stdin, capsysbinary):
        stdin.write((pictures / "a.png").read_bytes())
        stdin.seek(0)
        assert glic("encode", "-", "-") == exits.OK
        coded = capsysbinary.readouterr().out
        stdin.seek(0)
        stdin.truncate()
        stdin.write(coded)
        stdin.seek(0)
        assert glic("decode", "-", "-") == exits.OK
        picture = capsysbinary.readouterr().out
        assert picture.startswith(b"\x89PNG")
        np.testing.assert_array_equal(load_image(io.BytesIO(picture)), pixels)

    def test_terminals_get_no_bytes(self, pictures, monkeypatch, capsys):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        assert glic("encode", "in/a.png", "-") == exits.USAGE
        assert "terminal" in capsys.readouterr().err

    @pytest.mark.parametrize("payload_bytes", [1000, 1 << 30])
    def test_endless_input_is_not_read(self, stdin, payload_bytes):
        header = container.Header(10, 6, True, False, StoringCodec.fingerprint, bytes(4))
        stdin.write(container.pack_front(header, payload_bytes) + bytes(10_000_000))
        stdin.seek(0)
        code = exits.BAD_INPUT if payload_bytes == 1000 else exits.OVER_LIMIT
        assert glic("decode", "-", "x.png", "--max-pixels", "60", "--max-side", "10") == code
        assert stdin.tell() < 100_000

    def test_what_is_no_glic_file_is_not_read(self, stdin):
        stdin.write(bytes(10_000_000))
        stdin.seek(0)
        assert glic("decode", "-", "x.png") == exits.BAD_INPUT
        assert stdin.tell() <= container.HEADER_BYTES

    def test_piped_through_processes(self, folder):
        code = "import sys; from glic_deploy.cli import main; sys.exit(main(sys.argv[1:]))"
        done = subprocess.run(
            [sys.executable, "-c", code, "info", "-", "--json", "-"],
            input=(DATA / "format" / "version2.glic").read_bytes(),
            capture_output=True,
            cwd=ROOT,
        )
        assert done.returncode == exits.OK
        assert json.loads(done.stdout)["entries"][0]["width"] == 768
        assert done.stderr == b""


class TestErrors:
    def failing(self, capsys, *arguments: str) -> tuple[int, str]:
        code = glic(*arguments)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert said.out == ""
        return code, said.err

    def test_each_kind_has_its_code(self, pictures, folder, capsys, monkeypatch):
        glic("encode", "in/a.png", "a.glic")
        data = (folder / "a.glic").read_bytes()
        (folder / "cut.glic").write_bytes(data[:-1])
        capsys.readouterr()
        assert self.failing(capsys, "decode", "cut.glic", "x.png")[0] == exits.BAD_INPUT
        assert self.failing(capsys, "encode", "in/notes.txt", "x.glic")[0] == exits.BAD_INPUT
        assert self.failing(capsys, "decode", "absent.glic", "x.png")[0] == exits.FILE_SYSTEM
        assert self.failing(capsys, "encode", "absent.png", "x.glic")[0] == exits.FILE_SYSTEM
        assert self.failing(capsys, "encode", "in/a.png", "in/notes.txt/x.glic")[0] == exits.FILE_SYSTEM
        assert self.failing(capsys, "encode", "in/a.png", "x.glic", "--max-pixels", "59")[0] == exits.OVER_LIMIT
        assert self.failing(capsys, "decode", "a.glic", "x.png", "--max-side", "9")[0] == exits.OVER_LIMIT
        assert self.failing(capsys, "encode", "in/a.png", "x.glic", "--backend", "tensorrt")[0] == exits.BAD_ENGINE
        assert self.failing(capsys, "decode", "a.glic", "x.xyz")[0] == exits.BAD_INPUT
        monkeypatch.setattr(StoringCodec, "fingerprint", b"OTHR")
        assert self.failing(capsys, "decode", "a.glic", "x.png")[0] == exits.WRONG_MODEL
        assert not list(folder.glob("x*"))

    def test_message_names_the_file_once(self, folder, capsys):
        (folder / "cut.glic").write_bytes(container.MAGIC)
        _, said = self.failing(capsys, "decode", "cut.glic", "x.png")
        assert said == (
            "glic decode: error: cut.glic: the file is cut short: got 7 bytes, expected at least 29; get a whole copy\n"
        )
        _, said = self.failing(capsys, "decode", "absent.glic", "x.png")
        assert said == "glic decode: error: absent.glic: No such file or directory\n"

    def test_one_bad_file_does_not_stop_the_rest(self, pictures, folder, capsys):
        (pictures / "bad.png").write_bytes(b"no picture")
        code, said = self.failing(capsys, "encode", "in", "out", "--json", "report.json")
        assert code == exits.BAD_INPUT
        assert "[3/4] in/bad.png" in said.replace("glic encode: error: ", "")
        assert "3 of 4 files done" in said
        assert tree(folder / "out") == ["a.glic", "b.glic", "deep/c.glic"]
        report = json.loads((folder / "report.json").read_text())
        assert [row["ok"] for row in report["files"]] == [True, True, False, True]
        assert report["files"][2]["error_type"] == "ImageError"
        assert report["summary"]["failed"] == 1
        assert report["codec"]["backend"]["name"] == "storing"

    def test_mixed_failures(self, pictures, folder, capsys):
        (pictures / "bad.png").write_bytes(b"no picture")
        code, _ = self.failing(capsys, "encode", "in/bad.png", "in/gone.png", "in/a.png", "out")
        assert code == exits.FAILED

    def test_unexpected_error(self, pictures, capsys, monkeypatch):
        monkeypatch.setattr(StoringCodec, "encode", lambda *_, **__: 1 / 0)
        code, said = self.failing(capsys, "encode", "in/a.png", "x.glic")
        assert code == exits.FAILED
        assert "ZeroDivisionError" in said
        assert "--debug" in said
        with pytest.raises(ZeroDivisionError):
            glic("encode", "in/a.png", "x.glic", "--debug")
        assert glic("encode", "in", "out") == exits.FAILED
        assert "0 of 3 files done" in capsys.readouterr().err

    def test_out_of_memory(self, pictures, capsys, monkeypatch):
        def exhaust(*_, **__):
            raise MemoryError

        monkeypatch.setattr(StoringCodec, "encode", exhaust)
        assert self.failing(capsys, "encode", "in/a.png", "x.glic")[0] == exits.OVER_LIMIT

    def test_engine_error_as_json(self, pictures, capsys):
        assert glic("encode", "in/a.png", "x.glic", "--backend", "tensorrt", "--json", "-") == exits.BAD_ENGINE
        document = json.loads(capsys.readouterr().out)
        assert document["error_type"] == "EngineError"

    def test_interrupt(self, pictures, folder, capsys, monkeypatch):
        def interrupt(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(StoringCodec, "encode", interrupt)
        assert glic("encode", "in", "out") == exits.INTERRUPTED
        assert "interrupted" in capsys.readouterr().err


class TestWorkers:
    def rows(self, *arguments: str) -> list[dict]:
        assert glic(*arguments, "--workers", "3", "--json", "report.json") in (exits.OK, exits.BAD_INPUT)
        return json.loads(Path("report.json").read_text())["files"]

    @pytest.fixture
    def coded(self, monkeypatch) -> list[bool]:
        """Grows by one with each picture that is encoded."""
        calls: list[bool] = []
        encode = StoringCodec.encode
        monkeypatch.setattr(StoringCodec, "encode", lambda *a, **b: (calls.append(True), encode(*a, **b))[1])
        return calls

    def test_the_same_files_as_one_by_one(self, pictures, folder):
        assert glic("encode", "in", "one") == exits.OK
        assert glic("encode", "in", "many", "--workers", "3") == exits.OK
        assert tree(folder / "many") == [*tree(folder / "one"), "manifest.jsonl"]
        for name in tree(folder / "one"):
            assert (folder / "one" / name).read_bytes() == (folder / "many" / name).read_bytes()
        assert glic("decode", "many", "back", "--workers", "2") == exits.OK
        assert tree(folder / "back") == ["a.png", "b.png", "deep/c.png", "manifest.jsonl"]

    def test_a_run_goes_on_where_the_last_one_ended(self, pictures, folder, coded, capsys):
        (pictures / "bad.png").write_bytes(b"no picture")
        assert [row["ok"] for row in self.rows("encode", "in", "out")] == [True, True, False, True]
        assert len(coded) == 4
        capsys.readouterr()
        rows = self.rows("encode", "in", "out")
        assert [row.get("skipped") for row in rows] == [True, True, None, True]
        assert rows[0]["bytes"] == os.path.getsize("out/a.glic")
        assert "3 of 4 files done (3 of them before)" in capsys.readouterr().err
        assert len(coded) == 5

    def test_what_changed_is_done_again(self, pictures, folder, coded):
        self.rows("encode", "in", "out")
        coded.clear()
        (folder / "out" / "a.glic").write_bytes(b"cut")
        (folder / "out" / "deep" / "c.glic").unlink()
        assert [row.get("skipped") for row in self.rows("encode", "in", "out")] == [None, True, None]
        Image.new("RGB", (5, 5)).save("in/b.bmp")
        assert [row.get("skipped") for row in self.rows("encode", "in", "out")] == [True, None, True]
        rows = self.rows("encode", "in", "out", "--background", "white")
        assert [row.get("skipped") for row in rows] == [None] * 3
        assert len(coded) == 2 + 1 + 3

    def test_an_interrupted_line_is_passed_over(self, pictures, folder):
        self.rows("encode", "in", "out")
        manifest = folder / "out" / "manifest.jsonl"
        manifest.write_bytes(manifest.read_bytes()[:-20])
        assert [row.get("skipped") for row in self.rows("encode", "in", "out")].count(True) == 2
        assert [row.get("skipped") for row in self.rows("encode", "in", "out")].count(True) == 3

    def test_two_runs_do_not_share_a_folder(self, pictures, folder, capsys):
        with RunManifest(folder / "out", {}):
            assert glic("encode", "in", "out", "--workers", "1") == exits.FILE_SYSTEM
        assert "another glic process" in capsys.readouterr().err

    def test_a_folder_is_needed(self, pictures, capsys):
        assert glic("encode", "in/a.png", "a.glic", "--workers", "1") == exits.USAGE
        assert "name a folder" in capsys.readouterr().err


class TestOptions:
    def test_background(self, folder):
        Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save("clear.png")
        assert glic("encode", "clear.png", "x.glic") == exits.BAD_INPUT
        for colour in ("#010203", "1,2,3", "rgb(1,2,3)"):
            assert glic("encode", "clear.png", "x.glic", "--background", colour) == exits.OK
            assert glic("decode", "x.glic", "x.png", "--overwrite") == exits.OK
            assert load_image("x.png")[0, 0].tolist() == [1, 2, 3]

    def test_json_has_stdout_for_itself(self, pictures, capsys):
        assert glic("encode", "in", "out", "--json", "-") == exits.OK
        said = capsys.readouterr()
        report = json.loads(said.out)
        assert {row["input"] for row in report["files"]} == {"in/a.png", "in/b.bmp", "in/deep/c.png"}
        row = report["files"][0]
        assert row["bpp"] == 8 * row["bytes"] / (row["width"] * row["height"])
        assert row["stages"] == {"store": 0.5}
        assert report["summary"]["files"] == 3

    def test_quiet(self, pictures, capsys):
        assert glic("encode", "in", "out", "-q") == exits.OK
        assert capsys.readouterr() == ("", "")


class TestLargePictures:
    @pytest.mark.parametrize(
        ("text", "size"), [("3G", 3 << 30), ("1.5g", 3 << 29), ("700M", 700 << 20), ("12345", 12345)]
    )
    def test_sizes_of_memory(self, text, size):
        assert options.memory(text) == size

    @pytest.mark.parametrize(
        "arguments", [("--region", "1,2,3"), ("--region", "a,b,c,d"), ("--max-memory", "0G"), ("--on-error", "ignore")]
    )
    def test_what_makes_no_sense_is_refused(self, folder, arguments):
        assert glic("decode", "a.glic", "a.png", *arguments) == exits.USAGE

    def test_the_bar_fills(self):
        assert progress.bar(0, 7) == f"[{'.' * 30}]"
        assert progress.bar(7, 7) == f"[{'#' * 30}]"


class TestInfo:
    def test_file(self, capsys):
        assert glic("info", str(DATA / "format" / "version2.glic")) == exits.OK
        said = capsys.readouterr().out
        for words in ("768", "512", "exact", "8f3a01c4", "52d07be9", "1d4e2c7a"):
            assert words in said

    def test_folder_as_json(self, capsys):
        assert glic("info", str(DATA / "format"), "--json", "-") == exits.BAD_INPUT  # a file of version 1 is there
        entries = {Path(entry["input"]).stem: entry for entry in json.loads(capsys.readouterr().out)["entries"]}
        plain, floating, tiled = (entries[f"version2{form}"] for form in ("", "_float", "_tiled"))
        assert [entry["arithmetic"] for entry in (plain, floating, tiled)] == ["exact", "float", "exact"]
        assert "version 1" in entries["version1"]["error"]
        assert "tiles" not in plain
        assert tiled["tiles"] == {
            "columns": 2, "rows": 2, "tile_width": 256, "tile_height": 256, "overlap": 16,
            "smallest_bytes": 0, "largest_bytes": 8,
        }  # fmt: skip

    def test_sizes_above_every_limit_are_shown(self, folder, capsys):
        header = container.Header(2**31, 2**31, True, False, bytes(4), bytes(4))
        (folder / "huge.glic").write_bytes(container.pack(header, b"", 0))
        assert glic("info", "huge.glic") == exits.OK
        assert "2,147,483,648" in capsys.readouterr().out

    def test_damage_is_told(self, folder, capsys):
        (folder / "bad.glic").write_bytes(container.MAGIC[:4])
        assert glic("info", "bad.glic") == exits.BAD_INPUT
        assert "cut short" in capsys.readouterr().err

    def test_empty_folder(self, folder, capsys):
        assert glic("info", str(folder)) == exits.USAGE


class TestDoctor:
    def test_report_and_exit_code_agree(self, capsys):
        code = glic("doctor", "--json", "-")
        document = json.loads(capsys.readouterr().out)
        assert code == (exits.OK if document["healthy"] else exits.BAD_ENGINE)
        for finding in document["findings"]:
            assert finding["status"] in ("ok", "missing", "broken", "slower")
            assert finding["status"] == "ok" or finding["remedy"]
        assert {"system", "package", "native"} <= {finding["area"] for finding in document["findings"]}
        assert glic("doctor") == code
        assert "glic can" in capsys.readouterr().out

    def test_round_trip(self):
        findings = doctor.round_trip("E", threads=2)
        assert [finding.status for finding in findings] == ["ok", "ok", "ok"]
        assert findings[1].detail == "exact"
        assert "200 x 136 in" in findings[2].detail
        assert "threads 2" in findings[0].detail

    def test_engine_that_does_not_open(self):
        (finding,) = doctor.round_trip("E", backend="tensorrt")
        assert finding.status == "broken"
        assert "pip install absent" in finding.detail
        backend = doctor.Finding("backend", "any", "ok", "")
        assert doctor.can_code([backend])
        assert not doctor.can_code([backend, finding])

    def test_without_any_backend(self):
        findings = [doctor.Finding("backend", "any", "missing", "not installed", "pip install any")]
        assert not doctor.can_code(findings)
        assert "-> pip install any" in doctor.as_text(findings)


class TestImports:
    def python(self, code: str) -> str:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout

    @pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)])
    def test_help_needs_nothing_heavy(self, arguments):
        loaded = self.python(
            "import sys; from glic_deploy.cli import main\n"
            f"try: main({arguments!r})\n"
            "except SystemExit: pass\n"
            "print('LOADED', *sys.modules)"
        ).partition("LOADED")[2]
        assert not {"numpy", "PIL", "onnxruntime", "torch"} & set(loaded.split())

    @pytest.mark.parametrize("command", ["encode", "decode", "eval", "bench", "doctor", "serve"])
    def test_help_names_every_backend(self, command):
        said = self.python(f"from glic_deploy.cli import main; main([{command!r}, '--help'])")
        assert all(name in "".join(said.split()) for name in backends.names())

    def test_package_is_light(self):
        out = self.python(
            "import sys, time; start = time.process_time()\n"
            "import glic_deploy, glic_deploy.image\n"
            "print(time.process_time() - start, 'torch' in sys.modules, 'onnxruntime' in sys.modules)"
        )
        seconds, torch, onnxruntime = out.split()
        assert float(seconds) < 0.5
        assert (torch, onnxruntime) == ("False", "False")

    def test_pillow_is_imported_on_access(self):
        out = self.python(
            "import sys, glic_deploy\n"
            "print('PIL' in sys.modules, 'numpy' in sys.modules, 'pillow' in dir(glic_deploy))\n"
            "print(glic_deploy.pillow.register.__name__)"
        )
        assert out.split() == ["False", "False", "True", "register"]

    def test_names(self):
        assert set(glic_deploy.__all__) <= set(dir(glic_deploy))
        with pytest.raises(AttributeError, match="no attribute 'Codek'"):
            glic_deploy.Codek  # noqa: B018
