"""Bounded reading, files that appear whole or not at all, and what dead writers leave behind."""

from __future__ import annotations

import errno
import io
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glic_deploy import ImageError, LimitError, Limits, files
from glic_deploy.files import (
    abandon,
    atomic_directory,
    atomic_write,
    atomic_writer,
    open_ahead,
    read_bounded,
    read_up_to,
    seekable,
    sweep,
)
from glic_deploy.image import load_image

from .conftest import DATA, ROOT

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8))


def picture_bytes(format: str = "PNG") -> bytes:
    stream = io.BytesIO()
    PHOTO.save(stream, format)
    return stream.getvalue()


class Pipe:
    """A reader's end of a pipe into which a thread writes `data`, and then zeros without end if it is `endless`."""

    def __init__(self, data: bytes, *, endless: bool = False) -> None:
        self.written = 0
        reader, writer = os.pipe()
        self.reader = open(reader, "rb")  # noqa: SIM115  closed at the end

        def write() -> None:
            try:
                with open(writer, "wb", buffering=0) as stream:
                    self.written += stream.write(data)
                    while endless:
                        self.written += stream.write(bytes(1 << 16))
            except BrokenPipeError:
                pass

        self._thread = threading.Thread(target=write, daemon=True)
        self._thread.start()

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.close()
        self._thread.join(10)


class TestReading:
    def test_files_and_streams(self, tmp_path: Path) -> None:
        data = os.urandom(3_000_000)
        (tmp_path / "file").write_bytes(data)
        with open(tmp_path / "file", "rb") as stream:
            assert read_bounded(stream, len(data), "file") == data
        assert read_bounded(io.BytesIO(data), len(data), "stream") == data
        with Pipe(data) as pipe:
            assert read_bounded(pipe.reader, len(data), "pipe") == data
        with open(tmp_path / "file", "rb") as stream:
            stream.seek(1_000_000)
            assert read_bounded(stream, 2_000_000, "rest") == data[1_000_000:]
            stream.seek(0)
            assert read_up_to(stream, 17) == data[:17]

    def test_more_than_allowed(self, tmp_path: Path) -> None:
        with open(tmp_path / "sparse", "wb") as stream:
            stream.truncate(1 << 40)
        with (
            open(tmp_path / "sparse", "rb") as stream,
            pytest.raises(LimitError, match="sparse: more than 1,000 bytes"),
        ):
            read_bounded(stream, 1000, "sparse")
        with pytest.raises(LimitError):
            read_bounded(io.BytesIO(bytes(1001)), 1000, "stream")
        with open("/dev/zero", "rb") as zeros, pytest.raises(LimitError):
            read_bounded(zeros, 5_000_000, "zeros")
        with Pipe(b"", endless=True) as pipe:
            with pytest.raises(LimitError):
                read_bounded(pipe.reader, 5_000_000, "pipe")
            assert pipe.written < 6_000_000

    def test_memory_is_taken_for_what_is_there(self) -> None:
        """The largest `.glic` file within the limits has 2 GB; a process of 1 GB reads one of 60 bytes."""
        limit = f"ulimit -v {1 << 20}; exec '{sys.executable}' -m glic_deploy info"
        for command in (f"{limit} tests/data/format/version2.glic", f"{limit} - < tests/data/format/version2.glic"):
            done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        code = (
            "import io, resource, sys; from glic_deploy.files import read_bounded\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))\n"
            "assert len(read_bounded(open(sys.argv[1], 'rb'), 1 << 40, 'file')) > 20\n"
            "assert len(read_bounded(io.BytesIO(bytes(9)), 1 << 40, 'stream')) == 9\n"
        )
        subprocess.run([sys.executable, "-c", code, DATA / "format" / "version2.glic"], cwd=ROOT, check=True)


class TestImages:
    @pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP", "PPM"])
    def test_through_a_pipe(self, format: str) -> None:
        data = picture_bytes(format)
        with Pipe(data) as pipe:
            np.testing.assert_array_equal(load_image(pipe.reader), load_image(io.BytesIO(data)))

    def test_through_a_named_pipe(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(picture_bytes(),))
        writer.start()
        assert load_image(tmp_path / "pipe").shape == (30, 40, 3)
        writer.join(10)

    def test_endless_ones_end(self) -> None:
        limits = Limits(max_pixels=1 << 16)
        with pytest.raises(ImageError, match="not an image"):
            load_image("/dev/zero", limits=limits)
        with Pipe(picture_bytes(), endless=True) as pipe:
            assert load_image(pipe.reader, limits=limits).shape == (30, 40, 3)
        with Pipe(b"", endless=True) as pipe:
            with pytest.raises(ImageError):
                load_image(pipe.reader, limits=limits)
            assert pipe.written < 1_000_000
        webp = bytearray(picture_bytes("WEBP"))  # a format that Pillow reads to its end
        webp[4:8] = b"\xff\xff\xff\x7f"
        with Pipe(bytes(webp), endless=True) as pipe:
            with pytest.raises((LimitError, ImageError)):
                load_image(pipe.reader, limits=limits)
            assert pipe.written < limits.max_image_bytes + (1 << 20)

    def test_file_of_more_bytes_than_the_limits_imply(self, tmp_path: Path) -> None:
        path = tmp_path / "padded.png"
        path.write_bytes(picture_bytes())
        os.truncate(path, 1 << 40)
        with pytest.raises(LimitError, match="--max-pixels"):
            load_image(path)
        with pytest.raises(LimitError):
            open_ahead(path)

    def test_seekable_keeps_what_was_read(self) -> None:
        with Pipe(bytes(range(100))) as pipe:
            view = seekable(pipe.reader, 100)
            assert view.read(3) == bytes([0, 1, 2])
            assert view.seek(1) == view.tell() == 1
            assert view.read(2) == bytes([1, 2])
            assert view.seek(-2, io.SEEK_END) == 98
            assert view.read() == bytes([98, 99])
            assert view.read(5) == b""
            view.seek(0)
            assert view.read() == bytes(range(100))
        regular = io.BytesIO()
        assert seekable(regular, 1) is regular


class TestWriting:
    def test_names_of_many_bytes(self, tmp_path: Path) -> None:
        for name in ("漢" * 80, "n" * 255, "\udcff" * 200):
            atomic_write(tmp_path / name, b"whole")
            assert (tmp_path / name).read_bytes() == b"whole"
        with atomic_directory(tmp_path / ("漢" * 70)) as folder:
            (folder / "file").touch()
        assert not list(tmp_path.glob(".*"))

    def test_what_appears_meanwhile_stays(self, tmp_path: Path) -> None:
        target = tmp_path / "photo.png"
        with pytest.raises(FileExistsError), atomic_writer(target, replace=False) as stream:  # noqa: PT012
            stream.write(b"ours")
            target.write_bytes(b"theirs")
        assert target.read_bytes() == b"theirs"
        target.write_bytes(b"")
        with atomic_writer(target, replace=False) as stream:
            stream.write(b"ours")
        assert target.read_bytes() == b"ours"
        assert os.listdir(tmp_path) == ["photo.png"]

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
    def test_a_full_disk_leaves_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        atomic_write(tmp_path / "file", b"old")

        def fail(descriptor: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("glic_deploy.files.os.fsync", fail)
        with pytest.raises(OSError, match=os.strerror(number)):
            atomic_write(tmp_path / "file", b"new")
        assert (tmp_path / "file").read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["file"]

    def test_without_locks_the_file_is_closed_before_it_is_renamed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As on Windows, which renames no open file and cannot exchange directories."""
        rename, closed = os.replace, []

        def replace(source: Path, target: Path) -> None:
            closed.append(stream.closed)
            rename(source, target)

        def no_library(name: None) -> None:
            raise TypeError("LoadLibrary() argument 1 must be str, not None")

        monkeypatch.setattr(files, "fcntl", None)
        monkeypatch.setattr("glic_deploy.files.os.replace", replace)
        monkeypatch.setattr("glic_deploy.files.ctypes.CDLL", no_library)
        with atomic_writer(tmp_path / "file") as stream:
            stream.write(b"whole")
        assert closed == [True]
        assert (tmp_path / "file").read_bytes() == b"whole"
        for content in ("one", "two"):
            with atomic_directory(tmp_path / "folder") as folder:
                (folder / content).touch()
        assert os.listdir(tmp_path / "folder") == ["two"]
        assert sorted(os.listdir(tmp_path)) == ["file", "folder"]

    def test_a_directory_that_cannot_take_its_place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "bundle").mkdir()
        (tmp_path / "bundle" / "old").touch()
        rename, calls = os.rename, []

        def second_fails(source: object, target: object) -> None:
            calls.append(target)
            if len(calls) == 2:
                raise OSError(errno.EIO, "failed")
            rename(source, target)

        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
        monkeypatch.setattr("glic_deploy.files.os.rename", second_fails)
        with pytest.raises(OSError, match="failed"), atomic_directory(tmp_path / "bundle") as folder:
            (folder / "new").touch()
        assert os.listdir(tmp_path) == ["bundle"]
        assert os.listdir(tmp_path / "bundle") == ["old"]

    def test_what_a_dead_writer_left_is_swept_and_a_living_one_s_is_not(self, tmp_path: Path) -> None:
        code = (
            "import os, sys; from glic_deploy.files import atomic_writer\n"
            "with atomic_writer(sys.argv[1]) as stream: stream.write(b'half'); stream.flush(); os._exit(1)"
        )
        subprocess.run([sys.executable, "-c", code, tmp_path / "a.glic"], cwd=ROOT, check=False)
        (leftover,) = os.listdir(tmp_path)
        assert leftover.startswith(".a.glic.")
        (tmp_path / ".mine.part").touch()
        with atomic_writer(tmp_path / "b.glic") as stream:
            assert sweep(tmp_path) == 1
            stream.write(b"whole")
        assert sorted(os.listdir(tmp_path)) == [".mine.part", "b.glic"]
        assert sweep(tmp_path / "absent") == 0

    def test_what_a_dead_writer_left_of_a_directory_is_deleted(self, tmp_path: Path) -> None:
        left = tmp_path / ".bundle.glic-0123abcd.part"
        others = [tmp_path / name for name in (".other.glic-0123abcd.part", ".bundle.mine.part")]
        for path in (left, *others):
            path.mkdir()
            (path / "file").write_text("half")
        with atomic_directory(tmp_path / "bundle") as living:
            (living / "file").write_text("whole")
            with atomic_directory(tmp_path / "bundle") as second:
                assert living.exists()
                (second / "file").write_text("first to end")
        assert (tmp_path / "bundle" / "file").read_text() == "whole"
        assert sorted(os.listdir(tmp_path)) == [".bundle.mine.part", ".other.glic-0123abcd.part", "bundle"]

    @pytest.mark.parametrize("can_exchange", [True, False])
    def test_a_directory_takes_the_place_of_another(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
    ) -> None:
        if not can_exchange:
            monkeypatch.setattr(files, "_exchange", lambda one, other: False)
        target = tmp_path / "bundle"
        target.mkdir()
        (target / "old").write_text("")
        with atomic_directory(target) as directory:
            (directory / "new").write_text("")
            assert os.listdir(target) == ["old"]
        assert os.listdir(target) == ["new"]
        assert os.listdir(tmp_path) == ["bundle"]

    def test_a_program_that_ends_leaves_nothing(self, tmp_path: Path) -> None:
        code = (
            "import os, sys; from glic_deploy import files\n"
            "first = files.atomic_writer(sys.argv[1] + '/a'); first.__enter__().write(b'half')\n"
            "folder = files.atomic_directory(sys.argv[1] + '/b'); folder.__enter__()\n"
            "files.abandon()\n"
            "try: files.atomic_write(sys.argv[1] + '/c', b'late')\n"
            "except InterruptedError: os._exit(7)"
        )
        done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, check=False)
        assert done.returncode == 7
        assert not os.listdir(tmp_path)
        assert abandon is not None


def test_limit_of_file_size(tmp_path: Path) -> None:
    """A file that may not grow, as on a full disk: the error is told and the old file stays."""
    atomic_write(tmp_path / "file", b"old")

    def limit() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    code = "import sys; from glic_deploy.files import atomic_write; atomic_write(sys.argv[1], bytes(9999))"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "file"], cwd=ROOT, preexec_fn=limit, capture_output=True, text=True
    )
    assert "File too large" in done.stderr
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]
