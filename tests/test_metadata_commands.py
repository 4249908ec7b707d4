"""Metadata, grey, alpha and colours through the command line, Pillow and Triton; `glic verify`."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from glic_deploy import Codec, Metadata, pillow, read_metadata
from glic_deploy.cli import exits, main
from glic_deploy.image import load_image

from .conftest import PHOTOS

XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>a title</x:xmpmeta>"
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif() -> bytes:
    tags = Image.Exif()
    tags[0x010F] = "Maker"
    return tags.tobytes()


@pytest.fixture(scope="module")
def codec(engine: Path) -> Iterator[Codec]:
    with Codec(engine, threads=1, backend="onnxruntime") as codec:
        yield codec


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return load_image(PHOTOS / "kodim23.png")[100:220, 200:400]


@pytest.fixture
def photo(picture: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "photo.jpg"
    Image.fromarray(picture).save(path, quality=95, exif=exif(), xmp=XMP, icc_profile=SRGB)
    return path


def glic(engine: Path, *arguments: str) -> int:
    return main([*arguments, "--engine", str(engine), "--backend", "onnxruntime", "--threads", "1"])


class TestCommandLine:
    @pytest.mark.parametrize("format", ["png", "tiff", "webp", "jpg"])
    @pytest.mark.parametrize("tile", ["0", "256"])
    def test_metadata_survives_both_commands(self, engine: Path, photo: Path, format: str, tile: str) -> None:
        assert glic(engine, "encode", "photo.jpg", "a.glic", "--tile", tile) == exits.OK
        kept = read_metadata("a.glic")
        assert (kept.xmp, kept.icc) == (XMP, SRGB)
        assert glic(engine, "decode", "a.glic", f"back.{format}") == exits.OK
        with Image.open(f"back.{format}") as back:
            assert back.info["icc_profile"] == SRGB
            assert back.getexif()[0x010F] == "Maker"
            assert back.info["xmp"] == XMP

    def test_strip_drops_it_when_encoding_and_when_decoding(self, engine: Path, photo: Path) -> None:
        assert glic(engine, "encode", "photo.jpg", "bare.glic", "--metadata", "strip") == exits.OK
        assert read_metadata("bare.glic") == Metadata()
        assert glic(engine, "encode", "photo.jpg", "a.glic") == exits.OK
        assert glic(engine, "decode", "a.glic", "back.png", "--metadata", "strip") == exits.OK
        assert not {"exif", "xmp", "icc_profile"} & Image.open("back.png").info.keys()

    def test_what_a_format_cannot_hold_is_a_warning(self, engine: Path, photo: Path, capsys) -> None:
        assert glic(engine, "encode", "photo.jpg", "a.glic") == exits.OK
        capsys.readouterr()
        assert glic(engine, "decode", "a.glic", "back.ppm", "--json", "report.json") == exits.OK
        said = capsys.readouterr().err
        assert all(f"warning: a.glic: the metadata {name} is not in the image file" in said for name in ("exif", "xmp"))
        assert len(json.loads(Path("report.json").read_text())["files"][0]["warnings"]) == 3

    def test_damaged_metadata_costs_only_itself(self, engine: Path, photo: Path, capsys) -> None:
        assert glic(engine, "encode", "photo.jpg", "a.glic") == exits.OK
        data = bytearray(Path("a.glic").read_bytes())
        data[-1] ^= 1  # of the profile, which is the last attachment
        Path("bad.glic").write_bytes(data)
        assert glic(engine, "decode", "bad.glic", "back.png") == exits.OK
        assert "warning: bad.glic: the metadata icc is left out: checksum mismatch" in capsys.readouterr().err
        back = Image.open("back.png")
        assert "icc_profile" not in back.info
        assert back.info["xmp"] == XMP
        np.testing.assert_array_equal(np.asarray(back), load_image("back.png"))

    @pytest.mark.parametrize("tile", ["0", "256"])
    def test_grey_and_alpha(self, engine: Path, picture: np.ndarray, photo: Path, tile: str) -> None:
        wide = np.tile(picture, (2, 2, 1))
        alpha = np.add.outer(np.arange(240), np.arange(400)).clip(0, 255).astype(np.uint8)
        Image.fromarray(wide).convert("L").save("grey.png")
        Image.fromarray(np.dstack((wide, alpha))).save("clear.png")
        Image.fromarray(np.dstack((wide[..., 1], alpha))).save("both.png")
        assert glic(engine, "encode", "clear.png", "x.glic") == exits.BAD_INPUT
        for name, mode in (("grey", "L"), ("clear", "RGBA"), ("both", "LA")):
            assert glic(engine, "encode", f"{name}.png", "a.glic", "--alpha", "keep", "--tile", tile) == exits.OK
            for suffix in ("png", "tiff"):
                assert glic(engine, "decode", "a.glic", f"{name}-back.{suffix}") == exits.OK
                with Image.open(f"{name}-back.{suffix}") as back:
                    assert back.mode == mode
                    assert back.size == (400, 240)
                    if "A" in mode:
                        np.testing.assert_array_equal(np.asarray(back)[..., -1], alpha)
            assert glic(engine, "decode", "a.glic", f"{name}.ppm") == (exits.BAD_INPUT if "A" in mode else exits.OK)
        assert not Path("clear.ppm").exists()
        assert Path("grey.ppm").read_bytes()[:2] == b"P5"

    def test_sixteen_bits_are_told_once_a_run(self, engine: Path, photo: Path, capsys) -> None:
        for name in "ab":
            Image.fromarray(np.full((20, 30), 4000, np.uint16)).save(f"{name}.png")
        assert glic(engine, "encode", "a.png", "b.png", "out/") == exits.OK
        assert capsys.readouterr().err.count("16 bits a channel") == 1


class TestVerify:
    def test_a_whole_file(self, engine: Path, photo: Path, capsys) -> None:
        assert glic(engine, "encode", "photo.jpg", "a.glic", "--tile", "256") == exits.OK
        capsys.readouterr()
        assert glic(engine, "verify", "a.glic", "--json", "-") == exits.OK
        (row,) = json.loads(capsys.readouterr().out)["files"]
        assert (row["width"], row["height"], row["tiles"]) == (200, 120, 1)
        assert row["metadata"] == {"exif": len(read_metadata("a.glic").exif or b""), "xmp": len(XMP), "icc": len(SRGB)}
        assert row["symbols"] > 1000

    def test_nothing_is_synthesised(self, codec: Codec, picture: np.ndarray) -> None:
        assert "synthesis" not in codec.verify(codec.encode(picture)).stages

    def test_all_damage_of_a_file_is_listed(self, codec: Codec, engine: Path, photo: Path, capsys) -> None:
        data = bytearray(codec.encode(np.tile(load_image(photo), (3, 3, 1)), tile=256, metadata=Metadata(xmp=XMP)))
        data[-1] ^= 1
        data[300] ^= 1
        Path("bad.glic").write_bytes(data)
        Path("good.glic").write_bytes(codec.encode(load_image(photo)))
        assert glic(engine, "verify", "bad.glic", "good.glic") == exits.BAD_INPUT
        said = capsys.readouterr().err
        assert "bad.glic: damaged tiles: tile 0 of" in said
        assert "the metadata xmp is damaged" in said
        assert "good.glic: whole" in said
        assert "1 of 2 files are whole" in said

    def test_damage_behind_the_tiles_is_found(self, codec: Codec, picture: np.ndarray) -> None:
        data = bytearray(codec.encode(np.tile(picture, (3, 3, 1)), tile=256))
        data[-1] ^= 1
        with pytest.raises(ValueError, match="checksum mismatch"):
            codec.verify(data)

    def test_damaged_alpha_is_found(self, codec: Codec, picture: np.ndarray) -> None:
        from glic_deploy import container

        rgba = np.dstack((picture, picture[..., 0]))
        file = container.parse(codec.encode(rgba, alpha="keep"))
        payload = bytearray(file.payload)
        payload[-30] ^= 1
        with pytest.raises(ValueError, match="alpha"):
            codec.verify(container.pack(file.header, payload, file.symbol_checksum))

    def test_an_image_is_no_glic_file(self, engine: Path, photo: Path, capsys) -> None:
        assert glic(engine, "verify", "photo.jpg") == exits.BAD_INPUT
        assert "photo.jpg: not a .glic file" in capsys.readouterr().err


class TestPillow:
    @pytest.fixture(autouse=True)
    def _registered(self, codec: Codec, pillow_as_it_is: None) -> None:
        pillow.register(codec)

    def test_metadata_there_and_back(self, photo: Path) -> None:
        with Image.open(photo) as image:
            image.save("a.glic")
            given = dict(image.info)
        with Image.open("a.glic") as image:
            assert image.info == {name: given[name] for name in ("exif", "xmp", "icc_profile")}
            assert image.getexif()[0x010F] == "Maker"
            image.save("again.jpg", exif=image.info["exif"])
            image.save("b.glic")
        assert read_metadata("b.glic") == read_metadata("a.glic")

    def test_keywords_replace_single_items(self, photo: Path) -> None:
        tags = Image.Exif()
        tags[0x010F] = "Other"
        with Image.open(photo) as image:
            image.save("a.glic", exif=tags, icc_profile=None)
        with Image.open("a.glic") as image:
            assert image.getexif()[0x010F] == "Other"
            assert image.info["xmp"] == XMP
            assert "icc_profile" not in image.info

    def test_modes(self, picture: np.ndarray, tmp_path: Path) -> None:
        for mode in ("L", "LA", "RGBA", "RGB"):
            stream = io.BytesIO()
            Image.fromarray(picture).convert(mode).save(stream, "GLIC", alpha="keep")
            with Image.open(stream) as image:
                assert image.mode == mode
                assert image.convert("RGB").size == (200, 120)

    def test_orientation_is_applied_and_reset(self, picture: np.ndarray) -> None:
        tags = Image.Exif()
        tags[0x0112] = 6
        source, stream = io.BytesIO(), io.BytesIO()
        Image.fromarray(picture).save(source, "PNG", exif=tags.tobytes())
        Image.open(source).save(stream, "GLIC")
        with Image.open(stream) as image:
            assert image.size == (120, 200)
            assert image.getexif()[0x0112] == 1
