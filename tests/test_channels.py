"""Grey images, alpha and colour profiles through the codec, whole and in tiles, with stand-ins for the transforms.

The stand-ins make pixels that show every bit of the latents, so that images are compared exactly.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from glic_deploy import (
    BitstreamError,
    Codec,
    DamagedTilesWarning,
    ImageError,
    LimitError,
    Limits,
    Metadata,
    ReducedImageWarning,
    channel_codec,
    container,
    read_metadata,
    tiles,
)
from glic_deploy.backends.onnxruntime import OnnxRuntimeBackend
from glic_deploy.bundle import Bundle
from glic_deploy.channels import Channels
from glic_deploy.image import Handling, read_image
from glic_deploy.varint import write_varint

from . import profiles
from .golden_files import write_bundle
from .standin import StandIns

MODES = ("L", "LA", "RGB", "RGBA")
TILES = (0, 256)


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Codec]:
    bundle = write_bundle(tmp_path_factory.mktemp("golden") / "engine")
    with Codec(bundle.path, backend=StandIns(OnnxRuntimeBackend(bundle, 1), gain=1 / 4)) as codec:
        yield codec


@pytest.fixture(scope="module")
def rgba() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (140, 300, 4), np.uint8)


def in_mode(rgba: np.ndarray, mode: str) -> np.ndarray:
    return {"L": rgba[..., 1], "LA": rgba[..., [1, 3]], "RGB": rgba[..., :3], "RGBA": rgba}[mode]


@pytest.mark.parametrize("tile", TILES)
class TestModes:
    @pytest.fixture(params=MODES)
    def mode(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def pixels(self, rgba: np.ndarray, mode: str) -> np.ndarray:
        return in_mode(rgba, mode)

    @pytest.fixture
    def data(self, codec: Codec, pixels: np.ndarray, tile: int) -> bytes:
        return codec.encode(pixels, alpha="keep", tile=tile)

    def test_an_image_comes_back_in_its_mode(
        self, codec: Codec, rgba: np.ndarray, pixels: np.ndarray, data: bytes, mode: str, tile: int
    ) -> None:
        decoded = codec.decode(data)
        assert decoded.shape == pixels.shape
        assert decoded.flags.c_contiguous
        header = container.parse_header(data)
        assert (header.grey, header.alpha, header.tiled) == (mode[0] == "L", mode[-1] == "A", bool(tile))
        if header.alpha:
            np.testing.assert_array_equal(decoded[..., -1], pixels[..., -1])
        grey = rgba[..., [1, 1, 1]] if header.grey else rgba[..., :3]
        colours = codec.decode(codec.encode(grey, tile=tile))
        if tile:
            return  # the seams of grey tiles fade after the mean of the colours
        expected = ((colours.astype(int).sum(axis=-1) + 1) // 3) if header.grey else colours
        got = decoded if mode in ("L", "RGB") else decoded[..., 0] if header.grey else decoded[..., :3]
        np.testing.assert_array_equal(got, expected)

    def test_colours_cost_what_they_cost_without_alpha(
        self, codec: Codec, rgba: np.ndarray, data: bytes, mode: str, tile: int
    ) -> None:
        """Alpha is beside the stream, which stays the same."""
        opaque = codec.encode(in_mode(rgba, mode.removesuffix("A")), tile=tile)
        if mode[-1] != "A":
            assert data == opaque
        elif not tile:
            stream, _ = channel_codec.split(container.parse(data).payload, alpha=True)
            assert stream == container.parse(opaque).payload

    @pytest.mark.parametrize("region", [(0, 0, 1, 1), (250, 90, 50, 50), (13, 7, 270, 20), (0, 0, 300, 140)])
    def test_a_region_is_a_crop(self, codec: Codec, data: bytes, region: tuple[int, int, int, int], tile: int) -> None:
        x, y, width, height = region
        np.testing.assert_array_equal(
            codec.decode(data, region=region), codec.decode(data)[y : y + height, x : x + width]
        )

    def test_decoding_into_an_array(self, codec: Codec, pixels: np.ndarray, data: bytes, tile: int) -> None:
        out = np.zeros_like(np.ascontiguousarray(pixels))
        returned = codec.decode(data, out=out)
        assert np.shares_memory(returned, out)
        np.testing.assert_array_equal(out, codec.decode(data))
        part = np.zeros((20, 30, *pixels.shape[2:]), np.uint8)
        codec.decode(data, out=part, region=(250, 90, 30, 20))
        np.testing.assert_array_equal(part, codec.decode(data)[90:110, 250:280])

    def test_an_array_of_other_channels_is_refused(
        self, codec: Codec, pixels: np.ndarray, data: bytes, tile: int
    ) -> None:
        for mode in MODES:
            shape = Channels(mode[0] == "L", mode[-1] == "A").shape(140, 300)
            if shape != pixels.shape:
                with pytest.raises(ImageError, match="expected"):
                    codec.decode(data, out=np.zeros(shape, np.uint8))

    def test_strips(self, codec: Codec, pixels: np.ndarray, data: bytes, mode: str, tile: int) -> None:
        strips = codec.decode_strips(data)
        assert (strips.shape, strips.channels.mode) == (pixels.shape, mode)
        np.testing.assert_array_equal(np.concatenate(list(strips)), codec.decode(data))

    @pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
    def test_strips_as_image_files(
        self, codec: Codec, pixels: np.ndarray, data: bytes, mode: str, tile: int, format: str
    ) -> None:
        stream = io.BytesIO()
        if format == "PPM" and mode[-1] == "A":
            with pytest.raises(ImageError, match="PPM cannot hold the alpha"):
                tiles.save_strips(codec.decode_strips(data), stream, format)
            return
        tiles.save_strips(codec.decode_strips(data), stream, format, Metadata(xmp=b"<x/>" if format != "PPM" else b""))
        with Image.open(stream) as image:
            assert image.mode == mode
            np.testing.assert_array_equal(np.asarray(image), codec.decode(data))

    def test_many(self, codec: Codec, pixels: np.ndarray, data: bytes, tile: int) -> None:
        (coded,) = codec.encode_many([pixels], alpha="keep", tile=tile)
        assert coded == data
        (decoded,) = codec.decode_many([data])
        np.testing.assert_array_equal(decoded, codec.decode(data))

    def test_sources(self, codec: Codec, pixels: np.ndarray, data: bytes, tile: int) -> None:
        image = Image.fromarray(pixels)
        stream = io.BytesIO()
        image.save(stream, "PNG")
        for source in (image, stream, pixels[:, ::-1][:, ::-1], np.asfortranarray(pixels)):
            assert codec.encode(source, alpha="keep", tile=tile) == data


class TestAlpha:
    def test_transparent_pixels_are_refused_by_default(self, codec: Codec, rgba: np.ndarray) -> None:
        for pixels in (rgba, rgba[..., [0, 3]]):
            with pytest.raises(ImageError, match=r"not opaque.*alpha='keep'.*background"):
                codec.encode(pixels)
            assert codec.decode(codec.encode(pixels, background=(9, 9, 9))).shape[2:] == pixels.shape[2:-1] + (
                (3,) if pixels.shape[2] == 4 else ()
            )

    def test_opaque_alpha_is_dropped_by_default(self, codec: Codec, rgba: np.ndarray) -> None:
        opaque = rgba.copy()
        opaque[..., 3] = 255
        assert codec.encode(opaque) == codec.encode(rgba[..., :3])
        assert codec.decode(codec.encode(opaque, alpha="keep")).shape == rgba.shape

    def test_grey_on_a_grey_background_stays_grey(self, codec: Codec, rgba: np.ndarray) -> None:
        grey = rgba[..., [0, 3]]
        assert codec.decode(codec.encode(grey, background=(7, 7, 7))).ndim == 2
        assert codec.decode(codec.encode(grey, background=(7, 7, 8))).ndim == 3

    def test_damaged_tiles_are_opaque_and_grey(self, codec: Codec, rgba: np.ndarray) -> None:
        data = codec.encode(rgba, alpha="keep", tile=256)
        altered = bytearray(data)
        altered[-9] ^= 1  # the last tile's alpha
        with pytest.raises(BitstreamError, match="checksum mismatch"):
            codec.decode(altered)
        with pytest.warns(DamagedTilesWarning, match="1 of 2 tiles") as caught:
            image = codec.decode(altered, on_error="fill")
        (box,) = caught[0].message.boxes  # type: ignore[union-attr]
        whole = codec.decode(data)
        np.testing.assert_array_equal(image[:, : box.x], whole[:, : box.x])
        assert (image[:, box.x + tiles.coding.OVERLAP :] == (128, 128, 128, 255)).all()

    def test_alpha_of_another_size_in_a_tile_is_damage(self, codec: Codec, rgba: np.ndarray) -> None:
        file = tiles.parse(codec.encode(rgba, alpha="keep", tile=256))
        coded = [(bytes(file.payload(index)), file.symbol_checksum(index)) for index in range(2)]
        streams = [bytes(channel_codec.split(memoryview(part), alpha=True)[0]) for part, _ in coded]
        pngs = [bytes(channel_codec.split(memoryview(part), alpha=True)[1] or b"") for part, _ in coded]
        swapped = write_varint(len(streams[1])) + streams[1] + pngs[0]
        data = tiles.table.pack(file.header, file.grid, [coded[0], (swapped, coded[1][1])])
        with pytest.raises(BitstreamError, match=r"tile 1 of 2 .* the alpha image has 256 x 140 pixels"):
            codec.decode(data)
        damaged: list[tiles.Box] = []
        codec.decode(data, on_error="fill", damaged=damaged)
        assert damaged == [file.grid.box(1)]

    def test_a_payload_with_alpha_stays_within_the_limits(self, codec: Codec) -> None:
        """Noise, which neither deflate nor the range coder makes smaller."""
        noise = np.random.default_rng(1).integers(0, 256, (128, 128, 4), np.uint8)
        codec.decode(codec.encode(noise, alpha="keep"))


class TestHandling:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"alpha": "drop"}, "alpha is 'drop', expected 'refuse' or 'keep'"),
            ({"alpha": True}, "alpha is True, expected"),
            ({"color": "adobe"}, "color is 'adobe', expected 'srgb' or 'keep'"),
            ({"color": None}, "color is None, expected"),
            ({"metadata": "drop"}, "metadata is 'drop', expected 'keep', 'strip' or"),
            ({"background": (1, 2)}, "expected three integers"),
            ({"alpha": "keep", "background": (1, 2, 3)}, "expected at most one of them"),
        ],
    )
    def test_wrong_options_are_refused_before_the_image_is_read(
        self, codec: Codec, options: dict[str, object], words: str
    ) -> None:
        with pytest.raises(ImageError, match=words):
            codec.encode("/no/such/image.png", **options)  # type: ignore[arg-type]
        with pytest.raises(ImageError, match=words):
            codec.encode_many([], **options)  # type: ignore[call-overload]

    @pytest.mark.parametrize("color", ["adobe", None, 3])
    def test_wrong_colours_of_decoders(self, codec: Codec, color: object) -> None:
        for decode in (codec.decode, codec.decode_strips):
            with pytest.raises(ImageError, match="expected 'srgb' or 'keep'"):
                decode(b"", color=color)  # type: ignore[arg-type]
        with pytest.raises(ImageError, match="expected 'srgb' or 'keep'"):
            codec.decode_many([], color=color)  # type: ignore[call-overload]

    def test_other_arguments_are_named(self, codec: Codec) -> None:
        with pytest.raises(TypeError, match="colour"):
            codec.encode_many([], colour="keep")  # type: ignore[call-overload]


def tagged(pixels: np.ndarray, profile: bytes) -> Image.Image:
    image = Image.fromarray(pixels)
    image.info["icc_profile"] = profile
    return image


class TestColour:
    @pytest.mark.parametrize("tile", TILES)
    @pytest.mark.parametrize(("mode", "profile"), [
        ("RGB", profiles.display_p3()), ("RGBA", profiles.linear()), ("L", profiles.grey_gamma(1.0)),
        ("LA", profiles.grey_gamma(2.2)),
    ])  # fmt: skip
    def test_kept_colours_both_ways(self, codec: Codec, rgba: np.ndarray, mode: str, profile: bytes, tile: int) -> None:
        pixels = in_mode(rgba, mode)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            data = codec.encode(tagged(pixels, profile), color="keep", alpha="keep", tile=tile)
        assert container.parse_header(data).profiled
        assert read_metadata(data) == Metadata(icc=profile)
        kept = codec.decode(data)
        np.testing.assert_array_equal(kept, codec.decode(codec.encode(pixels, alpha="keep", tile=tile)))
        with pytest.warns(ReducedImageWarning, match="converted to sRGB"):
            expected = read_image(tagged(kept, profile), Handling(alpha="keep")).pixels
        np.testing.assert_array_equal(codec.decode(data, color="srgb"), expected)
        assert (expected != kept).any()
        out = np.zeros_like(np.ascontiguousarray(pixels))
        codec.decode(data, color="srgb", out=out)
        np.testing.assert_array_equal(out, expected)
        region = codec.decode(data, color="srgb", region=(240, 100, 60, 40))
        np.testing.assert_array_equal(region, expected[100:, 240:])
        np.testing.assert_array_equal(np.concatenate(list(codec.decode_strips(data, color="srgb"))), expected)
        (many,) = codec.decode_many([data], color="srgb")
        np.testing.assert_array_equal(many, expected)

    def test_conversion_is_the_default_and_a_warning(self, codec: Codec, rgba: np.ndarray) -> None:
        image = tagged(rgba[..., :3], profiles.display_p3())
        with pytest.warns(ReducedImageWarning, match=r"color='keep' \(--color keep\)"):
            data = codec.encode(image)
        header = container.parse_header(data)
        assert not header.profiled
        assert read_metadata(data) == Metadata()
        np.testing.assert_array_equal(codec.decode(data, color="srgb"), codec.decode(data))

    def test_a_profile_of_srgb_changes_nothing(self, codec: Codec, rgba: np.ndarray) -> None:
        pixels = rgba[..., :3]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            data = codec.encode(tagged(pixels, profiles.srgb()))
            assert codec.encode(tagged(pixels, profiles.srgb()), metadata="strip") == codec.encode(pixels)
        assert read_metadata(data) == Metadata(icc=profiles.srgb())
        assert container.parse(data).payload == container.parse(codec.encode(pixels)).payload

    def test_stripped_metadata_keeps_the_profile_that_the_pixels_need(self, codec: Codec, rgba: np.ndarray) -> None:
        image = tagged(rgba[..., :3], profiles.display_p3())
        image.info["exif"] = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"
        data = codec.encode(image, color="keep", metadata="strip")
        assert read_metadata(data) == Metadata(icc=profiles.display_p3())

    def test_arrays_with_a_profile(self, codec: Codec, rgba: np.ndarray) -> None:
        described = Metadata(icc=profiles.display_p3())
        data = codec.encode(rgba[..., :3], metadata=described, color="keep")
        assert data == codec.encode(tagged(rgba[..., :3], profiles.display_p3()), color="keep")
        with pytest.warns(ReducedImageWarning):
            converted = codec.encode(rgba[..., :3], metadata=described)
        with pytest.warns(ReducedImageWarning):
            assert converted == codec.encode(tagged(rgba[..., :3], profiles.display_p3()))

    @pytest.mark.parametrize(
        ("mode", "profile"),
        [("RGB", profiles.grey_gamma(1.0)), ("RGB", profiles.lab()), ("L", profiles.lab()), ("RGB", b"no profile")],
    )
    @pytest.mark.parametrize("color", ["keep", "srgb"])
    def test_profiles_of_other_images_are_refused(
        self, codec: Codec, rgba: np.ndarray, mode: str, profile: bytes, color: str
    ) -> None:
        with pytest.raises(ImageError, match="ICC"):
            codec.encode(tagged(in_mode(rgba, mode), profile), color=color)  # type: ignore[arg-type]

    def test_a_grey_image_with_a_profile_of_rgb_is_kept_as_rgb(self, codec: Codec, rgba: np.ndarray) -> None:
        data = codec.encode(tagged(rgba[..., 0], profiles.display_p3()), color="keep")
        assert codec.decode(data).shape == (140, 300, 3)

    @pytest.mark.parametrize("tile", TILES)
    def test_without_its_profile_a_file_still_decodes(self, codec: Codec, rgba: np.ndarray, tile: int) -> None:
        data = codec.encode(tagged(rgba[..., :3], profiles.display_p3()), color="keep", tile=tile)
        front = container.read_front(memoryview(data))
        whole = codec.decode(data)
        altered = bytearray(data)
        altered[-1] ^= 1
        for damaged in (data[: front.frame_end], data[:-1], altered):
            np.testing.assert_array_equal(codec.decode(damaged), whole)
            with pytest.raises(BitstreamError, match=r"cut short|checksum mismatch"):
                codec.decode(damaged, color="srgb")

    def test_cmyk_is_converted_alone(self, codec: Codec) -> None:
        image = Image.new("CMYK", (20, 20), (10, 20, 30, 40))
        image.info["icc_profile"] = profiles.srgb()
        with pytest.raises(ImageError, match="mode CMYK and an ICC profile"):
            codec.encode(image.copy(), color="keep")


def test_metadata_beyond_the_limits_is_refused_both_ways(codec: Codec, rgba: np.ndarray) -> None:
    described = Metadata(xmp=bytes(2000))
    data = codec.encode(rgba[..., 0], metadata=described)
    bundle = Bundle.open(codec.describe()["engine"]["path"])
    with Codec(
        bundle.path, backend=StandIns(OnnxRuntimeBackend(bundle, 1)), limits=Limits(max_metadata=1999)
    ) as strict:
        with pytest.raises(LimitError, match="2,000 bytes, at most 1,999 allowed"):
            strict.encode(rgba[..., 0], metadata=described)
        assert strict.decode(data).shape == (140, 300)  # the attachment itself is small


def test_the_frame_of_plain_images_is_at_most_8_bytes_longer_than_in_version_1(codec: Codec, rgba: np.ndarray) -> None:
    """Version 1 had a magic of 4 bytes and no fields, and was otherwise the same."""
    for tile in TILES:
        data = codec.encode(rgba[..., :3], tile=tile)
        front = container.read_front(memoryview(data))
        width, height, length = (
            len(write_varint(value)) for value in (front.header.width, front.header.height, front.length)
        )
        version1 = 4 + 1 + 1 + width + height + 8 + length + front.length + 8
        assert len(data) <= version1 + 8
