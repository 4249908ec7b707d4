"""Pillow opens and saves `.glic` files, and arrays of other libraries go in and out without a copy."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import NumpyVersion
from PIL import Image, UnidentifiedImageError

from glic_deploy import Codec, EngineError, ImageError, Limits, container, pillow
from glic_deploy.arrays import to_numpy
from glic_deploy.image import load_image

from .conftest import PHOTOS
from .test_qualities import add_bundle


@pytest.fixture(scope="module")
def codec(engine: Path) -> Iterator[Codec]:
    with Codec(engine, threads=1) as codec:
        yield codec


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return load_image(PHOTOS / "kodim23.png")[100:220, 200:400]


@pytest.fixture(scope="module")
def data(codec: Codec, picture: np.ndarray) -> bytes:
    return codec.encode(picture)


@pytest.fixture(autouse=True)
def registered(codec: Codec, pillow_as_it_is: None) -> None:
    """Register the plugin for one test."""
    pillow.register(codec)


@pytest.fixture
def file(data: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "a.glic"
    path.write_bytes(data)
    return path


class TestPillow:
    def test_open_knows_the_size_and_load_decodes(
        self, codec: Codec, data: bytes, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        decodes = []
        decode = Codec.decode
        monkeypatch.setattr(Codec, "decode", lambda *a, **b: (decodes.append(1), decode(*a, **b))[1])
        with Image.open(file) as image:
            assert (image.format, image.size, image.mode) == ("GLIC", (200, 120), "RGB")
            assert image.get_format_mimetype() == "image/x-glic"
            assert not decodes
            np.testing.assert_array_equal(np.asarray(image), decode(codec, data))
            assert image.convert("L").size == (200, 120)
            assert len(decodes) == 1
        assert Image.open(io.BytesIO(data)).copy().size == (200, 120)

    def test_save(self, data: bytes, picture: np.ndarray, tmp_path: Path) -> None:
        Image.fromarray(picture).save(tmp_path / "b.glic")
        assert (tmp_path / "b.glic").read_bytes() == data
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "GLIC")
        assert stream.getvalue() == data
        clear = Image.new("RGBA", (30, 30))
        with pytest.raises(OSError, match="transparent"):
            clear.save(tmp_path / "c.glic")
        assert not (tmp_path / "c.glic").exists()
        clear.save(tmp_path / "c.glic", background=(1, 2, 3))

    def test_registering_twice_and_a_directory(self, engine: Path, tmp_path: Path, file: Path) -> None:
        pillow.register(engine, threads=1)
        Image.open(file).load()
        with pytest.raises(EngineError, match="no engine bundle"):
            pillow.register(tmp_path)
        assert Image.registered_extensions()[".glic"] == "GLIC"

    def test_a_folder_of_bundles(self, engine: Path, tmp_path: Path, picture: np.ndarray) -> None:
        for number in (1, 2):
            add_bundle(engine, tmp_path / "engines" / f"q{number}", number)
        pillow.register(tmp_path / "engines", threads=1, backend="onnxruntime")
        Image.fromarray(picture).save(tmp_path / "b.glic", quality=1)
        header = container.parse((tmp_path / "b.glic").read_bytes()).header
        assert header.model_fingerprint == b"\1" * 4

    def test_options_that_a_codec_does_not_have(self, engine: Path) -> None:
        with pytest.raises(TypeError, match="thread"):
            pillow.register(engine, thread=1)

    def test_files_are_read_no_further_than_the_limits_allow(self, engine: Path, data: bytes) -> None:
        pillow.register(engine, limits=Limits(max_pixels=1 << 16, max_side=1 << 8, max_metadata=1))
        for work in ("load", "verify"):
            with (
                Image.open(io.BytesIO(data + bytes(2 << 20))) as image,
                pytest.raises(Image.DecompressionBombError, match="max-pixels"),
            ):
                getattr(image, work)()

    def test_forked_processes_have_codecs_of_their_own(self, codec: Codec, engine: Path, file: Path) -> None:
        script = (
            "import sys, multiprocessing, numpy\n"
            "from PIL import Image\n"
            "from glic_deploy import pillow\n"
            "pillow.register(sys.argv[1], threads=1)\n"
            "assert Image.open(sys.argv[2]).size == (200, 120)\n"
            "def total(path): return int(numpy.asarray(Image.open(path)).sum())\n"
            "with multiprocessing.get_context('fork').Pool(2) as pool: print(*pool.map(total, [sys.argv[2]] * 2))\n"
        )
        command = [sys.executable, "-c", script, str(engine), str(file)]
        sums = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.split()
        assert sums == [str(codec.decode(file.read_bytes()).sum())] * 2

    def test_what_is_no_glic_file_is_not_identified(self, tmp_path: Path) -> None:
        for content in (container.MAGIC, container.MAGIC + b"\x09" + bytes(60), b"GLIC" + bytes(60)):
            with pytest.raises(UnidentifiedImageError):
                Image.open(io.BytesIO(content))

    def test_damage_is_an_oserror(self, data: bytes) -> None:
        for damaged in (data[:-1], data[:40] + b"?" + data[41:], data + b"!"):
            with Image.open(io.BytesIO(damaged)) as image, pytest.raises(OSError, match=r"copy"):
                image.load()
            with Image.open(io.BytesIO(damaged)) as image, pytest.raises(OSError, match=r"copy"):
                image.verify()
        with Image.open(io.BytesIO(data)) as image:
            image.verify()

    def test_another_model_is_an_oserror(self, data: bytes) -> None:
        parsed = container.parse(data)
        header = container.Header(8, 8, True, False, b"abcd", b"efgh")
        with pytest.raises(OSError, match="model"):
            Image.open(io.BytesIO(container.pack(header, parsed.payload, 0))).load()

    def test_bombs(self, codec: Codec, data: bytes, engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        header = container.Header(2**20, 2**20, True, False, bytes(4), bytes(4))
        with pytest.raises(Image.DecompressionBombError):
            Image.open(io.BytesIO(container.pack(header, b"", 0)))
        with monkeypatch.context() as patch:
            patch.setattr(Image, "MAX_IMAGE_PIXELS", 200 * 120 - 1)
            with pytest.warns(Image.DecompressionBombWarning):
                Image.open(io.BytesIO(data))
        with Codec(engine, threads=1, limits=Limits(max_pixels=100)) as strict:
            pillow.register(strict)
            with pytest.raises(Image.DecompressionBombError):
                Image.open(io.BytesIO(data)).load()


class OnDevice:
    """An array in the memory of a GPU, by its library's word."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.copies = 0

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)

    def __dlpack__(self, *, dl_device: tuple[int, int] | None = None, copy: bool | None = None, **_: object) -> object:
        if dl_device != (1, 0):
            raise BufferError("not on the host")
        self.copies += 1
        return self.array.__dlpack__()


class Immutable:
    """An array of a library whose arrays do not change: numpy gets a copy of it, or its memory read-only."""

    def __init__(self, array: np.ndarray, copying: bool) -> None:
        self.array = array
        self.copying = copying

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __dlpack__(self, **_: object) -> object:
        return self.array.__dlpack__()

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        array = self.array.copy() if self.copying else self.array.view()
        array.flags.writeable = self.copying
        return array


class TestArrays:
    def test_torch_is_taken_without_a_copy(self, codec: Codec, picture: np.ndarray, data: bytes) -> None:
        torch = pytest.importorskip("torch", reason="needs torch, of the export extra")
        tensor = torch.from_numpy(picture.copy())
        seen = load_image(tensor)
        assert np.shares_memory(seen, tensor.numpy())
        assert codec.encode(tensor) == data
        grey = codec.decode(codec.encode(tensor[:, :, :1].expand(-1, -1, 3)))
        np.testing.assert_array_equal(codec.decode(codec.encode(tensor[:, :, 0])), (grey.sum(-1) + 1) // 3)
        with pytest.raises(ImageError, match="float32"):
            codec.encode(tensor.float())
        with pytest.raises(ImageError, match="channels last"):
            codec.encode(tensor.permute(2, 0, 1))
        with pytest.raises(ImageError, match="DLPack"):
            codec.encode(tensor.float().requires_grad_())

    def test_buffers_are_taken_without_a_copy(self, codec: Codec, picture: np.ndarray, data: bytes) -> None:
        view = memoryview(picture.copy())
        assert np.shares_memory(load_image(view), view)
        assert codec.encode(view) == data
        with pytest.raises(ImageError, match="BytesIO"):
            codec.encode(memoryview(data))

    @pytest.mark.skipif(NumpyVersion(np.__version__) < "2.1.0", reason="needs numpy 2.1: pip install -U numpy")
    def test_a_device_s_memory_is_copied_to_the_host(self, codec: Codec, picture: np.ndarray, data: bytes) -> None:
        array = OnDevice(picture.copy())
        assert codec.encode(array) == data
        assert array.copies == 1
        with pytest.raises(ImageError, match="on device 2:0"):
            codec.decode(data, out=array)

    def test_decode_fills_torch_numpy_and_buffers(self, codec: Codec, data: bytes) -> None:
        torch = pytest.importorskip("torch", reason="needs torch, of the export extra")
        expected = codec.decode(data)
        tensor = torch.zeros(expected.shape, dtype=torch.uint8)
        address = tensor.data_ptr()
        view = codec.decode(data, out=tensor)
        assert np.shares_memory(view, tensor.numpy())
        assert tensor.data_ptr() == address
        np.testing.assert_array_equal(tensor.numpy(), expected)
        batch = np.zeros((2, *expected.shape), np.uint8)
        assert codec.decode(data, out=batch[1]) is not None
        np.testing.assert_array_equal(batch[1], expected)
        assert not batch[0].any()
        buffer = bytearray(expected.size)
        codec.decode(data, out=memoryview(buffer).cast("B", expected.shape))
        assert buffer == expected.tobytes()
        part = np.empty((40, 50, 3), np.uint8)
        codec.decode(data, out=part, region=(10, 20, 50, 40))
        np.testing.assert_array_equal(part, expected[20:60, 10:60])

    def test_read_only_views_of_older_numpy_are_no_obstacle(
        self, codec: Codec, data: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """numpy before 2.1 has only such views of what comes through DLPack."""
        torch = pytest.importorskip("torch", reason="needs torch, of the export extra")

        def older(source: object) -> np.ndarray:
            view = from_dlpack(source)
            view.flags.writeable = False
            return view

        from_dlpack = np.from_dlpack
        monkeypatch.setattr(np, "from_dlpack", older)
        tensor = torch.zeros((120, 200, 3), dtype=torch.uint8)
        codec.decode(data, out=tensor)
        np.testing.assert_array_equal(tensor.numpy(), codec.decode(data))
        for copying in (True, False):
            with pytest.raises(ImageError, match="read-only"):
                codec.decode(data, out=Immutable(np.zeros((120, 200, 3), np.uint8), copying))

    def test_masked_memory_is_not_written_to(self, codec: Codec, data: bytes) -> None:
        out = np.ma.masked_all((120, 200, 3), np.uint8)
        with pytest.raises(ImageError, match="72,000 of the array's 72,000 elements are masked"):
            codec.decode(data, out=out)

    def test_what_does_not_take_the_picture_is_refused_first(self, codec: Codec, data: bytes) -> None:
        right = np.zeros((120, 200, 3), np.uint8)
        frozen = right.copy()
        frozen.flags.writeable = False
        for out, words in (
            (right[:, :-1], r"expected uint8 \(120, 200, 3\)"),
            (right.astype(np.int8), "int8"),
            (np.asfortranarray(right), "not contiguous"),
            (frozen, "read-only"),
            ([1, 2], "is a list"),
        ):
            with pytest.raises(ImageError, match=words):
                codec.decode(data, out=out)
        assert not right.any()

    def test_no_array(self) -> None:
        assert to_numpy("photo.png") is None
        assert to_numpy(b"bytes") is None
