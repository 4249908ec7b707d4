"""The cache: private, never another user's, and no reason to fail when it is damaged, full or not there."""

from __future__ import annotations

import errno
import logging
import os
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
    (root / "conformance").mkdir(parents=True)
    (root / "conformance" / "identity").symlink_to("nowhere")
    ensure()
    assert made == ["checked"]
    cache.clear()
    (root / "conformance").write_text("no directory")
    ensure()
    assert made == ["checked"] * 2


def test_clear_and_prune(root: Path, tmp_path: Path) -> None:
    (root / "openvino").mkdir(parents=True)
    for number in range(3):
        (root / "openvino" / f"{number}.blob").write_bytes(bytes(100))
        os.utime(root / "openvino" / f"{number}.blob", (number, number))
    cache.prune(root / "openvino", 250)
    assert sorted(os.listdir(root / "openvino")) == ["1.blob", "2.blob"]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "photo").touch()
    (root / "link").symlink_to(mine)
    assert cache.clear() == 200
    assert os.listdir(root) == []
    assert os.listdir(mine) == ["photo"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    root.rmdir()
    root.symlink_to(elsewhere)
    (elsewhere / "entry").write_bytes(b"1")
    assert cache.clear() == 1
