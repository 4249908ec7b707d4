"""The `glic` command as a process: closed streams, signals, full disks, damaged manifests, whatever one can type."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import glic_deploy
from glic_deploy import container
from glic_deploy.cli import exits, main, options
from glic_deploy.image import load_image
from glic_deploy.run_manifest import RunManifest, made_in
from glic_deploy.saving import save_image

from .conftest import DATA, PHOTOS, ROOT, heed_signals
from .storing_codec import StoringCodec

GLIC = [sys.executable, "-m", "tests.storing_codec"]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The working directory, with in/0.png to in/5.png and a.glic."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(vars(glic_deploy), "Codec", StoringCodec)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "in").mkdir()
    for number in range(6):
        Image.new("RGB", (10 + number, 6), (number, 9, 9)).save(f"in/{number}.png")
    (tmp_path / "a.glic").write_bytes(StoringCodec("E").encode("in/0.png"))
    return tmp_path


def glic(*arguments: str) -> int:
    try:
        return main([*arguments, "--engine", "E"] if arguments[0] in ("encode", "decode") else list(arguments))
    except SystemExit as error:
        return int(error.code or 0)


def shell(line: str, **options) -> subprocess.CompletedProcess:
    """A line in which `glic` is the command with the storing codec."""
    start = f'glic() {{ {" ".join(GLIC)} "$@"; }}\n'
    return subprocess.run(["bash", "-c", start + line], capture_output=True, text=True, timeout=60, **options)


class TestStreams:
    def test_stderr_closed(self, folder):
        done = shell("glic encode in/0.png - --engine E 2>&- > x.glic")
        assert done.returncode == exits.OK
        assert Path("x.glic").read_bytes() == Path("a.glic").read_bytes()
        done = shell("glic encode absent.png - --engine E 2>&- > x.glic")
        assert done.returncode == exits.FILE_SYSTEM
        assert Path("x.glic").read_bytes() == b""

    def test_stdout_closed(self, folder):
        assert shell("glic encode in/0.png x.glic --engine E >&-").returncode == exits.OK
        assert shell("glic info x.glic >&-").returncode == exits.OK
        for line in ("glic encode in/0.png - --engine E >&-", "glic info x.glic --json - >&-"):
            done = shell(line)
            assert done.returncode == exits.FILE_SYSTEM
            assert "stdout: is closed" in done.stderr

    def test_stdin_closed(self, folder):
        assert shell("glic encode in/0.png x.glic --engine E <&-").returncode == exits.OK
        for line in ("glic encode - x.glic --engine E <&-", "glic decode - x.png --engine E <&-", "glic info - <&-"):
            done = shell(line)
            assert done.returncode == exits.FILE_SYSTEM
            assert "stdin: is closed; name a file" in done.stderr

    def test_all_closed(self, folder):
        assert shell("glic encode in/0.png x.glic --engine E <&- >&- 2>&-").returncode == exits.OK
        assert Path("x.glic").read_bytes() == Path("a.glic").read_bytes()

    def test_stdout_full(self, folder):
        for line in ("glic info a.glic > /dev/full", "glic encode in/0.png - --engine E > /dev/full"):
            done = shell(line)
            assert done.returncode == exits.FILE_SYSTEM
            assert "No space left" in done.stderr
            assert "Exception ignored" not in done.stderr

    def test_endless_inputs(self, folder):
        done = shell(
            "glic encode /dev/zero x.glic --engine E; echo $?; glic decode /dev/zero x.png --engine E; echo $?\n"
            "yes | glic encode - x.glic --engine E; echo $?; yes | glic info -; echo $?"
        )
        assert done.stdout.split() == [str(exits.BAD_INPUT)] * 4
        assert not list(folder.glob("x*"))

    def test_names_that_are_not_utf8(self, folder):
        name = os.fsdecode(b"b\xff.glic")
        os.rename("a.glic", name)
        environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict", "PYTHONPATH": str(ROOT)}
        done = subprocess.run([*GLIC, "info", name], capture_output=True, env=environment)
        assert done.returncode == exits.OK
        assert b"b\\udcff.glic" in done.stdout
        assert glic("encode", "in", name + ".d", "--workers", "1") == exits.OK
        assert glic("encode", "in", name + ".d", "--workers", "1", "--json", "report.json") == exits.OK
        assert json.loads(Path("report.json").read_text())["summary"]["skipped"] == 6


class TestSignals:
    def start(self, *arguments: str, seconds: float = 30) -> subprocess.Popen:
        environment = {**os.environ, "STORING_SECONDS": str(seconds), "STORING_BEGUN": "begun"}
        return subprocess.Popen(
            [*GLIC, *arguments, "--engine", "E"],
            stderr=subprocess.PIPE,
            env=environment,
            preexec_fn=heed_signals,
        )

    @pytest.mark.parametrize(
        ("number", "code", "workers"),
        [
            (signal.SIGINT, 130, []),
            (signal.SIGTERM, 143, []),
            (signal.SIGHUP, 129, ["--workers", "2"]),
            (signal.SIGINT, 130, ["--workers", "2"]),
        ],
    )
    def test_answered_while_an_image_is_coded(self, folder, number, code, workers):
        process = self.start("encode", "in", "out/", *workers)
        while not os.path.exists("begun"):
            assert process.poll() is None, "the command ended before it coded an image"
            time.sleep(0.01)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
        assert process.returncode == code
        assert b"Traceback" not in said
        assert b"interrupted" in said or b"ended by SIG" in said
        assert not list(folder.rglob("*.part"))

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize("command", ["eval", "bench"])
    def test_answered_while_an_image_is_measured(self, engine, tmp_path, command, number):
        """With the real codec, whose large image takes long enough. No temporary file stays."""
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        photo = np.tile(load_image(PHOTOS / "kodim23.png"), (3, 3, 1))
        save_image(photo, tmp_path / "photo.png")
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "glic_deploy",
                command,
                "--engine",
                engine,
                tmp_path / "photo.png",
                "--threads",
                "1",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(temporary)},
            preexec_fn=heed_signals,
        )
        while not list(temporary.glob("glic-*")):
            time.sleep(0.01)
        time.sleep(1)
        assert process.poll() is None
        process.send_signal(number)
        process.wait(timeout=30)
        assert process.returncode == 128 + number
        said = process.communicate(timeout=60)[1]
        assert b"Traceback" not in said
        deadline = time.monotonic() + 60
        while list(temporary.glob("glic-*")) and time.monotonic() < deadline:  # a worker ends its request first
            time.sleep(0.1)
        assert not list(temporary.glob("glic-*"))

    def test_during_a_write(self, folder):
        code = (
            "import sys, time; from tests import storing_codec; from glic_deploy.cli import encode, output\n"
            "def write(self, job, coded):\n"
            "    with output.open_output(job) as stream:\n"
            "        stream.write(b'half'); stream.flush(); print('writing', flush=True); time.sleep(30)\n"
            "encode.Encoding.write = write; storing_codec.main()"
        )
        command = [sys.executable, "-c", code, "encode", "in/0.png", "x.glic", "--engine", "E"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed_signals)
        assert process.stdout.readline() == b"writing\n"
        assert list(folder.glob(".x.glic.*.part"))
        process.terminate()
        process.communicate(timeout=10)
        assert process.returncode == 143
        assert not list(folder.glob(".x.glic.*"))

    def test_with_a_stderr_that_nobody_reads(self, folder):
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        while True:
            try:
                os.write(writer, bytes(4096))
            except BlockingIOError:
                break
        os.set_blocking(writer, True)
        environment = {**os.environ, "STORING_SECONDS": "30", "STORING_BEGUN": "begun"}
        command = [*GLIC, "encode", "in/0.png", "x.glic", "--engine", "E"]
        process = subprocess.Popen(command, stderr=writer, env=environment, preexec_fn=heed_signals)
        while not os.path.exists("begun"):
            time.sleep(0.01)
        process.terminate()
        assert process.wait(timeout=10) == 143
        os.close(reader)
        os.close(writer)

    def test_nohup(self, folder):
        done = shell("trap '' HUP; glic encode in/0.png x.glic --engine E & sleep 0.3; kill -HUP $!; wait $!")
        assert done.returncode == exits.OK

    def test_handlers_are_as_before(self, folder):
        before = signal.getsignal(signal.SIGTERM)
        assert glic("encode", "in/0.png", "x.glic") == exits.OK
        assert signal.getsignal(signal.SIGTERM) == before

    @pytest.mark.parametrize("command", ["encode", "decode"])
    def test_a_killed_run_is_finished_by_the_next(self, folder, command):
        glic("encode", "in", "coded/")
        arguments = (command, "in" if command == "encode" else "coded", "out/", "--workers", "2")
        process = self.start(*arguments, seconds=0.3)
        while len(list(folder.glob("out/*.[gp][ln]*"))) < 2:
            time.sleep(0.01)
        process.kill()
        process.communicate()
        Path("out", ".5.png.glic-0123abcd.part").write_bytes(b"half")  # as if it had been killed while it wrote
        assert glic(*arguments, "--json", "report.json") == exits.OK
        summary = json.loads(Path("report.json").read_text())["summary"]
        assert summary["failed"] == 0
        suffix = "glic" if command == "encode" else "png"
        assert sorted(os.listdir("out")) == [*(f"{number}.{suffix}" for number in range(6)), "manifest.jsonl"]

    def test_killed_between_the_image_and_its_line(self, folder):
        glic("encode", "in", "coded/")
        assert glic("decode", "coded", "out/", "--workers", "1") == exits.OK
        lines = Path("out/manifest.jsonl").read_text().splitlines()
        kept = [line for line in lines if "begun" in line or '"5.png"' not in line]
        assert len(kept) == len(lines) - 1
        Path("out/manifest.jsonl").write_text("\n".join(kept) + "\n")
        assert glic("decode", "coded", "out/", "--workers", "1", "--json", "report.json") == exits.OK
        assert json.loads(Path("report.json").read_text())["summary"]["skipped"] == 5


class TestRunManifest:
    @pytest.mark.parametrize(
        "damage",
        [
            lambda data: data[: len(data) // 2],
            lambda data: b"",
            lambda data: bytes(len(data)),
            lambda data: data + b"\xff\xfe\n" + b"[" * 100_000 + b"\n" + b'{"output": [1]}\n"text"\n',
            lambda data: data.replace(b'"width": 1', b'"width": "1').replace(b', "height"', b'", "height"'),
            lambda data: data.replace(b'"height": 6', b'"height": -6'),
            lambda data: data.replace(b"\n", b""),
        ],
    )
    def test_damaged(self, folder, damage):
        assert glic("encode", "in", "out/", "--workers", "2") == exits.OK
        path = Path("out/manifest.jsonl")
        path.write_bytes(damage(path.read_bytes()))
        for _ in range(2):
            assert glic("encode", "in", "out/", "--workers", "2", "--json", "report.json") == exits.OK
        assert json.loads(Path("report.json").read_text())["summary"]["skipped"] == 6

    @pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
    def test_something_else_of_its_name(self, folder, capsys, make):
        os.mkdir("out")
        make("out/manifest.jsonl")
        assert glic("encode", "in", "out/", "--workers", "2") == exits.FILE_SYSTEM
        assert "delete it" in capsys.readouterr().err

    def test_one_that_cannot_be_appended_to_stops_nothing(self, folder, capsys, monkeypatch):
        def fail(*_):
            raise OSError(28, "No space left on device", "out/manifest.jsonl")

        with monkeypatch.context() as patched:
            patched.setattr(RunManifest, "begin", fail)
            patched.setattr(RunManifest, "record", fail)
            assert glic("encode", "in", "out/", "--workers", "2") == exits.FILE_SYSTEM
        said = capsys.readouterr().err
        assert said.count("the manifest cannot be written: out/manifest.jsonl: No space left") == 1
        assert "6 of 6 files done" in said
        assert len(list(folder.glob("out/*.glic"))) == 6
        assert glic("encode", "in", "out/", "--workers", "2") == exits.OK

    def test_two_processes(self, folder, capsys):
        with RunManifest("out", {}):
            assert glic("encode", "in", "out/", "--workers", "1") == exits.FILE_SYSTEM
        assert "wait until it is done, or name another folder" in capsys.readouterr().err

    def test_made_in(self, folder):
        with RunManifest("out", {}) as manifest:
            Path("out/a.png").write_bytes(b"whole")
            manifest.begin("out/a.png", "out/a.png")
            Path("out/b.png").write_bytes(b"theirs")
            manifest.record("x", "out/b.png", {"error": "bad", "error_type": "ImageError"}, {})
        assert made_in("out", ["out/a.png", "out/b.png", "out/c.png"]) == {"out/a.png"}
        assert len(Path("out/manifest.jsonl").read_text().splitlines()) == 2
        assert made_in("absent", ["absent/a.png"]) == set()


class TestFullDisks:
    @pytest.mark.parametrize("workers", [[], ["--workers", "2"]])
    def test_every_file_that_fails_is_told_and_the_next_run_finishes(self, folder, workers):
        noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
        Image.fromarray(noise).save("in/2.png")
        done = shell(
            f"trap '' XFSZ; ulimit -f 8; glic encode in out/ --engine E {' '.join(workers)}",
        )
        assert done.returncode == exits.FILE_SYSTEM
        assert "in/2.png: File too large" in done.stderr or "File too large" in done.stderr
        assert "5 of 6 files done" in done.stderr
        assert not list(folder.rglob("*.part"))
        assert not Path("out/2.glic").exists()
        assert glic("encode", "in", "out/", *workers) == exits.OK
        assert len(list(folder.glob("out/*.glic"))) == 6

    def test_read_only_places(self, folder, capsys):
        assert glic("encode", "in/0.png", "/proc/x.glic") == exits.FILE_SYSTEM
        assert "/proc/x.glic" in capsys.readouterr().err
        assert glic("encode", "in", "a.glic/out/") == exits.FILE_SYSTEM
        assert "a.glic is not a directory" in capsys.readouterr().err
        assert glic("encode", "in", "/proc/out/", "--workers", "2") == exits.FILE_SYSTEM

    def test_a_name_too_long_for_one_file(self, folder):
        os.rename("in/1.png", "in/" + "n" * 251 + ".png")
        assert glic("encode", "in", "out/") == exits.FILE_SYSTEM
        assert len(list(folder.glob("out/*.glic"))) == 5
        assert glic("encode", "in/0.png", "漢" * 80) == exits.OK


class TestMessages:
    def test_warnings_are_lines_and_in_the_report(self, folder):
        environment = {**os.environ, "STORING_WARNS": "the rate\nis missed"}
        line = "glic encode in/0.png in/1.png out/ --engine E --json report.json"
        done = shell(line, env=environment)
        for name in ("in/0.png", "in/1.png"):
            assert f"glic encode: warning: {name}: the rate is missed\n" in done.stderr
        assert "UserWarning" not in done.stderr
        assert "stored as" not in done.stderr
        rows = json.loads(Path("report.json").read_text())["files"]
        assert [row["warnings"] for row in rows] == [["the rate is missed"]] * 2
        assert "glic encode: stored as the rate" in shell(line + " --verbose", env=environment).stderr
        assert shell(line + " -q", env=environment).stderr == ""
        assert json.loads(Path("report.json").read_text())["files"][0]["warnings"]
        several = "glic encode in out/ --engine E --workers 2 --json report.json"
        assert shell(several, env=environment).stderr.count("warning: in/") == 6

    def test_the_shell_s_remedies_alone(self, folder, capsys):
        glic("encode", "in/0.png", "x.glic", "--max-pixels", "59")
        said = capsys.readouterr().err
        assert "--max-pixels 60" in said
        assert "Limits(" not in said
        text = "raise --max-pixels, Limits(max_pixels=...), if it really is one"
        assert exits.for_shell(text) == "raise --max-pixels, if it really is one"
        assert exits.for_shell("pass Limits(max_side=9) to allow it") == "pass --max-side 9 to allow it"
        assert exits.for_shell("more: Limits(max_memory=5 << 30), on the command line --max-memory 5G") == (
            "more: --max-memory 5G"
        )

    def on_terminal(self, *arguments: str, seconds: float) -> str:
        """What a terminal gets to see."""
        ours, theirs = pty.openpty()
        environment = {**os.environ, "STORING_SECONDS": str(seconds), "COLUMNS": "60"}
        process = subprocess.Popen(
            [*GLIC, *arguments, "--engine", "E"], stderr=theirs, env=environment, preexec_fn=heed_signals
        )
        os.close(theirs)
        said = b""
        while True:
            readable, _, _ = select.select([ours], [], [], 30)
            try:
                block = os.read(ours, 4096) if readable else b""
            except OSError:  # the other end is closed
                break
            if not block:
                break
            said += block
        os.close(ours)
        process.wait()
        return said.decode()

    def test_seconds_tick_on_a_terminal(self, folder):
        said = self.on_terminal("encode", "in/0.png", "x.glic", seconds=1.5)
        for second in (0, 1):
            assert f"in/0.png: encoding, {second} s" in said
        assert "in/0.png -> x.glic" in said.rpartition("\x1b[K")[2]
        assert "\x1b" not in shell("glic decode x.glic x.png --engine E").stderr
        assert "x.glic: decoding, 0 s" in self.on_terminal("decode", "x.glic", "y.png", seconds=0)
        assert "encoding" not in self.on_terminal("encode", "in/0.png", "x.glic", "-q", seconds=0)


class TestWhatOneCanType:
    def test_names_behind_a_double_dash(self, folder):
        os.rename("in/0.png", "-a.png")
        assert main(["encode", "--engine", "E", "--", "-a.png", "d.glic"]) == exits.OK
        assert main(["encode", "--engine", "E", "d.png", "--", "-d.glic"]) == exits.FILE_SYSTEM
        assert main(["info", "--", "d.glic"]) == exits.OK

    @pytest.mark.parametrize(
        "arguments",
        [
            ("encode", "", "out/"),
            ("encode", "in/0.png", ""),
            ("encode", "in/0.png", "x.glic", "--json", ""),
            ("info", ""),
            ("encode", "in/0.png", "x.glic", "--max-memory", "infG"),
            ("encode", "in/0.png", "x.glic", "--max-memory", "nanG"),
            ("encode", "in/0.png", "x.glic", "--max-memory", "1e999"),
            ("encode", "in/0.png", "x.glic", "--max-pixels", "9" * 5000),
            ("encode", "in/0.png", "x.glic", "--threads", "5000"),
            ("encode", "in/0.png", "out/", "--workers", "1000000"),
            ("encode", "in/0.png", "x.glic", "--tile", "100"),
            ("encode", "in/0.png", "x.glic", "--tile", "-256"),
            ("encode", "in/0.png", "x.glic", "--target-bpp", "nan"),
            ("encode", "in/0.png", "x.glic", "--target-psnr", "inf"),
            ("encode", "in/0.png", "x.glic", "--background", "hsl(0," + "9" * 80 + "%,50%)"),
            ("decode", "a.glic", "x.png", "--region", "-1,0,5,5"),
            ("decode", "a.glic", "x.png", "--region=0,0,0,5"),
            ("decode", "a.glic", "x.png", "--region=0,0,5"),
            ("bench", "--engine", "E", "--seconds", "nan"),
            ("bench", "--engine", "E", "--batch", "-1"),
            ("bench", "--engine", "E", "--in-flight", "100000"),
            ("eval", "in", "--engine", "E", "--report-images", "-1"),
        ],
    )
    def test_refused_with_a_message(self, folder, capsys, arguments):
        assert glic(*arguments) == exits.USAGE
        said = capsys.readouterr().err
        assert "error: " in said
        assert len(said.partition("error: ")[2]) < 400
        assert sorted(os.listdir()) == ["a.glic", "in"]

    def test_numbers(self):
        assert options.number("0.25") == 0.25
        assert options.threads("64") == 64
        assert options.tile("0") == 0
        assert options.tile("384") == 384
        assert options.whole("1_000") == 1000

    known = (
        "in in/0.png a.glic out out/ x.png x.glic - -- . * ** [ in/*.png -q -v --debug --json --workers 2 0 1 "
        "--overwrite --format png --region 0,0,1,1 --threads --max-pixels --max-side --max-memory 1G --on-error "
        "fill --tile 256 --background white --target-bpp --quality --backend --precision bf16 --help -h --"
    )
    words = st.one_of(
        st.sampled_from(known.split(" ")),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8).filter(
            lambda text: "/" not in text and ".." not in text
        ),
    )

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(command=st.sampled_from(["encode", "decode", "info"]), arguments=st.lists(words, max_size=7))
    def test_anything(self, folder, capsys, monkeypatch, command, arguments):
        monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115
        codec = lambda *_, **options: StoringCodec("E", limits=options.get("limits"))  # noqa: E731
        monkeypatch.setitem(vars(glic_deploy), "Codec", codec)
        images = [Path(f"in/{number}.png") for number in range(6)]
        before = [path.read_bytes() for path in images]
        arguments = [text for text in arguments if text != "--debug"]
        try:
            code = main([command, *arguments, *(["--engine", "E"] if command != "info" else [])])
        except SystemExit as error:
            code = error.code or 0
        said = capsys.readouterr().err
        assert code in range(8), said
        assert "unexpected" not in said
        if "--overwrite" not in arguments:
            assert [path.read_bytes() for path in images] == before


class TestExport:
    def test_hidden_by_no_folder(self, tmp_path, monkeypatch):
        for name in ("export/__init__.py", "export/to_triton.py"):
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text("raise SystemExit('the wrong one')")
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "glic_deploy", "export", "to_triton", "--help"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "--reference" in done.stdout
        assert done.stdout.startswith("usage: glic export to_triton")

    def test_help_needs_nothing_heavy(self, capsys):
        assert glic("export", "--help") == exits.OK
        said = capsys.readouterr().out
        assert "to_onnx" in said
        assert glic("export", "to_nothing") == exits.USAGE

    def test_errors_of_the_tool_are_its_own(self, tmp_path, capsys):
        assert glic("export", "to_triton", "--engine", str(tmp_path), "--output", str(tmp_path / "out")) == 1
        assert "manifest.json" in capsys.readouterr().err

    def test_without_torch(self):
        code = (
            "import sys; sys.modules['torch'] = None; from glic_deploy.cli import main\n"
            "sys.exit(main(['export', 'to_onnx', '--checkpoint', 'C.pth', '--output', 'out']))"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == exits.BAD_ENGINE
        assert "pip install 'glic-deploy[export]'" in done.stderr


def test_info_reads_what_the_header_says(folder, capsys):
    data = (DATA / "format" / "version2.glic").read_bytes()
    Path("longer.glic").write_bytes(data)
    os.truncate("longer.glic", 1 << 40)
    assert glic("info", "longer.glic") == exits.BAD_INPUT
    assert "appended" in capsys.readouterr().err
    header = container.Header(8, 8, True, False, bytes(4), bytes(4))
    Path("claims.glic").write_bytes(container.pack_front(header, 1 << 31) + bytes(100))
    assert glic("info", "claims.glic") == exits.BAD_INPUT
    assert "cut short" in capsys.readouterr().err
