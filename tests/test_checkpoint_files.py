"""Checkpoint files: damaged, hostile and foreign ones are refused at once, with a reason, and never run."""

from __future__ import annotations

import json
import os
import pickle
import random
import struct
import time
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from export.assembly import model_fingerprint
from export.checkpoint import Checkpoint, load_checkpoint
from glic_deploy.errors import CheckpointError

from .conftest import SAMPLE_CHECKPOINT
from .test_checkpoint import SAMPLE_FINGERPRINT, fork


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    """No file here may take long, print advice, or warn."""
    start = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    assert time.monotonic() - start < 60


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert "weights_only" not in message
    assert message.isprintable()
    assert len(message) < 1000
    return message


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_pickled_code_is_never_run(save, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path, trace = tmp_path / "c.pth", tmp_path / "ran"
    save({"state_dict": Bomb(trace)}, path)
    assert "nothing in it was run" in refusal(path)
    assert not trace.exists()


def test_what_a_pickle_asks_for_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    torch.save({"state_dict": {}, "path": Path("x")}, path)
    assert "it asks for pathlib." in refusal(path)


@pytest.mark.parametrize("length", [0, 1, 100, 4096, 1_000_000, -1000, -1])
def test_cut_files_are_refused(length: int, tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    path.write_bytes(SAMPLE_CHECKPOINT.read_bytes()[:length])
    refusal(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    path.write_bytes(os.urandom(5000))
    refusal(path)
    path.write_text("<html>Not found</html>")
    refusal(path)
    path.write_bytes(b"")
    assert "is empty; download the file again" in refusal(path)
    assert "no such file" in refusal(tmp_path / "absent.pth")
    assert "is a directory, expected a file" in refusal(tmp_path)
    refusal(path / "below.pth")
    refusal(tmp_path / ("x" * 5000))
    refusal(Path("nul\0byte"))


def test_devices_and_pipes_are_not_read(tmp_path: Path) -> None:
    endless, pipe = tmp_path / "zero.pth", tmp_path / "pipe.pth"
    endless.symlink_to("/dev/zero")
    os.mkfifo(pipe)
    for path in (endless, pipe):
        assert "is a device, pipe or socket, expected a file" in refusal(path)
    pipe.unlink()
    pipe.symlink_to(pipe)
    refusal(pipe)


def test_flipped_bits_among_the_values_are_found(tmp_path: Path) -> None:
    path, data = tmp_path / "c.pth", SAMPLE_CHECKPOINT.read_bytes()
    with zipfile.ZipFile(SAMPLE_CHECKPOINT) as archive:
        members = [m for m in archive.infolist() if "/data/" in m.filename and m.file_size > 1000]
    rng = random.Random(0)
    for member in rng.sample(members, 8):
        damaged = bytearray(data)
        damaged[member.header_offset + 200 + rng.randrange(700)] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        assert "download the file again" in refusal(path)


def test_flipped_bits_anywhere_never_give_another_model(tmp_path: Path) -> None:
    path, data, rng = tmp_path / "c.pth", SAMPLE_CHECKPOINT.read_bytes(), random.Random(1)
    with zipfile.ZipFile(SAMPLE_CHECKPOINT) as archive:
        directory = archive.start_dir
    for _ in range(12):
        damaged = bytearray(data)
        for _ in range(5):
            damaged[rng.randrange(rng.choice([directory, len(data)]))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            loaded = load_checkpoint(path)
        except CheckpointError:
            continue
        assert model_fingerprint(loaded) == SAMPLE_FINGERPRINT  # only padding was hit


def test_files_without_checksums_load(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(checkpoint.state, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert model_fingerprint(load_checkpoint(path)) == SAMPLE_FINGERPRINT
    torch.save(checkpoint.state, path, _use_new_zipfile_serialization=False)
    assert model_fingerprint(load_checkpoint(path)) == SAMPLE_FINGERPRINT


def rewritten(source: Path, target: Path, change=lambda data: data, compression: int = zipfile.ZIP_STORED) -> None:  # type: ignore[no-untyped-def]
    """A copy of a ZIP archive with another pickle in it, its checksums right."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, change(old.read(name)) if name.endswith("data.pkl") else old.read(name))


def test_a_storage_cannot_be_larger_than_its_member(tmp_path: Path) -> None:
    source, path = tmp_path / "small.pth", tmp_path / "c.pth"
    torch.save({"x": torch.arange(8.0)}, source)
    eight, many = b"K\x08", b"J" + (100_000_000).to_bytes(4, "little")
    rewritten(source, path, lambda data: data.replace(eight, many))
    refusal(path)


def test_archives_that_inflate_are_refused(tmp_path: Path) -> None:
    source, path = tmp_path / "small.pth", tmp_path / "c.pth"
    torch.save({"x": torch.zeros(100_000)}, source)
    rewritten(source, path, compression=zipfile.ZIP_DEFLATED)
    assert "is a compressed archive, expected what torch.save writes" in refusal(path)


def test_torchscript_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("c/constants.pkl", pickle.dumps((), 2))
    assert "is a TorchScript program" in refusal(path)


def test_small_files_cannot_claim_large_tensors(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    torch.save(checkpoint.state | {"g_a.down0.bias": torch.zeros(1).expand(10**6, 10**6)}, path)
    assert "g_a.down0.bias is [1000000, 1000000], expected [24]" in refusal(path)
    shared = torch.zeros(1 << 20)
    torch.save({f"layer.{i}.weight": shared.view(1 << 10, 1 << 10) for i in range(9)}, path)
    assert "its tensors overlap" in refusal(path)


def test_a_pickle_that_asks_for_much_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    path.write_bytes(b"\x80\x02c__builtin__\nbytearray\n\x8a\x08" + (1 << 62).to_bytes(8, "little") + b"\x85R.")
    refusal(path)


def test_keys_that_are_no_names_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "c.pth"
    torch.save({1: torch.zeros(1), (1, 2): 3, "\x1b[31m" + "x" * 500: 4}, path)
    assert "found keys <int>, <tuple>, ?[31mxxx" in refusal(path)


def write_safetensors(path: Path, header: bytes | dict[str, object], data: bytes = bytes(16), length: int = -1) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length < 0 else length) + text + data)


def entry(dtype: str = "F32", shape: tuple[int, ...] = (4,), offsets: tuple[int, int] = (0, 16)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize("name", ["c.safetensors", "c.pth"])
@pytest.mark.parametrize("form", [dict, fork])
def test_safetensors_are_the_same_model(name: str, form, checkpoint: Checkpoint, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    save_file = pytest.importorskip("safetensors.torch", reason="needs safetensors").save_file
    path = tmp_path / name
    save_file(form(checkpoint.state), path)
    assert model_fingerprint(load_checkpoint(path)) == SAMPLE_FINGERPRINT


@pytest.mark.parametrize(
    ("header", "length"),
    [
        ({"a": entry()}, 2**63),
        ({"a": entry()}, 2**27),
        ({"a": entry(), "b": entry()}, -1),
        ({"a": entry(offsets=(0, 1 << 40))}, -1),
        ({"a": entry(shape=(1 << 62, 1 << 62))}, -1),
        ({"a": entry(dtype="X\n\x1b")}, -1),
        (b"{" * 100_000, -1),
        (b"{}", -1),
        (b"", -1),
    ],
)
def test_hostile_safetensors_are_refused(header: bytes | dict[str, object], length: int, tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="needs safetensors")
    path = tmp_path / "c.safetensors"
    write_safetensors(path, header, b"" if header == b"{}" else bytes(16), length)
    refusal(path)


def test_safetensors_of_other_types_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.torch", reason="needs safetensors").save_file
    path = tmp_path / "c.safetensors"
    state: dict[str, Tensor] = checkpoint.state | {"g_a.down0.bias": torch.zeros(24, dtype=torch.float8_e5m2)}
    save_file(state, path)
    assert "g_a.down0.bias is float8_e5m2" in refusal(path)
    path.write_bytes(path.read_bytes()[:-1])
    assert "download the file again" in refusal(path)
