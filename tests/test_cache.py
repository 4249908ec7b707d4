"""The cache: private, never another user's, and no reason to fail when it is damaged, full or not there."""

from __future__ import annotations

import errno
import logging
import os
import sys
from pathlib import Path

import pytest

from glic_deploy import cache, conformance
from glic_deploy.cli import exits, main
from glic_deploy.notices import Notices


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLIC_CACHE", str(tmp_path / "cache"))
    cache._instead_of.cache_clear()
    return tmp_path / "cache" / "glic-deploy"


def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows with each conformance check that is really made; `ensure` then needs no bundle and no backend."""
    made: list[str] = []
    monkeypatch.setattr(conformance, "identity", lambda *_: "identity")
    monkeypatch.setattr(conformance, "check", lambda *_: made.append("checked"))
    return made


class Backend:
    def trim(self) -> None:
        pass


def ensure() -> None:
    conformance.ensure(None, Backend())  # type: ignore[arg-type]


def test_private(root: Path) -> None:
    assert cache.directory() == root
    assert root.stat().st_mode & 0o777 == 0o700
    root.chmod(0o777)
    assert cache.directory() == root
    assert root.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("linux", "home/.cache/glic-deploy"),
        ("darwin", "home/Library/Caches/glic-deploy"),
        ("win32", "local/glic-deploy"),
    ],
)
def test_its_place_on_each_system(system: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("GLIC_CACHE", ""), ("XDG_CACHE_HOME", ""), ("HOME", "home"), ("LOCALAPPDATA", "local")):
        monkeypatch.setenv(name, value and str(tmp_path / value))
    monkeypatch.setattr(sys, "platform", system)
    assert cache._place() == tmp_path / expected


@pytest.mark.skipif(os.getuid() != 0, reason="needs to be root to make another user's directory")
def test_another_user_s_is_not_used(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "conformance").mkdir(parents=True)
    (root / "conformance" / "identity").write_bytes(b"passed\n")
    os.chown(root, 12345, -1)
    made = checks(monkeypatch)
    with caplog.at_level(logging.WARNING):
        ensure()
        ensure()
    assert made == ["checked"]
    assert len(caplog.records) == 1
    assert "belongs to the user with the number 12345" in caplog.text
    assert "GLIC_CACHE" in caplog.text
    assert cache.directory() != root
    assert cache.directory().stat().st_mode & 0o777 == 0o700


def test_a_file_in_its_place(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    root.parent.mkdir()
    root.write_text("no directory")
    made = checks(monkeypatch)
    ensure()
    assert made == ["checked"]
    assert root.read_text() == "no directory"
    cache._instead_of.cache_clear()
    monkeypatch.setattr(cache, "PROCESS", Notices())  # as in another process
    assert main(["doctor", "--clear-cache"]) in (exits.OK, exits.BAD_ENGINE)
    assert "glic doctor: warning: the cache" in capsys.readouterr().err


def test_no_place_at_all(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIC_CACHE", "/proc/nothing")
    made = checks(monkeypatch)
    ensure()
    ensure()
    assert made == ["checked"] * 2
    root.parent.mkdir()
    root.write_text("no directory")
    monkeypatch.setenv("GLIC_CACHE", str(root.parent))

    def full(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("glic_deploy.cache.tempfile.mkdtemp", full)
    ensure()
    assert len(made) == 3


def test_damaged(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = checks(monkeypatch)
    (cache.directory() / "conformance").mkdir()
    (root / "conformance" / "identity").symlink_to("nowhere")
    ensure()
    assert made == ["checked"]
    cache.clear()
    (root / "conformance").write_text("no directory")
    ensure()
    assert made == ["checked"] * 2


def test_clear_and_prune(root: Path, tmp_path: Path) -> None:
    (cache.directory() / "openvino").mkdir()
    for number in range(3):
        (root / "openvino" / f"{number}.blob").write_bytes(bytes(100))
        os.utime(root / "openvino" / f"{number}.blob", (number, number))
    cache.prune(root / "openvino", 250)
    assert sorted(os.listdir(root / "openvino")) == ["1.blob", "2.blob"]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "photo").touch()
    (root / "plans").symlink_to(mine)
    (root / "precision").write_text("no directory")
    (root / "notes").write_text("of the user")
    assert cache.clear() == 200
    assert sorted(os.listdir(root)) == [cache.MARKER, "notes"]
    assert os.listdir(mine) == ["photo"]
    assert cache.directory() == root


def snapshot(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mode for path in [folder, *folder.rglob("*")]}


@pytest.mark.parametrize("mark", [None, b"", b"Signature: 8a477f597d28d172789f06886806bc55\n# of another program\n"])
def test_a_directory_of_others_is_not_touched(
    root: Path, mark: bytes | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cache, "PROCESS", Notices())
    (root / "openvino").mkdir(parents=True)
    (root / "openvino" / "README.md").write_text("not a compiled model")
    if mark is not None:
        (root / cache.MARKER).write_bytes(mark)
    root.chmod(0o755)
    before = snapshot(root)
    with caplog.at_level(logging.WARNING):
        assert cache.directory() != root
    assert f"contains files but not the {cache.MARKER}" in caplog.text
    cache.store("openvino/model", b"1")
    assert cache.fetch("openvino/model") == b"1"
    assert cache.clear() == 1
    assert snapshot(root) == before


def test_a_symbolic_link_is_not_followed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cache, "PROCESS", Notices())
    target = tmp_path / "target"
    (target / "plans").mkdir(parents=True)
    (target / cache.MARKER).write_bytes(cache._MARK)
    target.chmod(0o755)
    before = snapshot(target)
    root.parent.mkdir()
    root.symlink_to(target)
    assert main(["doctor", "--clear-cache"]) in (exits.OK, exits.BAD_ENGINE)
    assert "is a symbolic link and is not used" in capsys.readouterr().err
    cache.store("plans/one", b"1")
    assert snapshot(target) == before


@pytest.mark.parametrize("written", [None, 0, 20])
def test_an_empty_directory_becomes_the_cache(root: Path, written: int | None) -> None:
    root.mkdir(parents=True)
    if written is not None:  # another process is writing the marker
        (root / cache.MARKER).write_bytes(cache._MARK[:written])
    assert cache.directory() == root
    assert (root / cache.MARKER).read_bytes() == cache._MARK
    cache.store("precision/one", b"1")
    assert cache.directory() == root
    assert cache.fetch("precision/one") == b"1"


def test_a_directory_without_room_for_the_marker_stays_empty(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr("glic_deploy.cache.os.write", full)
        assert cache.directory() != root
        cache.store("precision/one", b"1")
    assert cache.directory() == root
    assert os.listdir(root) == [cache.MARKER]


@pytest.mark.parametrize("special", ["pipe", "link to a pipe", "device"])
def test_a_marker_that_is_no_file_is_not_read(root: Path, tmp_path: Path, special: str) -> None:
    root.mkdir(parents=True)
    make_special(root / cache.MARKER, special)
    assert cache.directory() != root


@pytest.mark.parametrize("special", ["pipe", "link to a pipe", "device"])
def test_an_entry_that_is_no_file_is_not_read(root: Path, special: str) -> None:
    (cache.directory() / "plans").mkdir()
    make_special(root / "plans" / "one", special)
    assert cache.fetch("plans/one") is None
    cache.store("plans/one", b"1")
    assert cache.fetch("plans/one") == b"1"


def make_special(path: Path, kind: str) -> None:
    if kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        os.mkfifo(path.with_name("pipe"))
        path.symlink_to("pipe")


def test_an_entry_beyond_all_sizes_is_not_read(root: Path) -> None:
    cache.store("plans/one", b"1")
    os.truncate(root / "plans" / "one", cache._LARGEST + 1)
    assert cache.fetch("plans/one") is None


def test_a_flipped_bit_breaks_the_seal() -> None:
    data = bytes(range(100))
    stored = cache.sealed(data)
    assert cache.unsealed(stored) == data
    assert cache.unsealed(None) is None
    for position in range(len(stored)):
        damaged = bytearray(stored)
        damaged[position] ^= 1 << position % 8
        assert cache.unsealed(bytes(damaged)) is None
        assert cache.unsealed(stored[:position]) is None
