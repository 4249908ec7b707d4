"""Every form of picture that people have becomes opaque 8-bit sRGB, or is refused with a remedy."""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from glic_deploy import ImageError, LimitError, Limits, ReducedImageWarning
from glic_deploy.files import atomic_write, atomic_writer
from glic_deploy.image import Handling, load_image, pad, read_image
from glic_deploy.saving import save_image

from . import profiles


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)


def file_of(image: Image.Image, format: str = "PNG", **options) -> io.BytesIO:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    stream.seek(0)
    return stream


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *, depth=8, colour=2, rows: bytes = b"", extra: bytes = b"") -> io.BytesIO:
    """A PNG made by hand, for forms that Pillow does not write."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = header + extra + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + body)


class TestArrays:
    def test_right_form_is_not_copied(self, rgb):
        assert load_image(rgb) is rgb or np.shares_memory(load_image(rgb), rgb)

    @pytest.mark.parametrize(
        "view",
        [
            lambda a: a[::2, ::3],
            lambda a: a[::-1, ::-1],
            lambda a: a[:, :, ::-1],
            lambda a: a.transpose(1, 0, 2),
            lambda a: np.broadcast_to(a[:1], a.shape),
            lambda a: np.asfortranarray(a),
        ],
    )
    def test_any_strides(self, rgb, view):
        loaded = load_image(view(rgb))
        np.testing.assert_array_equal(loaded, view(rgb))
        assert loaded.flags.c_contiguous
        assert loaded.dtype == np.uint8

    def test_read_only(self, rgb):
        rgb.flags.writeable = False
        np.testing.assert_array_equal(load_image(rgb), rgb)

    def test_grey(self, rgb):
        grey = rgb[:, :, 0]
        for array in (grey, grey[:, :, np.newaxis]):
            np.testing.assert_array_equal(load_image(array), np.dstack((grey, grey, grey)))

    @pytest.mark.parametrize("order", ["<u2", ">u2"])
    def test_sixteen_bits_round_to_nearest(self, order):
        values = np.arange(65536, dtype=order).reshape(256, 256)
        np.testing.assert_array_equal(load_image(values)[:, :, 1].ravel(), np.rint(np.arange(65536) / 257))

    @pytest.mark.parametrize(
        ("array", "words"),
        [
            (np.zeros((4, 4, 3), np.float32), "rint"),
            (np.zeros((4, 4, 3), bool), "multiply by 255"),
            (np.zeros((4, 4, 3), np.int64), "int64, expected uint8 or uint16"),
            (np.zeros((3, 40, 50), np.uint8), "moveaxis"),
            (np.zeros((1, 40, 50, 3), np.uint8), "batch"),
            (np.zeros((4, 4, 2), np.uint8), "expected"),
            (np.zeros(4, np.uint8), "expected"),
            (np.zeros((0, 4, 3), np.uint8), "at least one pixel"),
            (np.zeros((4, 0), np.uint8), "at least one pixel"),
        ],
    )
    def test_refused_forms_name_a_remedy(self, array, words):
        with pytest.raises(ImageError, match=words):
            load_image(array)

    @pytest.mark.parametrize(
        ("source", "words"), [(b"\x89PNG", "BytesIO"), ([[0]], "numpy.asarray"), (None, "NoneType")]
    )
    def test_other_types(self, source, words):
        with pytest.raises(ImageError, match=words):
            load_image(source)

    def test_masks_are_not_dropped(self, rgb):
        masked = np.ma.masked_equal(rgb, rgb[3, 4, 1])
        count = np.count_nonzero(rgb == rgb[3, 4, 1])
        with pytest.raises(ImageError, match=rf"{count} of the array's 720 elements are masked.*filled\(0\)"):
            load_image(masked)
        np.testing.assert_array_equal(load_image(masked.filled(0)), np.where(rgb == rgb[3, 4, 1], 0, rgb))
        whole = load_image(np.ma.array(rgb))
        assert type(whole) is np.ndarray
        assert np.shares_memory(whole, rgb)

    def test_limits(self):
        huge = np.broadcast_to(np.uint8(0), (1 << 14, (1 << 14) + 1, 3))
        with pytest.raises(LimitError, match="268,451,840 pixels, at most 268,435,456"):
            load_image(huge)
        assert load_image(np.zeros((4, 5), np.uint8), limits=Limits(max_pixels=20)).shape == (4, 5, 3)
        with pytest.raises(LimitError, match=r"Limits\(max_side=5\)"):
            load_image(np.zeros((4, 5), np.uint8), limits=Limits(max_side=4))


class TestLimits:
    @pytest.mark.parametrize("limit", ["max_pixels", "max_memory", "max_side", "max_payload_bpp"])
    @pytest.mark.parametrize("value", [0, -1, 1e9, float("nan"), "9", None, True])
    def test_what_is_no_limit_is_refused(self, limit, value):
        with pytest.raises(LimitError, match=f"{limit} is {value!r}, expected an integer of at least 1"):
            Limits(**{limit: value})

    def test_products_of_numpys_integers_do_not_overflow(self):
        assert Limits(max_pixels=np.int32(1 << 30)).max_file_bytes > 1 << 32

    @pytest.mark.parametrize(
        ("check", "remedies"),
        [
            (lambda limits: limits.check_image(9, 1), ("--max-side 9", "Limits(max_side=9)")),
            (lambda limits: limits.check_image(4, 4), ("--max-pixels 16", "Limits(max_pixels=16)")),
            (lambda limits: limits.check_memory(128, 128), ("--max-memory 1G", "Limits(max_memory=1 << 30)")),
        ],
    )
    def test_errors_name_the_remedy_of_every_surface(self, check, remedies):
        with pytest.raises(LimitError) as caught:
            check(Limits(max_pixels=8, max_side=8, max_memory=1))
        assert re.search(r"raise the limit max_\w+ \(", str(caught.value))
        assert all(remedy in str(caught.value) for remedy in remedies)


class TestAlpha:
    def test_opaque_alpha_is_dropped(self, rgb):
        rgba = np.dstack((rgb, np.full(rgb.shape[:2], 255, np.uint8)))
        np.testing.assert_array_equal(load_image(rgba), rgb)
        np.testing.assert_array_equal(load_image(Image.fromarray(rgba)), rgb)
        assert load_image(rgba).flags.c_contiguous

    def test_transparency_is_the_callers_decision(self, rgb):
        alpha = np.full(rgb.shape[:2], 255, np.uint8)
        alpha[0, 0] = 254
        with pytest.raises(ImageError, match=r"0\.417 % of the pixels are not opaque.*--background"):
            load_image(np.dstack((rgb, alpha)))

    @given(hnp.arrays(np.uint8, (3, 3, 4)), st.tuples(*[st.integers(0, 255)] * 3))
    def test_composite_rounds_to_nearest(self, rgba, background):
        alpha = rgba[:, :, 3:].astype(float)
        exact = (rgba[:, :, :3] * alpha + np.array(background) * (255 - alpha)) / 255
        np.testing.assert_allclose(load_image(rgba, background=background), exact, atol=0.5)
        np.testing.assert_array_equal(
            load_image(Image.fromarray(rgba), background=background), load_image(rgba, background=background)
        )

    @pytest.mark.parametrize("background", [(0, 0), (0, 0, 256), (-1, 0, 0), "red", (0.5, 0, 0)])
    def test_bad_background(self, rgb, background):
        with pytest.raises(ImageError, match="three integers"):
            load_image(rgb, background=background)

    def test_grey_with_alpha(self):
        image = Image.merge("LA", (Image.new("L", (3, 2), 100), Image.new("L", (3, 2), 0)))
        with pytest.raises(ImageError, match="100 % of the pixels are not opaque"):
            load_image(image)
        assert np.all(load_image(image, background=(1, 2, 3)) == (1, 2, 3))

    def test_palette_colour_key(self):
        image = Image.new("P", (2, 1))
        image.putpalette([10, 20, 30, 40, 50, 60])
        image.putpixel((1, 0), 1)
        assert load_image(file_of(image)).tolist() == [[[10, 20, 30], [40, 50, 60]]]
        keyed = file_of(image, transparency=1)
        assert load_image(keyed, background=(7, 8, 9)).tolist() == [[[10, 20, 30], [7, 8, 9]]]

    def test_sixteen_bit_grey_colour_key(self):
        rows = b"\0" + struct.pack(">2H", 257 * 9, 257 * 200)
        keyed = png(2, 1, depth=16, colour=0, rows=rows, extra=png_chunk(b"tRNS", struct.pack(">H", 257 * 200)))
        assert load_image(keyed, background=(1, 2, 3)).tolist() == [[[9, 9, 9], [1, 2, 3]]]


class TestModes:
    @pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "RGBX", "RGBA", "LA"])
    def test_modes_of_pillow(self, mode):
        image = Image.new("RGB", (5, 4), (255, 255, 255)).convert(mode)
        loaded = load_image(image)
        assert loaded.shape == (4, 5, 3)
        assert loaded.min() >= 254

    def test_sixteen_bit_png(self):
        grey = np.arange(0, 65536, 1111, dtype=np.uint16).reshape(1, -1)
        loaded = load_image(file_of(Image.fromarray(grey)))
        np.testing.assert_array_equal(loaded[:, :, 0], np.rint(grey / 257))

    @pytest.mark.parametrize(
        ("make", "expected"),
        [
            (lambda v: png(1, 1, depth=16, colour=0, rows=b"\0" + v[:2]), [0x12]),
            (lambda v: png(1, 1, depth=16, colour=4, rows=b"\0" + v[:4]), [0x12, 0x80]),
            (lambda v: png(1, 1, depth=16, colour=2, rows=b"\0" + v[:6]), [0x12, 0x80, 0xFF]),
            (lambda v: png(1, 1, depth=16, colour=6, rows=b"\0" + v), [0x12, 0x80, 0xFF, 0x34]),
            (lambda v: io.BytesIO(b"P5\n1 1\n65535\n" + v[:2]), [0x12]),
            (lambda v: io.BytesIO(b"P6\n1 1\n65535\n" + v[:6]), [0x12, 0x80, 0xFF]),
        ],
        ids=["grey", "grey and alpha", "RGB", "RGBA", "PGM", "PPM"],
    )
    def test_sixteen_bits_are_reduced_with_one_warning(self, make, expected):
        values = struct.pack(">4H", 0x1200, 0x80FF, 0xFFFF, 0x3400)
        with pytest.warns(ReducedImageWarning, match="16 bits a channel and was reduced to 8") as caught:
            pixels = read_image(make(values), Handling(alpha="keep")).pixels
        assert len(caught) == 1
        np.testing.assert_allclose(pixels.ravel(), expected, atol=1)

    def test_sixteen_bit_colour_tiff(self):
        tifffile = pytest.importorskip("tifffile", reason="needs tifffile: pip install 'glic-deploy[tiff]'")
        values = np.random.default_rng(0).integers(0, 1 << 16, (6, 5, 3)).astype(np.uint16)
        stream = io.BytesIO()
        tifffile.imwrite(stream, values, photometric="rgb")
        with pytest.warns(ReducedImageWarning, match="16 bits"):
            np.testing.assert_allclose(read_image(stream).pixels, values / 257, atol=1)

    @pytest.mark.parametrize("mode", ["I", "F", "LAB"])
    def test_modes_of_unknown_range(self, mode):
        with pytest.raises(ImageError, match=f"mode {mode}"):
            load_image(Image.new(mode, (4, 4)))

    def test_several_frames(self, rgb):
        frames = [Image.fromarray(rgb), Image.fromarray(rgb[::-1])]
        animated = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
        with pytest.raises(ImageError, match="more than one frame"):
            load_image(animated)
        with Image.open(animated) as image:
            image.seek(1)
            assert load_image(image.copy()).shape == rgb.shape

    def test_first_picture_of_a_multi_picture_jpeg(self, rgb):
        frames = [Image.fromarray(rgb), Image.fromarray(rgb[::-1])]
        stream = file_of(frames[0], "MPO", save_all=True, append_images=frames[1:])
        np.testing.assert_array_equal(load_image(stream), np.asarray(Image.open(file_of(frames[0], "JPEG"))))

    def test_drawings(self):
        drawing = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
        with pytest.raises(ImageError, match="drawing"):
            load_image(io.BytesIO(drawing))

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation(self, rgb, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        upright = {
            1: rgb,
            2: rgb[:, ::-1],
            3: rgb[::-1, ::-1],
            4: rgb[::-1],
            5: rgb.transpose(1, 0, 2),
            6: np.rot90(rgb, -1),
            7: np.rot90(rgb, 2).transpose(1, 0, 2),
            8: np.rot90(rgb),
        }[orientation]
        np.testing.assert_array_equal(load_image(file_of(Image.fromarray(rgb), exif=exif.tobytes())), upright)


class TestColourProfiles:
    def test_srgb_keeps_its_values(self, rgb):
        profile = profiles.srgb()
        np.testing.assert_array_equal(load_image(file_of(Image.fromarray(rgb), icc_profile=profile)), rgb)

    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
    def test_linear_light_becomes_srgb(self, mode):
        image = Image.new("RGB", (4, 4), (51, 51, 51)).convert(mode)
        loaded = load_image(file_of(image, icc_profile=profiles.linear()))
        expected = 255 * (1.055 * (51 / 255) ** (1 / 2.4) - 0.055)
        np.testing.assert_allclose(loaded, expected, atol=1)

    def test_alpha_survives_conversion(self):
        image = Image.new("RGBA", (1, 1), (51, 51, 51, 0))
        loaded = load_image(file_of(image, icc_profile=profiles.linear()), background=(9, 9, 9))
        assert loaded.tolist() == [[[9, 9, 9]]]

    @pytest.mark.parametrize(
        ("mode", "profile"),
        [
            ("RGB", b"no profile at all"),
            ("CMYK", profiles.lab()),
        ],
    )
    def test_unusable_profiles(self, mode, profile):
        image = Image.new(mode, (4, 4))
        image.info["icc_profile"] = profile
        with pytest.raises(ImageError, match="remove the profile"):
            load_image(image)


class TestFiles:
    def test_path_stream_and_image_agree(self, rgb, tmp_path):
        path = tmp_path / "picture.png"
        Image.fromarray(rgb).save(path)
        with open(path, "rb") as stream:
            sources = (path, str(path), stream, Image.open(path))
            for source in sources:
                np.testing.assert_array_equal(load_image(source), rgb)

    @pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
    def test_every_cut_is_an_image_error(self, rgb, format):
        data = file_of(Image.fromarray(rgb), format).getvalue()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for length in range(0, len(data), 7):
                try:
                    loaded = load_image(io.BytesIO(data[:length]))
                except (ImageError, LimitError):
                    continue
                assert loaded.shape == rgb.shape

    def test_truncated_file(self, rgb, tmp_path):
        path = tmp_path / "cut.png"
        path.write_bytes(file_of(Image.fromarray(rgb)).getvalue()[:-100])
        with pytest.raises(ImageError, match=r"cut\.png: cannot be read: .*truncated"):
            load_image(path)

    def test_not_a_picture(self, tmp_path):
        path = tmp_path / "notes.txt"
        path.write_text("hello")
        with pytest.raises(ImageError, match=r"notes\.txt: not an image"):
            load_image(path)
        with pytest.raises(ImageError, match="No such file"):
            load_image(tmp_path / "absent.png")
        with pytest.raises(ImageError, match="Is a directory"):
            load_image(tmp_path)

    def test_size_is_refused_before_pixels_are_read(self):
        with pytest.raises(LimitError, match="70,000,000 pixels"):
            load_image(png(10_000, 7_000), limits=Limits(max_pixels=1 << 24))

    def test_pillows_own_limit(self):
        with pytest.raises(LimitError, match="MAX_IMAGE_PIXELS"):
            load_image(png(2**20, 2**20))


class TestPad:
    def test_edges_are_repeated(self, rgb):
        padded = pad(rgb, 8)
        assert padded.shape == (16, 24, 3)
        rows, columns = np.arange(16).clip(max=11), np.arange(24).clip(max=19)
        np.testing.assert_array_equal(padded, rgb[rows][:, columns])
        assert padded.flags.c_contiguous

    def test_whole_multiples_stay(self):
        image = np.zeros((128, 256, 3), np.uint8)
        assert pad(image) is image
        assert pad(image[:1, :1]).shape == (128, 128, 3)


class TestSaving:
    @pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp", ".bmp", ".ppm"])
    def test_lossless_formats(self, rgb, tmp_path, suffix):
        save_image(rgb, tmp_path / f"out{suffix}")
        np.testing.assert_array_equal(load_image(tmp_path / f"out{suffix}"), rgb)
        assert [entry.name for entry in tmp_path.iterdir()] == [f"out{suffix}"]

    def test_png_says_that_it_is_srgb(self, rgb, tmp_path):
        save_image(rgb, tmp_path / "out.png")
        data = (tmp_path / "out.png").read_bytes()
        assert data.count(png_chunk(b"sRGB", b"\0")) == 1
        assert data.index(b"sRGB") < data.index(b"IDAT")
        with Image.open(tmp_path / "out.png") as image:
            assert image.info["srgb"] == 0

    def test_stream(self, rgb):
        stream = io.BytesIO()
        save_image(rgb, stream)
        np.testing.assert_array_equal(load_image(stream), rgb)

    @pytest.mark.parametrize("name", ["out", "out.glic", "out.psd"])
    def test_formats_that_cannot_be_written(self, rgb, tmp_path, name):
        with pytest.raises(ImageError, match=r"\.png|PNG"):
            save_image(rgb, tmp_path / name)
        assert not list(tmp_path.iterdir())

    def test_picture_too_large_for_its_format(self, tmp_path):
        with pytest.raises(ImageError, match="use PNG"):
            save_image(np.zeros((1, 70_000, 3), np.uint8), tmp_path / "out.jpg")
        assert not list(tmp_path.iterdir())


class TestAtomicWriting:
    def test_failure_leaves_the_old_file(self, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(b"old")
        with pytest.raises(TypeError), atomic_writer(path) as stream:
            stream.writelines([b"half of the n", "ew"])
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]

    def test_mode_follows_umask(self, tmp_path):
        path = tmp_path / "file"
        atomic_write(path, b"new")
        umask = os.umask(0)
        os.umask(umask)
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask

    def test_symbolic_link_is_followed(self, tmp_path):
        (tmp_path / "real").write_bytes(b"old")
        (tmp_path / "link").symlink_to("real")
        atomic_write(tmp_path / "link", b"new")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real").read_bytes() == b"new"

    def test_device_is_written_to_not_replaced(self):
        atomic_write("/dev/null", b"gone")
        assert stat.S_ISCHR(os.stat("/dev/null").st_mode)

    def test_error_names_the_target(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="absent/file'"):
            atomic_write(tmp_path / "absent" / "file", b"")
