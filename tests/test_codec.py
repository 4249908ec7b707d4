"""The codec end to end on the small trained network: pictures to files and back, and every way it can go wrong."""

from __future__ import annotations

import dataclasses
import io
import mmap
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glic_deploy import (
    BitstreamError,
    Codec,
    EngineError,
    GlicError,
    ImageError,
    LimitError,
    Limits,
    ModelMismatchError,
    arguments,
    bundle_codec,
    container,
)
from glic_deploy.bundle import Bundle
from glic_deploy.checksum import crc32c
from glic_deploy.coded import read_coded
from glic_deploy.entropy import passes
from glic_deploy.entropy.rans import Encoder
from glic_deploy.image import load_image, pad

from .conftest import PHOTOS, large_data


@pytest.fixture(scope="module")
def codec(engine: Path) -> Iterator[Codec]:
    with Codec(engine, threads=2) as codec:
        yield codec


@pytest.fixture(scope="module")
def crop() -> np.ndarray:
    return load_image(PHOTOS / "kodim23.png")[100:300, 200:450]


@pytest.fixture(scope="module")
def crop_file(codec: Codec, crop: np.ndarray) -> bytes:
    return codec.encode(crop)


def test_only_effort_waits_for_what_symbols_cost(
    engine: Path, crop: np.ndarray, crop_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def costs(tables: object) -> None:
        raise AssertionError("the costs of symbols were computed")

    monkeypatch.setattr(bundle_codec, "Costs", costs)
    with Codec(engine, threads=2) as codec:
        assert codec.encode(crop, effort=0) == crop_file
        assert codec.decode(crop_file).shape == crop.shape


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2)))


def test_a_photograph_survives(codec: Codec) -> None:
    picture = load_image(PHOTOS / "kodim23.png")
    data = codec.encode(PHOTOS / "kodim23.png")
    decoded = codec.decode(data)
    assert decoded.shape == picture.shape
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    assert len(data) * 8 / (768 * 512) < 0.275  # as the network was trained to
    assert psnr(picture, decoded) > 32.4


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1023, 37), (37, 129), (128, 128)])
def test_every_size_comes_back(codec: Codec, height: int, width: int) -> None:
    rows, columns = np.mgrid[:height, :width]
    picture = np.stack([rows % 256, columns % 256, (rows + columns) % 256], axis=-1).astype(np.uint8)
    decoded = codec.decode(codec.encode(picture))
    assert decoded.shape == picture.shape


def test_strides_and_read_only_arrays(codec: Codec, crop: np.ndarray, crop_file: bytes) -> None:
    frozen = crop.copy()
    frozen.flags.writeable = False
    assert codec.encode(frozen) == crop_file
    assert codec.encode(np.asfortranarray(crop)) == crop_file
    assert codec.encode(np.repeat(crop, 2, axis=1)[:, ::2]) == crop_file
    assert codec.encode(crop[::-1][::-1]) == crop_file


def test_buffers_of_any_kind_decode(codec: Codec, crop_file: bytes) -> None:
    expected = codec.decode(crop_file)
    for data in (bytearray(crop_file), memoryview(b"xx" + crop_file)[2:]):
        np.testing.assert_array_equal(codec.decode(data), expected)


def forms(data: bytes, path: Path) -> dict[str, Any]:
    """The same bytes, an even number of them, in everything that `decode` takes."""
    path.write_bytes(data)
    array = np.frombuffer(data, np.uint8)
    gaps = np.zeros((len(data), 2), np.uint8)
    gaps[:, 0] = array
    with open(path, "rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    return {
        "path": path,
        "name of a path": str(path),
        "open file": open(path, "rb"),
        "file in memory": io.BytesIO(data),
        "mapped file": mapped,
        "array": array,
        "two dimensions": memoryview(array.reshape(2, -1)),
        "strided view": memoryview(gaps[:, 0]),
        "strided array": gaps[:, :1],
        "16-bit view": memoryview(array.view(np.uint16)),
        "big-endian view": array.view(">u2"),
        "strided 16-bit view": memoryview(gaps.reshape(-1, 4)[:, ::2].copy().view(np.uint16)),
    }


def test_whatever_holds_a_file_gives_its_bytes(tmp_path: Path) -> None:
    data = bytes(range(256))
    for form, source in forms(data, tmp_path / "a.glic").items():
        assert read_coded(source, Limits()) == data, form
    for empty in (b"", np.zeros((0, 3), np.uint8), io.BytesIO()):
        assert read_coded(empty, Limits()) == b""  # type: ignore[arg-type]
    view = memoryview(data)
    assert np.shares_memory(read_coded(view, Limits()), view)


def test_whether_a_file_is_tiled_is_read_from_its_bytes(tmp_path: Path) -> None:
    """The flags are the upper half of a 16-bit element."""
    for tiled in (False, True):
        header = container.Header(300, 260, True, tiled, bytes(4), bytes(4))
        data = container.pack(header, bytes(range(9)), 0)
        data += bytes(len(data) % 2)
        for form, source in forms(data, tmp_path / "a.glic").items():
            if isinstance(source, (memoryview, np.ndarray)):
                assert container.is_tiled(source) == tiled, form  # type: ignore[arg-type]


def test_paths_and_files_decode(codec: Codec, crop: np.ndarray, crop_file: bytes, tmp_path: Path) -> None:
    expected = codec.decode(crop_file)
    path = tmp_path / "a.glic"
    path.write_bytes(crop_file)
    np.testing.assert_array_equal(codec.decode(str(path)), expected)
    np.testing.assert_array_equal(codec.decode_strips(path).gather(), expected)
    stream = io.BytesIO(b"front" + crop_file)
    stream.seek(5)  # it is read from where it stands
    np.testing.assert_array_equal(codec.decode(stream), expected)
    tiled = codec.encode(crop[:40].repeat(2, axis=1)[:, :300], tile=256)
    path.write_bytes(tiled)
    with open(path, "rb") as file:
        pictures = list(codec.decode_many([file, path, memoryview(np.repeat(np.frombuffer(tiled, "u1"), 2))[::2]]))
    for picture in pictures:
        np.testing.assert_array_equal(picture, codec.decode(tiled))


def test_what_holds_no_file_is_refused_in_words(codec: Codec, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("GLIC")
    released = memoryview(b"GLIC")
    released.release()
    with open(tmp_path / "a.txt") as text:
        for source, words in (
            (None, "got a NoneType, expected the bytes"),
            (5, "got a int"),
            ([1, 2], "got a list"),
            (released, "got a memoryview"),
            (text, "mode 'rb'"),
            ("a\0b", "cannot be the path"),
        ):
            for decode in (codec.decode, codec.decode_strips):
                with pytest.raises(BitstreamError, match=words):
                    decode(source)  # type: ignore[operator]
    with pytest.raises(FileNotFoundError, match=r"absent\.glic"):
        codec.decode(tmp_path / "absent.glic")
    with pytest.raises(IsADirectoryError):
        codec.decode(tmp_path)


def test_files_are_read_no_further_than_the_limits_allow(tmp_path: Path) -> None:
    huge = tmp_path / "huge.glic"
    with open(huge, "wb") as stream:
        stream.truncate(1 << 40)
    with open(huge, "rb") as stream, open("/dev/zero", "rb") as endless:
        for source in (huge, stream, endless):
            with pytest.raises(LimitError, match="max-pixels"):
                read_coded(source, Limits(max_pixels=1 << 16, max_side=1 << 8))


def test_threads_share_a_codec(codec: Codec, crop: np.ndarray, crop_file: bytes) -> None:
    with ThreadPoolExecutor(4) as pool:
        files = list(pool.map(codec.encode, [crop] * 6))
        pictures = list(pool.map(codec.decode, files))
    assert all(data == crop_file for data in files)
    assert all((picture == pictures[0]).all() for picture in pictures)


def test_the_interpreter_runs_on_while_a_codec_works(codec: Codec, crop: np.ndarray) -> None:
    ticks, done = [0], threading.Event()

    def count() -> None:
        while not done.wait(0.001):
            ticks[0] += 1

    counter = threading.Thread(target=count)
    counter.start()
    codec.decode(codec.encode(crop))
    done.set()
    counter.join()
    assert ticks[0] > 10


def test_stages_add_up(codec: Codec, crop: np.ndarray) -> None:
    encoding: dict[str, float] = {}
    decoding: dict[str, float] = {}
    codec.decode(codec.encode(crop, stages=encoding), stages=decoding)
    assert {"read", "pad", "analysis", "hyper_analysis", "hyper_synthesis", "range coder"} < set(encoding)
    assert {"synthesis", "range coder", "crop"} < set(decoding)
    assert all(seconds >= 0 for seconds in [*encoding.values(), *decoding.values()])


class Recorder(Encoder):
    """A range coder that also keeps what it was given."""

    passes: list[tuple] = []  # noqa: RUF012

    def push(self, tables, symbols, indexes) -> None:  # type: ignore[no-untyped-def]
        Recorder.passes.append((tables, symbols.copy(), indexes.copy()))
        super().push(tables, symbols, indexes)


@pytest.mark.slow
def test_kodak(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file decodes to its encoder's symbols (its checksum says so) and is hardly longer than they must be."""
    monkeypatch.setattr("glic_deploy.bundle_codec.Encoder", Recorder)
    rates, qualities = [], []
    for path in sorted(large_data("data/kodak").glob("*.png")):
        Recorder.passes = []
        picture = load_image(path)
        data = codec.encode(picture)
        qualities.append(psnr(picture, codec.decode(data)))
        ideal = sum(tables.ideal_bits(symbols, indexes) for tables, symbols, indexes in Recorder.passes) / 8
        assert len(data) <= 1.005 * ideal + 32
        rates.append(8 * len(data) / picture.size * 3)
    assert len(rates) == 24
    assert np.mean(rates) < 0.410
    assert np.mean(qualities) > 29.0


def test_file_is_hardly_longer_than_its_symbols_must_be(
    codec: Codec, crop: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glic_deploy.bundle_codec.Encoder", Recorder)
    Recorder.passes = []
    data = codec.encode(crop)
    ideal = sum(tables.ideal_bits(symbols, indexes) for tables, symbols, indexes in Recorder.passes) / 8
    assert ideal <= len(data) <= 1.005 * ideal + 32


@pytest.fixture(scope="module")
def small_file(codec: Codec, crop: np.ndarray) -> bytes:
    return codec.encode(crop[:60, :60])


def test_every_cut_is_refused(codec: Codec, small_file: bytes) -> None:
    for length in range(len(small_file)):
        with pytest.raises(GlicError):
            codec.decode(small_file[:length])


def test_every_flipped_bit_is_refused(codec: Codec, small_file: bytes) -> None:
    for position in range(8 * len(small_file)):
        altered = bytearray(small_file)
        altered[position // 8] ^= 1 << position % 8
        with pytest.raises(GlicError):
            codec.decode(altered)


def resealed(data: bytes) -> bytes:
    """The bytes with a checksum that fits them: what an attacker sends."""
    return data[:-4] + struct.pack("<I", crc32c(data[:-4]))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_damaged_payloads_under_a_valid_checksum_are_refused(
    codec: Codec, small_file: bytes, data: st.DataObject
) -> None:
    payload = container.parse(small_file).payload
    start = small_file.index(bytes(payload))
    altered = bytearray(small_file)
    positions = st.integers(start, start + len(payload) - 1)
    for position in data.draw(st.sets(positions, min_size=1, max_size=4)):
        altered[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BitstreamError):
        codec.decode(resealed(bytes(altered)))


@pytest.mark.parametrize("payload", [b"", b"\0", b"\xff" * 5000, bytes(range(256)) * 30])
def test_invented_payloads_are_refused(codec: Codec, small_file: bytes, payload: bytes) -> None:
    header = container.parse(small_file).header
    with pytest.raises(BitstreamError):
        codec.decode(container.pack(header, payload, 0))


def test_another_size_under_a_valid_checksum_is_refused(codec: Codec, small_file: bytes) -> None:
    file = container.parse(small_file)
    wider = dataclasses.replace(file.header, width=file.header.width + 128)
    with pytest.raises(BitstreamError):
        codec.decode(container.pack(wider, file.payload, file.symbol_checksum))


def test_absurd_sizes_are_refused_at_once(codec: Codec, small_file: bytes) -> None:
    header = dataclasses.replace(container.parse(small_file).header, width=2**31, height=2**31)
    with pytest.raises(LimitError):
        codec.decode(container.pack(header, b"", 0))


def test_limits_hold_both_ways(engine: Path, crop: np.ndarray, crop_file: bytes) -> None:
    with Codec(engine, limits=Limits(max_pixels=crop.shape[0] * crop.shape[1] - 1)) as strict:
        with pytest.raises(LimitError):
            strict.encode(crop)
        with pytest.raises(LimitError):
            strict.decode(crop_file)


def test_memory_limits_what_is_decoded_at_once(engine: Path, crop_file: bytes) -> None:
    fixed = Bundle.open(engine).memory.needed(0, 0)
    with (
        Codec(engine, limits=Limits(max_memory=fixed)) as strict,
        pytest.raises(LimitError, match=r"takes up to 0\.3 GiB .*--max-memory 1G"),
    ):
        strict.decode(crop_file)


def test_files_of_another_model_or_arithmetic_are_refused(codec: Codec, crop_file: bytes) -> None:
    file = container.parse(crop_file)
    for field in ("model_fingerprint", "arithmetic_fingerprint"):
        header = dataclasses.replace(file.header, **{field: b"\1\2\3\4"})
        with pytest.raises(ModelMismatchError, match="01020304"):
            codec.decode(container.pack(header, file.payload, file.symbol_checksum))
    other_profile = dataclasses.replace(file.header, exact=not file.header.exact)
    with pytest.raises(ModelMismatchError):
        codec.decode(container.pack(other_profile, file.payload, file.symbol_checksum))


def test_wrong_symbols_are_found_out(codec: Codec, crop_file: bytes) -> None:
    file = container.parse(crop_file)
    with pytest.raises(BitstreamError, match="checksums differ"):
        codec.decode(container.pack(file.header, file.payload, file.symbol_checksum ^ 1))


def test_a_closed_codec_says_so(engine: Path, crop: np.ndarray) -> None:
    codec = Codec(engine)
    codec.close()
    codec.close()
    with pytest.raises(EngineError, match="closed"):
        codec.encode(crop)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threads": 0}, "threads is 0, expected an integer from 1 to"),
        ({"threads": "x"}, "threads is 'x', expected an integer"),
        ({"threads": 1.5}, r"threads is 1\.5"),
        ({"threads": True}, "threads is True"),
        ({"threads": 5000}, "threads is 5000, expected .*four times the cores"),
        ({"threads": 10**6}, "threads is 1000000"),
        ({"keep": 0}, "keep is 0, expected an integer of at least 1"),
        ({"keep": "x"}, "keep is 'x'"),
        ({"keep": None}, "keep is None"),
        ({"backend": 5}, "backend is 5, expected the name of a backend"),
        ({"precision": np.array(["fp32", "bf16"])}, "precision is array"),
        ({"precision": "fp8"}, "precision is 'fp8', expected fp32, bf16, fp16 or None"),
        ({"limits": 5}, r"limits is 5, expected glic_deploy\.Limits"),
    ],
)
def test_bad_options_are_refused_before_the_engine_is_opened(options: dict, words: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=words):
        Codec(tmp_path / "absent", **options)


def test_views_are_not_copied_beyond_the_limits(codec: Codec) -> None:
    huge: Any = np.broadcast_to(np.uint8(1), (1 << 40, 1, 3))
    with pytest.raises(LimitError, match="the data: more than"):
        codec.decode(huge)
    with pytest.raises(LimitError, match="the data: more than"):
        read_coded(bytes(5000), Limits(max_pixels=1, max_side=1, max_payload_bpp=1, max_metadata=1))


class Text:
    """A stream that returns text."""

    def read(self, size: int = -1) -> str:
        return "text"


@pytest.mark.parametrize(
    "name",
    ["stages", "passes", "damaged", "progress"],
)
def test_what_cannot_receive_is_refused_before_the_file_is_read(codec: Codec, name: str) -> None:
    wrong: dict[str, Any] = {name: 5}
    for decode in (codec.decode, codec.decode_strips):
        with pytest.raises(EngineError, match=f"{name} is 5, expected a "):
            decode("absent.glic", **wrong)


def test_what_is_no_file_is_refused(codec: Codec) -> None:
    wrong: Any
    for wrong in (FalsePath(), "", Text()):
        with pytest.raises(BitstreamError, match="expected"):
            codec.decode(wrong)
    for wrong in (FalsePath(), "", Text()):
        with pytest.raises(ImageError):
            codec.encode(wrong)


class FalsePath:
    """A path whose text is a number."""

    def __fspath__(self) -> Any:
        return 5


def test_what_is_no_engine_is_refused(engine: Path) -> None:
    with pytest.raises(EngineError, match="engine is None, expected the directory"):
        Codec(None)  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="engine is '', expected the directory"):
        Codec("")
    with pytest.raises(EngineError, match=r"engine is <.*>, expected the directory"):
        Codec(FalsePath())
    for name in ("x" * 5000, "a\0b"):
        with pytest.raises(EngineError, match="cannot be read"):
            Codec(name)
    with pytest.raises(EngineError, match="no backend is called 'abacus'"):
        Codec(engine, backend="abacus")


@pytest.mark.parametrize("cores", [1, 2, 8, 96])
def test_the_most_threads_follow_the_cores(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glic_deploy.machine.cores", lambda: cores)
    most = max(16, 4 * cores)
    assert arguments.thread_count("threads", np.int64(most)) == most
    with pytest.raises(EngineError, match=f"from 1 to {most} "):
        arguments.thread_count("threads", most + 1)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"quality": "x"}, EngineError, "quality is 'x', expected a number from 1"),
        ({"quality": 0}, EngineError, "quality is 0, expected a number from 1"),
        ({"quality": 2}, EngineError, "quality is 2, .* has one bundle"),
        ({"quality": 1.5}, EngineError, r"quality is 1\.5, .* has one bundle"),
        ({"target_bytes": 10.5}, EngineError, r"target_bytes is 10\.5"),
        ({"effort": 3}, EngineError, "effort is 3, expected 0"),
        ({"quality": 1, "target_bpp": 1.0}, EngineError, "got quality and target_bpp"),
        ({"target_bpp": "x"}, EngineError, "target_bpp is 'x', expected a number above 0"),
        ({"target_bpp": float("nan")}, EngineError, "target_bpp is nan"),
        ({"target_bpp": -0.5}, EngineError, r"target_bpp is -0\.5"),
        ({"target_bpp": [1]}, EngineError, r"target_bpp is \[1\]"),
        ({"target_psnr": float("nan")}, EngineError, "target_psnr is nan"),
        ({"target_psnr": 0}, EngineError, "target_psnr is 0"),
        ({"target_psnr": 10**400}, EngineError, "target_psnr is 1000.*expected a number that fits a float"),
        ({"stages": 5}, EngineError, "stages is 5, expected a dictionary"),
        ({"progress": 5}, EngineError, "progress is 5, expected a function"),
        ({"target_psnr": True}, EngineError, "target_psnr is True"),
        ({"tile": "x"}, ImageError, "tile is 'x', expected a multiple of 128"),
        ({"tile": 256.0}, ImageError, r"tile is 256\.0"),
        ({"tile": -128}, ImageError, "tile is -128"),
        ({"background": 5}, ImageError, "background is 5, expected three integers"),
        ({"background": "red"}, ImageError, "background is 'red'"),
    ],
)
def test_wrong_arguments_of_encode_are_refused_before_the_image_is_read(
    codec: Codec, options: dict, error: type[GlicError], words: str
) -> None:
    with pytest.raises(error, match=words):
        codec.encode("absent.png", **options)
    with pytest.raises(error, match=words):
        codec.encode_many(["absent.png"], **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"region": "a"}, "region is 'a', expected four integers"),
        ({"region": "abcd"}, "a number of the region is 'a'"),
        ({"region": 5}, "region is 5"),
        ({"region": (0, 0, 5)}, r"region is \(0, 0, 5\)"),
        ({"region": (0, 0, 5.0, 5)}, r"a number of the region is 5\.0"),
        ({"on_error": "bogus"}, "on_error is 'bogus', expected 'raise' or 'fill'"),
        ({"on_error": None}, "on_error is None"),
    ],
)
def test_wrong_arguments_of_decode_are_refused_before_the_file_is_read(codec: Codec, options: dict, words: str) -> None:
    for decode in (codec.decode, codec.decode_strips):
        with pytest.raises(ImageError, match=words):
            decode("absent.glic", **options)


def test_a_region_may_be_any_sequence_of_integers(codec: Codec, crop_file: bytes) -> None:
    expected = codec.decode(crop_file)[2:7, 1:5]
    for region in ([1, 2, 4, 5], np.array([1, 2, 4, 5], np.uint8)):
        np.testing.assert_array_equal(codec.decode(crop_file, region=region), expected)  # type: ignore[arg-type]


def test_without_a_backend_the_codec_says_what_to_install(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glic_deploy.backends.declarations.importlib.util.find_spec", lambda name: None)
    with pytest.raises(EngineError, match="pip install"):
        Codec(engine)
    with pytest.raises(EngineError, match="pip install"):
        Codec(engine, backend="onnxruntime")


def test_a_bundle_with_a_damaged_graph_does_not_run(engine: Path, tmp_path: Path, crop: np.ndarray) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(engine, copy)
    for path in copy.glob("graphs/analysis.*"):
        path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(EngineError, match="SHA-256"), Codec(copy) as codec:
        codec.encode(crop)


def test_packing_is_inverse_to_unpacking() -> None:
    y = np.arange(2 * 4 * 6, dtype=np.float32).reshape(1, 2, 4, 6)
    rebuilt = np.zeros_like(y)
    for parity in (0, 1):
        packed = passes.pack(y, parity)
        assert packed.shape == (1, 2, 4, 3)
        passes.unpack_into(rebuilt, packed, parity)
    np.testing.assert_array_equal(rebuilt, y)
    assert passes.pack(y, 0)[0, 0, :2].tolist() == [[0, 2, 4], [7, 9, 11]]


def test_quantising_rounds_half_to_even_and_clamps() -> None:
    y = np.array([0.5, 1.5, 2.5, -0.5, 5000, -5000], np.float32)
    assert passes.quantize(y, np.zeros_like(y)).tolist() == [0, 2, 2, 0, 2047, -2047]


def test_padding_repeats_the_edge(codec: Codec, crop: np.ndarray) -> None:
    """What lies beyond the picture is replication, so that a picture padded by its owner codes to the same latents."""
    padded = pad(crop)
    ours, theirs = container.parse(codec.encode(crop)), container.parse(codec.encode(padded))
    assert bytes(ours.payload) == bytes(theirs.payload)


def test_import_is_thin() -> None:
    probe = "import sys; from glic_deploy import Codec; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True).stdout
    assert not {"torch", "onnxruntime", "compressai", "tensorrt"} & set(answer.split())
