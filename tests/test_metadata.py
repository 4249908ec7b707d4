"""Metadata: kept as it came but for the orientation, read from and written to image files, and damaged alone."""

from __future__ import annotations

import dataclasses
import io
import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from glic_deploy import (
    DamagedMetadataWarning,
    DroppedMetadataWarning,
    ImageError,
    LimitError,
    Limits,
    Metadata,
    ReducedImageWarning,
    container,
    metadata,
    read_metadata,
)
from glic_deploy.container import Header
from glic_deploy.fields import attached
from glic_deploy.image import Handling, SourceImage, read_image
from glic_deploy.saving import save_image
from glic_deploy.varint import write_varint

from . import profiles

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>'
)
MAKER_NOTE = b"a note of the maker, whose offsets count from the start of the EXIF"
MAKER, ORIENTATION, EXIF_DIRECTORY, GPS_DIRECTORY = 0x010F, 0x0112, 0x8769, 0x8825
TIME, MAKER_NOTE_TAG, INTEROPERABILITY = 0x9003, 0x927C, 0xA005


def exif_of(orientation: int, endian: str = ">") -> bytes:
    """Return EXIF with directories of each kind."""
    exif = Image.Exif()
    exif.endian = endian
    exif[MAKER], exif[ORIENTATION] = "Maker", orientation
    exif.get_ifd(EXIF_DIRECTORY).update({
        TIME: "2026:01:02 03:04:05", MAKER_NOTE_TAG: MAKER_NOTE, INTEROPERABILITY: {1: "R98"}
    })  # fmt: skip
    exif.get_ifd(GPS_DIRECTORY)[1] = "N"
    return exif.tobytes().removeprefix(b"Exif\0\0")


def tags(exif: bytes) -> dict[str, object]:
    """Return what a reader finds in EXIF, without the orientation."""
    loaded = Image.Exif()
    loaded.load(exif)
    directory = dict(loaded.get_ifd(EXIF_DIRECTORY))
    directory.pop(INTEROPERABILITY, None)  # its offset
    return {
        "maker": loaded.get(MAKER),
        "exif": directory,
        "gps": loaded.get_ifd(GPS_DIRECTORY),
        "interoperability": loaded.get_ifd(INTEROPERABILITY),
    }


def orientation_of(exif: bytes) -> int:
    loaded = Image.Exif()
    loaded.load(exif)
    return int(loaded[ORIENTATION])


def image_file(pixels: np.ndarray, format: str, found: Metadata) -> io.BytesIO:
    """Return an image file with metadata, written by Pillow alone."""
    options: dict[str, object] = {"exif": found.exif and b"Exif\0\0" + found.exif, "icc_profile": found.icc}
    if format == "PNG" and found.xmp:
        options["pnginfo"] = chunks = PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", found.xmp.decode())
    elif format == "TIFF" and found.xmp:
        options["exif"] = loaded = Image.Exif()
        loaded.load(found.exif or b"")
        loaded.get_ifd(EXIF_DIRECTORY)[INTEROPERABILITY] = loaded.get_ifd(INTEROPERABILITY)
        loaded[700] = found.xmp
    elif found.xmp:
        options["xmp"] = found.xmp
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format, **{name: value for name, value in options.items() if value})
    stream.seek(0)
    return stream


def strict_read(source: object, **handling: object) -> SourceImage:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_image(source, Handling(**handling))  # type: ignore[arg-type]


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)


class TestOrientation:
    @pytest.mark.parametrize("endian", ["<", ">"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_only_the_bytes_of_the_orientation_change(self, rgb: np.ndarray, orientation: int, endian: str) -> None:
        """So offsets inside of the EXIF, which notes of makers have, stay right."""
        exif = exif_of(orientation, endian)
        source = strict_read(image_file(rgb, "PNG", Metadata(exif=exif)))
        assert source.metadata.exif == exif_of(1, endian)
        changed = [index for index, (old, new) in enumerate(zip(exif, source.metadata.exif, strict=True)) if old != new]
        assert len(changed) == (orientation != 1)
        assert source.pixels.shape == ((20, 12, 3) if orientation > 4 else (12, 20, 3))
        assert MAKER_NOTE in source.metadata.exif

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize(
        "form", ['tiff:Orientation="%d"', "tiff:Orientation = '%d'", "<tiff:Orientation>%d</tiff:Orientation>"]
    )
    def test_xmp_agrees_with_the_pixels(self, rgb: np.ndarray, form: str, orientation: int) -> None:
        found = Metadata(exif=exif_of(orientation), xmp=b"<x>" + (form % orientation).encode() + b"</x>")
        source = strict_read(image_file(rgb, "PNG", found))
        assert source.metadata.xmp == b"<x>" + (form % 1).encode() + b"</x>"

    def test_orientation_of_xmp_alone(self, rgb: np.ndarray) -> None:
        source = strict_read(image_file(rgb, "PNG", Metadata(xmp=XMP % 6)))
        assert source.metadata == Metadata(xmp=XMP % 1)
        np.testing.assert_array_equal(source.pixels, np.rot90(rgb, -1))

    @pytest.mark.parametrize("endian", ["<", ">"])
    def test_an_orientation_of_32_bits(self, rgb: np.ndarray, endian: str) -> None:
        entry = struct.pack(f"{endian}HHII", ORIENTATION, 4, 1, 6)
        start = b"II*\0" if endian == "<" else b"MM\0*"
        exif = start + struct.pack(f"{endian}IH", 8, 1) + entry + bytes(4)
        source = strict_read(image_file(rgb, "PNG", Metadata(exif=exif)))
        np.testing.assert_array_equal(source.pixels, np.rot90(rgb, -1))
        assert source.metadata.exif is not None
        assert orientation_of(source.metadata.exif) == 1

    def test_a_thumbnail_keeps_its_own(self, rgb: np.ndarray) -> None:
        def directory(orientation: int, following: int) -> bytes:
            return struct.pack("<HHHIIi", 1, ORIENTATION, 3, 1, orientation, following)

        exif = b"II*\0" + struct.pack("<I", 8) + directory(6, 26) + directory(6, 0)
        source = strict_read(image_file(rgb, "PNG", Metadata(exif=exif)))
        assert source.metadata.exif == exif[:18] + b"\x01" + exif[19:]

    def test_all_formats_are_turned_once(self, rgb: np.ndarray) -> None:
        flat = np.full_like(rgb, 200)
        flat[:6, :10] = 20
        for format in FORMATS:
            source = strict_read(image_file(flat, format, Metadata(exif=exif_of(6), xmp=XMP % 6)))
            expected = np.rot90(flat, -1).astype(int)
            np.testing.assert_allclose(source.pixels[[2, -3]][:, [2, -3]], expected[[2, -3]][:, [2, -3]], atol=25)
            assert source.metadata.xmp == XMP % 1, format
            assert tags(source.metadata.exif or b"") == tags(exif_of(1)), format


class TestDamagedExif:
    EXIF = exif_of(6)

    @settings(max_examples=300, deadline=None)
    @given(st.integers(0, 8 * len(EXIF) - 1), st.integers(0, len(EXIF)))
    def test_a_flipped_bit_and_a_cut(self, bit: int, length: int) -> None:
        altered = bytearray(self.EXIF)
        altered[bit // 8] ^= 1 << bit % 8
        self.check(bytes(altered[:length]))

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=60), st.sampled_from([b"", b"II*\0", b"MM\0*", b"II*\0\x08\0\0\0", b"Exif\0\0"]))
    @example(b"\xff\xff\xff\xff\xff\xff", b"II*\0")
    @example(b"\x08\0\0\0\xff\xff", b"II*\0")
    def test_noise(self, noise: bytes, start: bytes) -> None:
        self.check(start + noise)

    def check(self, exif: bytes) -> None:
        """Damaged EXIF neither costs the image nor changes its length."""
        image = Image.new("RGB", (6, 4))
        image.info["exif"] = b"Exif\0\0" + exif
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source = read_image(image)
        assert source.pixels.shape in ((4, 6, 3), (6, 4, 3))
        assert len(source.metadata.exif or b"") == len(Metadata(exif=exif).exif or b"")

    def test_exif_that_pillow_does_not_read_is_a_warning(self) -> None:
        image = Image.new("RGB", (6, 4))
        image.info["exif"] = b"Exif\0\0XX*\0\x08\0\0\0"
        with pytest.warns(ReducedImageWarning, match="the EXIF is damaged, and the image was not turned"):
            assert read_image(image).pixels.shape == (4, 6, 3)


class TestImageFiles:
    FOUND = Metadata(exif=exif_of(1), xmp=XMP % 1, icc=profiles.srgb())

    @pytest.mark.parametrize("format", FORMATS)
    def test_files_of_other_programs_are_read(self, rgb: np.ndarray, format: str) -> None:
        found = strict_read(image_file(rgb, format, self.FOUND)).metadata
        assert (found.xmp, found.icc) == (self.FOUND.xmp, self.FOUND.icc)
        assert tags(found.exif or b"") == tags(self.FOUND.exif or b"")

    @pytest.mark.parametrize("digits", [True, False])
    def test_png_files_with_exif_as_text(self, rgb: np.ndarray, digits: bool) -> None:
        exif, chunks = b"Exif\0\0" + exif_of(6), PngInfo()
        chunks.add_text(
            "Raw profile type exif", f"\nexif\n{len(exif):8}\n" + (exif.hex() if digits else "no digits"), True
        )
        stream = io.BytesIO()
        Image.fromarray(rgb).save(stream, "PNG", pnginfo=chunks)
        if digits:
            source = strict_read(stream)
            assert source.metadata == Metadata(exif=exif_of(1))
            np.testing.assert_array_equal(source.pixels, np.rot90(rgb, -1))
        else:
            with pytest.warns(ReducedImageWarning, match="the EXIF is damaged"):
                assert read_image(stream).metadata == Metadata()

    @pytest.mark.parametrize("format", FORMATS)
    @pytest.mark.parametrize("mode", ["RGB", "L"])
    def test_saved_metadata_comes_back(self, rgb: np.ndarray, format: str, mode: str) -> None:
        pixels = rgb if mode == "RGB" else rgb[:, :, 0]
        described = Metadata(self.FOUND.exif, self.FOUND.xmp, self.FOUND.icc if mode == "RGB" else None)
        stream = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            save_image(pixels, stream, format=format, metadata=described)
        found = strict_read(stream).metadata
        assert (found.xmp, found.icc) == (described.xmp, described.icc)
        assert tags(found.exif or b"") == tags(described.exif or b"")
        if format not in ("TIFF", "AVIF"):  # Pillow writes the tags of these anew
            assert found.exif == described.exif

    def test_tags_of_the_layout_do_not_spoil_a_tiff_file(self, rgb: np.ndarray) -> None:
        exif = Image.Exif()
        exif.load(exif_of(1))
        exif[256], exif[257], exif[259] = 4000, 3000, 7  # width, height and compression of the camera's file
        stream = io.BytesIO()
        save_image(rgb, stream, format="TIFF", metadata=Metadata(exif=exif.tobytes()))
        source = strict_read(stream)
        np.testing.assert_array_equal(source.pixels, rgb)
        assert tags(source.metadata.exif or b"") == tags(exif_of(1))

    def test_a_tiff_file_without_descriptions_has_no_exif(self, rgb: np.ndarray) -> None:
        assert strict_read(image_file(rgb, "TIFF", Metadata())).metadata == Metadata()

    @pytest.mark.parametrize("name", ["exif", "xmp", "icc"])
    @pytest.mark.parametrize("format", ["BMP", "PPM"])
    def test_what_a_format_cannot_hold_is_a_warning(self, rgb: np.ndarray, format: str, name: str) -> None:
        with pytest.warns(DroppedMetadataWarning, match=f"{name} is not in the image file: {format}") as caught:
            save_image(rgb, io.BytesIO(), format=format, metadata=Metadata(**{name: getattr(self.FOUND, name)}))
        assert [(warning.message.name, warning.message.format) for warning in caught] == [(name, format)]  # type: ignore[union-attr]

    @pytest.mark.parametrize("exif", [b"no EXIF at all", b"XX*\0\x08\0\0\0", b"II*\0\x08\0\0\0\xff\xff"])
    @pytest.mark.parametrize("format", FORMATS)
    def test_damaged_exif_costs_at_most_itself(self, rgb: np.ndarray, format: str, exif: bytes) -> None:
        stream = io.BytesIO()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            save_image(rgb, stream, format=format, metadata=Metadata(exif=exif, xmp=XMP % 1))
        dropped = [warning.message.name for warning in caught if isinstance(warning.message, DroppedMetadataWarning)]
        if format not in ("TIFF", "AVIF"):
            assert not dropped
        elif exif[:2] != b"II":
            assert dropped == ["exif"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source = read_image(stream)
        assert source.pixels.shape == rgb.shape
        assert source.metadata.xmp == XMP % 1

    def test_segments_of_jpeg_are_bounded(self, rgb: np.ndarray) -> None:
        long = Metadata(exif=exif_of(1), xmp=b"x" * 70_000, icc=profiles.srgb() + bytes(140_000))
        stream = io.BytesIO()
        with pytest.warns(DroppedMetadataWarning, match="xmp is not in the image file: JPEG"):
            save_image(rgb, stream, format="JPEG", metadata=long)
        with Image.open(stream) as image:
            assert image.info["icc_profile"] == long.icc
            assert "xmp" not in image.info

    def test_strip(self, rgb: np.ndarray) -> None:
        assert strict_read(image_file(rgb, "PNG", self.FOUND), metadata="strip").metadata == Metadata()

    def test_other_metadata_in_its_place(self, rgb: np.ndarray) -> None:
        other = Metadata(xmp=b"<other/>")
        for source in (rgb, image_file(rgb, "PNG", self.FOUND), Image.fromarray(rgb)):
            assert strict_read(source, metadata=other).metadata == other
        assert strict_read(rgb).metadata == Metadata()


class TestMetadata:
    def test_the_prefix_of_jpeg_is_removed(self) -> None:
        """Some programs write it twice."""
        assert Metadata(exif=b"Exif\0\0MM").exif == Metadata(exif=b"Exif\0\0Exif\0\0MM").exif == b"MM"
        assert Metadata(exif=b"MM").pillow_info() == {"exif": b"Exif\0\0MM"}

    def test_empty_items_are_none(self) -> None:
        assert Metadata(b"", bytearray(), memoryview(b"")) == Metadata() == Metadata(exif=b"Exif\0\0")
        assert list(Metadata().items()) == []

    @pytest.mark.parametrize("value", ["text", 7, [1], object()])
    def test_items_are_bytes(self, value: object) -> None:
        with pytest.raises(ImageError, match=r"metadata\.xmp is .*, expected bytes or None"):
            Metadata(xmp=value)  # type: ignore[arg-type]

    @pytest.mark.parametrize("option", ["drop", None, True, b"keep", {}, np.zeros(3)])
    def test_other_options_are_refused(self, option: object) -> None:
        with pytest.raises(ImageError, match=r"expected 'keep', 'strip' or glic_deploy\.Metadata"):
            Handling(metadata=option)  # type: ignore[arg-type]


HEADER = Header(5, 7, True, False, b"MMMM", b"AAAA")


def file_of(described: Metadata, limits: Limits | None = None) -> bytes:
    """Return a file with this metadata around a payload of three bytes."""
    fields, attachments = metadata.attach(described, limits or Limits())
    return container.pack(dataclasses.replace(HEADER, fields=fields), b"abc", 0, attachments)


def file_with(name: str, content: bytes) -> bytes:
    """Return a file whose one item has these bytes behind the frame, under a valid checksum."""
    number = {"exif": metadata.EXIF, "xmp": metadata.XMP, "icc": metadata.ICC}[name]
    header = dataclasses.replace(HEADER, fields=(attached(number, content),))
    return container.pack(header, b"abc", 0, (content,))


def deflated(content: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(content) + compressor.flush()


class TestGlicFiles:
    DESCRIBED = Metadata(exif=exif_of(1), xmp=XMP % 1, icc=profiles.srgb())
    DATA = file_of(DESCRIBED)
    FRAME = container.read_front(memoryview(DATA)).frame_end

    @settings(max_examples=50, deadline=None)
    @given(*[st.none() | st.binary(max_size=400)] * 3)
    def test_every_item_comes_back(self, exif: bytes | None, xmp: bytes | None, icc: bytes | None) -> None:
        described = Metadata(exif, xmp, icc)
        assert read_metadata(file_of(described)) == described

    def test_sources(self, tmp_path: Path) -> None:
        path = tmp_path / "a.glic"
        path.write_bytes(self.DATA)
        for source in (self.DATA, memoryview(self.DATA), io.BytesIO(self.DATA), path, str(path)):
            assert read_metadata(source) == self.DESCRIBED

    def test_it_takes_little_of_the_file(self) -> None:
        """The header says 11 bytes at most of each item, and repeated content compresses."""
        empty = len(container.pack(HEADER, b"abc", 0))
        assert self.FRAME - empty <= 33
        assert len(file_of(Metadata(xmp=(XMP % 1) * 100))) - empty < 600

    def test_every_cut_costs_the_items_behind_it(self) -> None:
        whole, missing = container.parse(self.DATA), set()
        for length in reversed(range(self.FRAME, len(self.DATA))):
            assert container.parse(self.DATA[:length]) == whole
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found = read_metadata(self.DATA[:length])
            lost = [warning.message.name for warning in caught]  # type: ignore[union-attr]
            assert all(isinstance(warning.message, DamagedMetadataWarning) for warning in caught)
            assert found == dataclasses.replace(self.DESCRIBED, **dict.fromkeys(lost))
            missing |= {tuple(lost)}
        assert missing == {("icc",), ("xmp", "icc"), ("exif", "xmp", "icc")}

    @settings(max_examples=100, deadline=None)
    @given(st.integers(8 * FRAME, 8 * len(DATA) - 1))
    def test_every_flipped_bit_costs_its_item(self, bit: int) -> None:
        altered = bytearray(self.DATA)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.warns(DamagedMetadataWarning, match="is left out: checksum mismatch") as caught:
            found = read_metadata(altered)
        (lost,) = (warning.message.name for warning in caught)  # type: ignore[union-attr]
        assert found == dataclasses.replace(self.DESCRIBED, **{lost: None})

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "cut short"),  # no size
            (b"\x85\x00" + deflated(b"hello"), "size of the metadata"),  # a size in more bytes than needed
            (b"\x05", "does not decompress to the 5 bytes"),
            (b"\x05\xff\xff", "does not decompress: "),
            (b"\x04" + deflated(b"hello"), "does not decompress to the 4 bytes"),
            (b"\x06" + deflated(b"hello"), "does not decompress to the 6 bytes"),
            (b"\x05" + deflated(b"hello") + b"x", "does not decompress to the 5 bytes"),
            (b"\x05" + deflated(b"hello")[:-1], "does not decompress to the 5 bytes"),
            (b"\x05" + zlib.compress(b"hello"), "does not decompress"),
        ],
    )
    def test_badly_written_items_are_left_out(self, content: bytes, words: str) -> None:
        with pytest.warns(DamagedMetadataWarning, match=f"the metadata xmp is left out: .*{words}"):
            assert read_metadata(file_with("xmp", content)) == Metadata()

    def test_an_item_may_be_empty(self) -> None:
        assert read_metadata(file_with("xmp", b"\0" + deflated(b""))) == Metadata()

    def test_a_bomb_that_states_its_size_is_refused(self) -> None:
        size = 1 << 30
        with pytest.raises(LimitError, match="metadata has 1,073,741,824 bytes, at most 16,777,216 allowed"):
            read_metadata(file_with("xmp", write_varint(size) + deflated(bytes(1 << 20))))

    def test_a_bomb_that_hides_its_size_costs_nothing(self) -> None:
        bomb = file_with("icc", write_varint(100) + deflated(bytes(64 << 20)))
        assert len(bomb) < 100_000
        tracemalloc.start()
        with pytest.warns(DamagedMetadataWarning, match="100 bytes that it states"):
            read_metadata(bomb)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1_000_000

    def test_items_that_are_too_large_together(self) -> None:
        limits = Limits(max_metadata=1000)
        assert read_metadata(file_of(Metadata(xmp=bytes(1000))), limits=limits) == Metadata(xmp=bytes(1000))
        with pytest.raises(LimitError, match="1,001 bytes, at most 1,000"):
            read_metadata(file_of(Metadata(exif=bytes(500), xmp=bytes(501))), limits=limits)

    @pytest.mark.parametrize("size", [900, 990, 1000])
    def test_what_is_written_within_the_limits_is_read_within_them(self, size: int) -> None:
        """Noise is longer after deflate."""
        described, limits = Metadata(xmp=np.random.default_rng(0).bytes(size)), Limits(max_metadata=1000)
        try:
            data = file_of(described, limits)
        except LimitError:
            assert size == 1000
        else:
            assert read_metadata(data, limits=limits) == described
            container.parse(data, limits)
