"""What `glic` may write over: never an input, an image only with --overwrite, a .glic file only by encode."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import glic_deploy
from glic_deploy.cli import exits, main, targets
from glic_deploy.image import load_image
from glic_deploy.run_manifest import RunManifest

from .storing_codec import StoringCodec


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """The working directory, with the images a.png, b.png, a.jpg and the engine E."""
    monkeypatch.setitem(vars(glic_deploy), "Codec", StoringCodec)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    for name in ("a.png", "b.png", "a.jpg"):
        Image.fromarray(rng.integers(0, 256, (6, 10, 3), np.uint8)).save(name)
    (tmp_path / "E").mkdir()
    (tmp_path / "E" / "manifest.json").write_text("{}")
    return tmp_path


def glic(*arguments: str) -> int:
    try:
        return main([*arguments, "--engine", "E"] if arguments[0] in ("encode", "decode") else list(arguments))
    except SystemExit as error:
        return int(error.code or 0)


def contents() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def refused(capsys, *arguments: str) -> str:
    """What is said when a command is refused, having changed nothing."""
    before = contents()
    assert glic(*arguments) == exits.USAGE
    assert contents() == before
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said.partition("error: ")[2]


class TestForgottenOut:
    def test_encode(self, capsys):
        assert "glic encode a.png b.png coded/ --engine E" in refused(capsys, "encode", "a.png", "b.png")
        assert "glic encode a.png a.jpg coded/" in refused(capsys, "encode", "a.png", "a.jpg")
        assert "glic encode a.png b.png a.jpg coded/" in refused(capsys, "encode", "a.png", "b.png", "a.jpg")
        assert refused(capsys, "encode", "a.png", "b.png", "--overwrite")

    def test_decode(self, capsys):
        assert glic("encode", "a.png", "b.png", "coded/") == exits.OK
        said = refused(capsys, "decode", "coded/a.glic", "coded/b.glic")
        assert "glic decode coded/a.glic coded/b.glic decoded/ --engine E" in said
        assert refused(capsys, "decode", "coded/a.glic", "coded/b.glic", "--overwrite")

    def test_out_of_the_other_kind_that_does_not_exist(self, capsys):
        assert "glic encode a.png new.glic --engine E" in refused(capsys, "encode", "a.png", "new.PNG")
        assert "glic encode a.png new.glic --engine E" in refused(capsys, "encode", "a.png", "new.jxl")
        glic("encode", "a.png", "a.glic")
        assert "glic decode a.glic new.png --engine E" in refused(capsys, "decode", "a.glic", "new.glic")

    def test_line_to_type_is_quoted_and_short(self, capsys):
        Path("my photo.png").write_bytes(Path("a.png").read_bytes())
        assert "'my photo.png'" in refused(capsys, "encode", "my photo.png", "b.png")
        many = [f"in{number}.png" for number in range(20)]
        for name in many:
            Path(name).write_bytes(Path("a.png").read_bytes())
        assert "in3.png ... coded/" in refused(capsys, "encode", *many)


class TestSeveralInputs:
    def test_a_file_s_name_is_no_folder(self, capsys):
        assert "glic encode a.png b.png coded/" in refused(capsys, "encode", "a.png", "b.png", "out.glic")
        glic("encode", "a.png", "b.png", "coded/")
        for name in ("out.png", "out.glic"):
            assert "decoded/" in refused(capsys, "decode", "coded/a.glic", "coded/b.glic", name)
            assert "decoded/" in refused(capsys, "decode", "coded", name)

    def test_a_folder_that_is_there_may_be_called_anything(self):
        Path("out.glic").mkdir()
        assert glic("encode", "a.png", "b.png", "out.glic") == exits.OK
        assert sorted(os.listdir("out.glic")) == ["a.glic", "b.glic"]
        assert glic("encode", "a.png", "b.png", "other.glic/") == exits.OK
        assert glic("encode", "a.png", "b.png", "plain") == exits.OK

    def test_two_inputs_of_one_name(self, capsys):
        said = refused(capsys, "encode", "a.png", "a.jpg", "out/")
        assert "a.png and a.jpg would both be written to out/a.glic" in said
        assert "glic encode a.jpg out/a-2.glic --engine E" in said

    def test_two_outputs_that_differ_in_case(self, capsys, monkeypatch):
        Path("A.png").write_bytes(Path("a.png").read_bytes())
        assert glic("encode", "a.png", "A.png", "out/") == exits.OK
        monkeypatch.setattr(targets, "_ignores_case", lambda path: True)
        assert "would both be written" in refused(capsys, "encode", "a.png", "A.png", "out/")

    def test_outputs_that_are_one_file_through_links(self, capsys):
        glic("encode", "a.png", "b.png", "out/")
        Path("out/a.glic").unlink()
        Path("out/a.glic").symlink_to("b.glic")
        assert "would both be written" in refused(capsys, "encode", "a.png", "b.png", "out/")


class TestInputs:
    @pytest.mark.parametrize("link", [os.link, os.symlink])
    def test_links_to_an_input(self, capsys, link):
        link("a.png", "out")
        assert "over itself" in refused(capsys, "encode", "a.png", "out", "--overwrite")
        os.mkdir("coded")
        link(os.path.abspath("a.png"), "coded/b.glic")
        assert "over the input a.png" in refused(capsys, "encode", "a.png", "b.png", "coded")

    def test_an_input_that_is_a_link(self, capsys):
        os.symlink("a.png", "link.png")
        assert "over itself" in refused(capsys, "encode", "link.png", "./a.png", "--overwrite")

    def test_a_glic_file_over_itself(self, capsys):
        glic("encode", "a.png", "a.glic")
        os.rename("a.glic", "image")
        assert "over itself" in refused(capsys, "decode", "image", "image", "--format", "png", "--overwrite")

    def test_stdin_that_is_the_output(self, capsys, monkeypatch):
        glic("encode", "a.png", "coded")
        with open("coded", "rb") as stream:
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(stream))
            assert "over itself" in refused(capsys, "decode", "-", "coded", "--format", "png", "--overwrite")

    def test_engine(self, capsys):
        assert "engine" in refused(capsys, "encode", "a.png", "E/manifest.json", "--overwrite")


class TestExisting:
    def test_the_original_beside_its_glic_file(self, capsys):
        glic("encode", "a.png", "a.glic")
        said = refused(capsys, "decode", "a.glic", "a.png")
        assert "glic decode a.glic a.png --engine E --overwrite" in said
        assert glic("decode", "a.glic", "a.png", "--overwrite") == exits.OK

    def test_folders(self, capsys):
        glic("encode", "a.png", "b.png", "out/")
        assert glic("decode", "out", "out") == exits.OK
        assert "2 of 2 outputs exist already: out/a.png, out/b.png" in refused(capsys, "decode", "out", "out")
        assert glic("decode", "out", "out", "--overwrite") == exits.OK

    def test_encode_replaces_glic_files_alone(self, capsys):
        assert glic("encode", "a.png", "a.glic") == exits.OK
        assert glic("encode", "b.png", "a.glic") == exits.OK
        os.rename("a.glic", "coded")
        assert glic("encode", "b.png", "coded") == exits.OK
        Path("notes.txt").write_text("mine")
        assert "--overwrite" in refused(capsys, "encode", "a.png", "notes.txt")
        os.rename("b.png", "b.glic")
        assert "--overwrite" in refused(capsys, "encode", "a.png", "b.glic")
        assert glic("encode", "a.png", "notes.txt", "--overwrite") == exits.OK

    def test_nothing_is_lost_with_an_empty_file_or_a_device(self):
        glic("encode", "a.png", "a.glic")
        Path("empty.png").touch()
        assert glic("decode", "a.glic", "empty.png") == exits.OK
        assert load_image("empty.png").shape == (6, 10, 3)
        assert glic("decode", "a.glic", "/dev/null", "--format", "png") == exits.OK

    def test_an_image_that_appears_during_the_work(self, capsys, monkeypatch):
        glic("encode", "a.png", "a.glic")
        decode = StoringCodec.decode

        def slow(*arguments, **options):
            Path("back.png").write_bytes(b"theirs")
            return decode(*arguments, **options)

        monkeypatch.setattr(StoringCodec, "decode", slow)
        assert glic("decode", "a.glic", "back.png") == exits.FILE_SYSTEM
        assert Path("back.png").read_bytes() == b"theirs"
        assert "back.png: exists already" in capsys.readouterr().err


class TestResumableRuns:
    def test_what_the_manifest_says_is_made_again(self, capsys):
        glic("encode", "a.png", "b.png", "coded/")
        run = ("decode", "coded", "back", "--workers", "2")
        assert glic(*run) == exits.OK
        glic("encode", "b.png", "coded/a.glic")
        assert glic(*run) == exits.OK
        np.testing.assert_array_equal(load_image("back/a.png"), load_image("b.png"))

    def test_an_edited_output_is_the_users(self, capsys):
        glic("encode", "a.png", "b.png", "coded/")
        run = ("decode", "coded", "back", "--workers", "2")
        assert glic(*run) == exits.OK
        Path("back/a.png").write_bytes(b"edited")
        assert "1 of 2 outputs exist already: back/a.png" in refused(capsys, *run)
        assert glic(*run, "--overwrite") == exits.OK
        np.testing.assert_array_equal(load_image("back/a.png"), load_image("a.png"))

    def test_a_file_in_place_of_one_that_failed(self, capsys, monkeypatch):
        glic("encode", "a.png", "b.png", "coded/")
        run = ("decode", "coded", "back", "--workers", "2")

        def fail(*_, **__):
            raise OSError(27, "File too large")

        with monkeypatch.context() as patched:
            patched.setattr("glic_deploy.saving.save_image", fail)
            assert glic(*run) == exits.FILE_SYSTEM
        os.rename("a.jpg", "back/a.png")
        assert "1 of 2 outputs exist already: back/a.png" in refused(capsys, *run)

    def test_a_file_in_place_of_one_that_was_begun(self, capsys):
        """The process is killed between the manifest's line and the renaming."""
        glic("encode", "a.png", "b.png", "coded/")
        os.mkdir("back")
        Path("partial").write_bytes(b"whole")
        with RunManifest("back", {}) as manifest:
            manifest.begin("back/a.png", "partial")
        os.rename("a.jpg", "back/a.png")
        run = ("decode", "coded", "back", "--workers", "2")
        assert "1 of 2 outputs exist already: back/a.png" in refused(capsys, *run)
        os.rename("partial", "back/a.png")
        assert glic(*run) == exits.OK

    @pytest.mark.parametrize("text", ['{"audio": "a.wav"}\n', '{"output": "yes"}\n', "audio\n", "[1]"])
    def test_a_manifest_that_is_not_ours(self, capsys, text):
        os.mkdir("out")
        Path("out/manifest.jsonl").write_text(text)
        before = contents()
        assert glic("encode", "a.png", "b.png", "out", "--workers", "2") == exits.FILE_SYSTEM
        assert "name another folder" in capsys.readouterr().err
        assert contents() == before

    def test_what_it_does_not_say_stays(self, capsys):
        glic("encode", "a.png", "b.png", "coded/")
        os.mkdir("back")
        os.rename("a.jpg", "back/a.png")
        assert "1 of 2 outputs exist already: back/a.png" in refused(
            capsys, "decode", "coded", "back", "--workers", "2"
        )
        assert glic("decode", "coded", "back", "--workers", "2", "--overwrite") == exits.OK
        assert glic("decode", "coded", "back", "--workers", "2") == exits.OK


class TestReports:
    @pytest.mark.parametrize(
        ("path", "words"),
        [
            ("a.png", "input"),
            ("b.png", "image"),
            ("new.glic", ".glic file"),
            ("link", "input"),
            ("photo", "image"),
            ("E/manifest.json", "engine"),
            ("E", "folder"),
            ("out.dat", "another output"),
        ],
    )
    def test_json(self, capsys, path, words):
        os.link("a.png", "link")
        Path("photo").write_bytes(Path("b.png").read_bytes())
        said = refused(capsys, "encode", "a.png", "out.dat", "--json", path)
        assert words in said
        assert "--json json.json" in said

    def test_manifest_of_the_run(self, capsys):
        assert "another output" in refused(
            capsys, "encode", "a.png", "b.png", "out/", "--workers", "2", "--json", "out/manifest.jsonl"
        )

    def test_other_commands(self, capsys):
        glic("encode", "a.png", "coded")
        assert "input" in refused(capsys, "info", "coded", "--json", "coded")
        assert "engine" in refused(capsys, "info", "E", "--json", "E/manifest.json")
        assert "image" in refused(capsys, "doctor", "--json", "a.png")
        Path("old.json").write_text("{}")
        assert "input" in refused(capsys, "bench", "--engine", "E", "--compare", "old.json", "--json", "old.json")
        evaluate = ("eval", "a.png", "--engine", "E")
        for option in ("--csv", "--report", "--json"):
            assert "input" in refused(capsys, *evaluate, option, "a.png")
        assert "another output" in refused(capsys, *evaluate, "--csv", "rows", "--json", "rows")
        for option in ("--keep", "--maps", "--figures"):
            assert "inputs" in refused(capsys, *evaluate, option, ".")
            assert "is a file" in refused(capsys, *evaluate, option, "b.png")
            assert "inputs" in refused(capsys, *evaluate, option, "E")

    def test_an_error_is_reported_nowhere_unless_that_is_permitted(self):
        """The run manifest cannot be read, and --json names an input."""
        os.mkdir("out")
        os.symlink("/proc/self/mem", "out/manifest.jsonl")
        before = Path("a.png").read_bytes()
        for target in ("a.png", "a.jpg"):
            assert glic("encode", "a.png", "out/", "--workers", "2", "--json", target) == exits.USAGE
        assert glic("encode", "a.png", "out/", "--workers", "2", "--json", "new.json") == exits.FILE_SYSTEM
        assert json.loads(Path("new.json").read_text())["error"]
        assert Path("a.png").read_bytes() == before

    def test_part_of_any_bundle(self, capsys):
        Path("F/q1/graphs").mkdir(parents=True)
        Path("F/q1/manifest.json").write_text('{"files": {"graphs/x.json": {}}}')
        Path("F/q1/graphs/x.json").write_text("{}")
        for path in ("F/q1/manifest.json", "F/q1/graphs/x.json"):
            assert "bundle" in refused(capsys, "info", "F", "--json", path)
            assert "bundle" in refused(capsys, "encode", "a.png", "a.glic", "--json", path)
        Path("F/q1/report.json").write_text("{}")
        assert glic("encode", "a.png", "a.glic", "--json", "F/q1/report.json") == exits.OK

    def test_files_of_another_kind(self, capsys):
        Path("my.npz").write_bytes(b"numbers")
        Path("notes.txt").write_text("mine")
        os.mkdir("K")
        Path("K/results.jsonl").write_text("{}")
        assert "does not end in .json" in refused(capsys, "encode", "a.png", "a.glic", "--json", "my.npz")
        evaluate = ("eval", "a.png", "--engine", "E")
        assert "does not end in .csv" in refused(capsys, *evaluate, "--csv", "notes.txt")
        assert "does not end in .html" in refused(capsys, *evaluate, "--report", "notes.txt")
        assert "another output" in refused(capsys, *evaluate, "--keep", "K", "--json", "K/results.jsonl")
        Path("empty").touch()
        assert glic("encode", "a.png", "a.glic", "--json", "empty") == exits.OK

    @pytest.mark.parametrize(
        ("option", "name"), [("--maps", "bits.png"), ("--maps", "degrees_g.png"), ("--figures", "tables.md")]
    )
    def test_images_in_folders_of_plots(self, capsys, option, name):
        os.mkdir("plots")
        Path("plots", name).write_bytes(b"mine")
        assert f"plots/{name}" in refused(capsys, "eval", "a.png", "--engine", "E", option, "plots")

    def test_unwritable_is_told_before_the_work(self, capsys, monkeypatch):
        monkeypatch.setattr(StoringCodec, "encode", lambda *_, **__: pytest.fail("the work had begun"))
        for path in ("a.png/report.json", "x" * 300 + ".json"):
            assert glic("encode", "b.png", "b.glic", "--json", path) == exits.FILE_SYSTEM
            said = capsys.readouterr().err
            assert path in said
            assert "Traceback" not in said

    def test_unwritable_at_the_end(self, capsys):
        assert glic("encode", "b.png", "b.glic", "--json", "/proc/report.json") == exits.FILE_SYSTEM
        assert "/proc/report.json" in capsys.readouterr().err
        assert Path("b.glic").exists()
        assert glic("encode", "b.png", "c.glic", "--backend", "tensorrt", "--json", "/proc/x.json") == exits.BAD_ENGINE
        said = capsys.readouterr().err
        assert "backend tensorrt" in said
        assert "--json" in said

    def test_a_report_is_replaced_by_the_next(self):
        for _ in range(2):
            assert glic("encode", "a.png", "a.glic", "--json", "report.json") == exits.OK
        assert json.loads(Path("report.json").read_text())["files"][0]["warnings"] == []


def test_file_systems_without_case(tmp_path, monkeypatch):
    assert not targets._ignores_case(str(tmp_path / "absent" / "x"))
    monkeypatch.setattr(os.path, "exists", lambda path: True)
    monkeypatch.setattr(os.path, "samefile", lambda a, b: True)
    assert targets._ignores_case(str(tmp_path))
