"""Large pictures in tiles: geometry, the file's table, seams, regions, and what damage costs."""

from __future__ import annotations

import dataclasses
import itertools
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from glic_deploy import BitstreamError, Codec, GlicError, ImageError, LimitError, Limits, container, tiles
from glic_deploy.bundle import Bundle
from glic_deploy.bundle_codec import BundleCodec
from glic_deploy.checksum import crc32c
from glic_deploy.errors import DamagedTilesWarning
from glic_deploy.image import load_image, pad
from glic_deploy.scales import SCALES
from glic_deploy.tiles import Box, Grid, TiledFile, table
from glic_deploy.tiles.geometry import Axis
from glic_deploy.tiles.seams import strips
from glic_deploy.varint import write_varint

from .conftest import PHOTOS

SIDES = st.integers(1, 9).map(lambda units: 128 * units)
FAST = settings(max_examples=25, deadline=None)


@st.composite
def axes(draw: st.DrawFn) -> tuple[Axis, int]:
    side = draw(SIDES)
    return Axis.divided(draw(st.integers(1, 9000)), side, draw(st.integers(0, side // 8))), side


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    side = draw(st.sampled_from([256, 384]))
    width, height = (draw(st.integers(1, 900)) for _ in range(2))
    assume(max(width, height) > side)
    return Grid.divided(width, height, side, draw(st.integers(0, side // 8)))


@st.composite
def regions(draw: st.DrawFn, width: int, height: int) -> Box:
    x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return Box(x, y, draw(st.integers(1, width - x)), draw(st.integers(1, height - y)))


def padded(pixels: int) -> int:
    return -(-pixels // 128) * 128


class TestGeometry:
    @given(axes())
    def test_intervals_cover_a_side_and_share_what_they_should(self, case: tuple[Axis, int]) -> None:
        axis, side = case
        ends = [(axis.start(index), axis.stop(index)) for index in range(axis.count)]
        assert ends[0][0] == 0
        assert ends[-1][1] == axis.length
        assert all(0 < stop - start <= side for start, stop in ends)
        assert all(before[1] - after[0] == axis.overlap for before, after in itertools.pairwise(ends))
        assert all(before[1] <= after[0] for before, after in zip(ends, ends[2:], strict=False))

    @given(st.data(), st.integers(1, 9000))
    def test_no_table_makes_more_work_than_promised(self, data: st.DataObject, length: int) -> None:
        """Whatever a file says of its tiles: 1.5 times a side, so 2.25 times the pixels of the whole image."""
        extent = 128 * data.draw(st.integers(1, padded(length) // 128))
        overlap = data.draw(st.integers(0, extent // 3))
        try:
            axis = Axis(length, extent, overlap)
        except ValueError:
            assume(False)
        coded = sum(padded(axis.stop(index) - axis.start(index)) for index in range(axis.count))
        assert coded <= 1.5 * padded(length)

    @given(grids(), st.sampled_from(SCALES), st.data())
    def test_tiles_of_a_preview_lie_where_the_tiles_lie(self, grid: Grid, scale: int, data: st.DataObject) -> None:
        assume(grid.overlap % scale == 0)
        small, region = grid.reduced(scale), data.draw(regions(*grid.image[2:]))
        assert [grid.box(index).reduced(scale) for index in range(len(grid))] == list(map(small.box, range(len(small))))
        assert small.touching(region.reduced(scale)) == grid.touching(region)
        assert small.image == grid.image.reduced(scale)

    @given(axes(), st.data())
    def test_touching_is_what_holds_a_pixel(self, case: tuple[Axis, int], data: st.DataObject) -> None:
        axis, _ = case
        start = data.draw(st.integers(0, axis.length - 1))
        stop = data.draw(st.integers(start + 1, axis.length))
        expected = [index for index in range(axis.count) if axis.start(index) < stop and axis.stop(index) > start]
        assert list(axis.touching(start, stop)) == expected

    def test_tiles_are_as_equal_as_they_can_be(self) -> None:
        grid = Grid.divided(1920, 1080, 1024, 32)
        assert [grid.box(index) for index in range(len(grid))] == [
            Box(0, 0, 1024, 640), Box(992, 0, 928, 640), Box(0, 608, 1024, 472), Box(992, 608, 928, 472)
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ((300, 300, 100, 384, 0), "multiple of 128"),
            ((300, 300, 512, 128, 0), "up to 384"),
            ((300, 300, 128, 128, 33), "expected 0 to 32"),
            ((300, 300, 384, 384, 0), "one tile"),
        ],
    )
    def test_what_has_another_encoding_is_refused(self, arguments: tuple[int, ...], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            Grid.of(*arguments)


class TestSeams:
    @FAST
    @given(grids(), st.data())
    def test_tiles_of_one_picture_join_to_it(self, grid: Grid, data: st.DataObject) -> None:
        """In any region: where tiles agree, nothing shows."""
        picture = np.random.default_rng(0).integers(0, 256, (*grid.image[:1:-1], 3), np.uint8)
        region = data.draw(regions(*grid.image[2:]))
        cut = [picture[grid.box(index).slices] for row in grid.touching(region) for index in row]
        np.testing.assert_array_equal(np.concatenate(list(strips(grid, region, cut))), picture[region.slices])

    def test_one_tile_fades_into_the_next(self) -> None:
        grid = Grid.divided(400, 100, 256, 4)
        left, right = (np.full((100, grid.box(index).width, 3), value, np.uint8) for index, value in ((0, 0), (1, 80)))
        (joined,) = strips(grid, grid.image, [left, right])
        assert joined[7, 250:258, 1].tolist() == [0, 0, 10, 30, 50, 70, 80, 80]


@pytest.fixture(scope="module")
def codec(engine: Path) -> Iterator[Codec]:
    with Codec(engine, threads=2) as codec:
        yield codec


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return load_image(PHOTOS / "kodim23.png")[:300, 100:600]


@pytest.fixture(scope="module")
def file(codec: Codec, picture: np.ndarray) -> bytes:
    return codec.encode(picture, tile=256)


@pytest.fixture(scope="module")
def decoded(codec: Codec, file: bytes) -> np.ndarray:
    return codec.decode(file)


class TestCodec:
    def test_tiles_look_like_the_picture(self, codec: Codec, picture: np.ndarray, decoded: np.ndarray) -> None:
        def error(a: np.ndarray) -> float:
            return float(np.mean((picture.astype(float) - a) ** 2))

        assert decoded.shape == picture.shape
        assert error(decoded) < 1.05 * error(codec.decode(codec.encode(picture)))

    @settings(max_examples=10, deadline=None)
    @given(st.data())
    def test_a_region_is_a_crop_of_the_whole(
        self, codec: Codec, file: bytes, decoded: np.ndarray, data: st.DataObject
    ) -> None:
        region = data.draw(regions(500, 300))
        np.testing.assert_array_equal(codec.decode(file, region=region), decoded[region.slices])

    def test_a_region_of_an_untiled_file_is_a_crop_too(self, codec: Codec, picture: np.ndarray) -> None:
        data = codec.encode(picture[:100, :100])
        np.testing.assert_array_equal(codec.decode(data, region=(3, 5, 20, 10)), codec.decode(data)[5:15, 3:23])

    def test_a_region_decodes_only_its_tiles(self, codec: Codec, file: bytes) -> None:
        calls: list[tuple[int, int]] = []
        codec.decode(file, region=(0, 0, 10, 10), progress=lambda done, total: calls.append((done, total)))
        assert calls == [(0, 1), (1, 1)]

    def test_a_region_needs_no_more_of_the_file(self, codec: Codec, file: bytes, decoded: np.ndarray) -> None:
        parsed = tiles.parse(file)
        end = file.index(bytes(parsed.payload(0))) + len(parsed.payload(0))
        np.testing.assert_array_equal(codec.decode(file[:end], region=(0, 0, 10, 10)), decoded[:10, :10])
        with pytest.raises(BitstreamError, match=r"tile 1 of 6 .* cut short"):
            codec.decode(file[:end], region=(0, 0, 500, 10))

    @pytest.mark.parametrize("region", [(-1, 0, 5, 5), (0, 0, 0, 5), (0, 290, 5, 11), (500, 0, 1, 1)])
    def test_a_region_outside_is_refused(self, codec: Codec, file: bytes, region: tuple[int, int, int, int]) -> None:
        with pytest.raises(ImageError, match="500 x 300"):
            codec.decode(file, region=region)

    def test_strips_come_a_row_of_tiles_at_a_time(self, codec: Codec, file: bytes, decoded: np.ndarray) -> None:
        strips = codec.decode_strips(file)
        assert (strips.width, strips.height) == (500, 300)
        parts = list(strips)
        assert len(parts) == 2
        np.testing.assert_array_equal(np.concatenate(parts), decoded)

    @pytest.mark.parametrize("format", ["PPM", "TIFF", "PNG"])
    def test_strips_are_written_as_pictures(
        self, codec: Codec, file: bytes, decoded: np.ndarray, format: str, tmp_path: Path
    ) -> None:
        if format == "TIFF":
            pytest.importorskip("tifffile", reason="needs tifffile: pip install 'glic-deploy[tiff]'")
        path = tmp_path / "picture"
        with open(path, "wb") as stream:
            tiles.save_strips(codec.decode_strips(file, region=(3, 5, 490, 290)), stream, format)
        np.testing.assert_array_equal(load_image(path), decoded[5:295, 3:493])

    def test_tiles_at_once_make_the_same_file(
        self, codec: Codec, picture: np.ndarray, file: bytes, decoded: np.ndarray, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("glic_deploy.tiles.coding.cores", lambda: 12)
        assert codec.encode(picture, tile=256) == file
        np.testing.assert_array_equal(codec.decode(file), decoded)

    def test_stages_and_passes_are_those_of_all_tiles(self, codec: Codec, file: bytes) -> None:
        stages: dict[str, float] = {}
        passes: list = []  # type: ignore[type-arg]
        codec.decode(file, stages=stages, passes=passes)
        assert {"synthesis", "range coder"} < set(stages)
        assert sum(part.part is None for part in passes) == 6

    def test_small_pictures_are_coded_whole(self, codec: Codec, picture: np.ndarray) -> None:
        small = picture[:200, :200]
        assert codec.encode(small, tile=256) == codec.encode(small) == codec.encode(small, tile=0)

    def test_memory_decides_when_nothing_is_said(self, engine: Path, picture: np.ndarray, file: bytes) -> None:
        least = Bundle.open(engine).memory.needed(256, 256) + 3 * picture.shape[0] * picture.shape[1]
        with Codec(engine, limits=Limits(max_memory=least)) as small:
            assert small.encode(picture) == file
            small.decode(file)
            with pytest.raises(LimitError, match="max-memory"):
                small.encode(picture, tile=0)
        with Codec(engine, limits=Limits(max_memory=Bundle.open(engine).memory.needed(128, 128))) as smaller:
            with pytest.raises(LimitError, match="smallest tiles"):
                smaller.encode(picture)
            with pytest.raises(LimitError, match="max-memory"):
                smaller.decode(file)

    @pytest.mark.parametrize("tile", [128, 200, -128])
    def test_sides_that_cannot_be_coded_are_refused(self, codec: Codec, picture: np.ndarray, tile: int) -> None:
        with pytest.raises(ImageError, match="multiple of 128"):
            codec.encode(picture, tile=tile)

    def test_100_megapixels_are_within_the_limits(self) -> None:
        grid = tiles.choose_grid(10_000, 10_000, None, Limits(max_memory=3 << 30))
        assert grid is not None
        assert grid.columns.extent == grid.rows.extent == 1024
        Limits().check_image(10_000, 10_000)


class Stored(BundleCodec):
    """Codes a picture as an eighth of its pixels."""

    threads = None

    def __init__(self) -> None:
        pass

    def analyse_and_code(self, image, stages=None, weighing=None):  # type: ignore[no-untyped-def]
        latents = pad(image)[::8, ::8]
        return latents, latents.tobytes(), int(latents.sum())

    def decode(self, payload, checksum, height, width, *others, scale=1):  # type: ignore[no-untyped-def]
        rows, columns = (-(-side // 128) * 16 for side in (height, width))
        pixels = np.frombuffer(payload, np.uint8)
        if pixels.size != rows * columns * 3 or pixels.sum() != checksum:
            raise BitstreamError("the decoded symbols are not those that were encoded")
        return pixels.reshape(rows, columns, 3).repeat(8, axis=0).repeat(8, axis=1)[:height, :width]


HEADER = container.Header(300, 260, True, True, bytes(4), bytes(4))
GRID = Grid.divided(300, 260, 256, 16)


def stored_file() -> bytes:
    picture = np.random.default_rng(3).integers(0, 256, (260, 300, 3), np.uint8)
    return tiles.encode(Stored(), HEADER, picture, GRID, Limits())


STORED = stored_file()


def filled(data: bytes) -> tuple[np.ndarray, list[Box]]:
    damaged: list[Box] = []
    file = tiles.parse(data, partial=True)
    strips = tiles.decode(Stored(), file, None, Limits(), on_error="fill", damaged=damaged)
    return strips.gather(), damaged


WHOLE, _ = filled(STORED)
FRONT = STORED.index(bytes(tiles.parse(STORED).payload(0)))


def check_only_these_are_filled(data: bytes, lost: list[int]) -> None:
    picture, damaged = filled(data)
    assert damaged == [GRID.box(index) for index in lost]
    whole = np.ones(picture.shape[:2], bool)
    for index in lost:
        whole[GRID.box(index).slices] = False
    np.testing.assert_array_equal(picture[whole], WHOLE[whole])
    for index in lost:
        alone = np.zeros(picture.shape[:2], bool)
        alone[GRID.box(index).slices] = True
        for other in set(range(len(GRID))) - {index}:
            alone[GRID.box(other).slices] = False
        assert (picture[alone] == tiles.coding.FILL).all()


def spoiled_by(start: int, stop: int) -> list[int]:
    """The tiles whose streams have a byte in start ≤ byte < stop."""
    found, position = [], FRONT
    for index in range(len(GRID)):
        end = position + len(tiles.parse(STORED).payload(index))
        if position < stop and end > start:
            found.append(index)
        position = end
    return found


class TestDamage:
    @settings(max_examples=150, deadline=None)
    @given(st.integers(0, 8 * len(STORED) - 1))
    def test_a_flipped_bit_costs_its_tile(self, bit: int) -> None:
        altered = bytearray(STORED)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(GlicError):
            tiles.parse(altered)
        if bit // 8 < FRONT:
            with pytest.raises(GlicError):
                tiles.parse(altered, partial=True)
        else:
            check_only_these_are_filled(bytes(altered), spoiled_by(bit // 8, bit // 8 + 1))

    def test_every_bit_of_header_and_table_is_guarded(self) -> None:
        for bit in range(8 * FRONT):
            altered = bytearray(STORED)
            altered[bit // 8] ^= 1 << bit % 8
            with pytest.raises(GlicError):
                tiles.parse(altered, partial=True)

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, len(STORED) - 1))
    def test_a_cut_costs_what_is_behind_it(self, length: int) -> None:
        with pytest.raises(BitstreamError, match="cut short"):
            tiles.parse(STORED[:length])
        if length < FRONT:
            with pytest.raises(BitstreamError):
                tiles.parse(STORED[:length], partial=True)
        else:
            check_only_these_are_filled(STORED[:length], spoiled_by(length, len(STORED)))

    def test_what_is_appended_is_refused(self) -> None:
        for partial in (False, True):
            with pytest.raises(BitstreamError, match="appended"):
                tiles.parse(STORED + b"\n", partial=partial)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda b: b.replace(geometry(2, 2, 16), geometry(0, 2, 16), 1), "multiple of 128"),
            (lambda b: b.replace(geometry(2, 2, 16), geometry(2, 4, 16), 1), "up to 384"),
            (lambda b: b.replace(geometry(2, 2, 16), geometry(2, 2, 129), 1)[: len(b)], "expected 0 to"),
            (
                lambda b: b.replace(struct.pack("<I", 32 * 32 * 3), struct.pack("<I", 32 * 32 * 3 - 1), 1),
                "tiles end at byte",
            ),
        ],
    )
    def test_badly_written_tables_are_refused(self, change, words: str) -> None:  # type: ignore[no-untyped-def]
        """Under valid checksums, as an attacker writes them."""
        body = change(STORED[: FRONT - 4])
        rest = body + struct.pack("<I", crc32c(body)) + STORED[FRONT:-4]
        with pytest.raises(BitstreamError, match=words):
            tiles.parse(rest + struct.pack("<I", crc32c(rest)))

    def test_another_symbol_checksum_of_the_file_is_refused(self) -> None:
        file = container.parse(STORED)
        with pytest.raises(BitstreamError, match="file's symbol checksum"):
            tiles.parse(container.pack(file.header, file.payload, file.symbol_checksum ^ 1))

    def test_wrong_symbols_of_a_tile_are_damage(self) -> None:
        coded = [(b"".join([payload]), symbols) for payload, symbols in streams(tiles.parse(STORED))]
        coded[2] = (coded[2][0], coded[2][1] ^ 1)
        check_only_these_are_filled(table.pack(HEADER, GRID, coded), [2])

    def test_absurd_sizes_cost_nothing(self) -> None:
        wide = dataclasses.replace(HEADER, width=2**32 - 1, height=2**32 - 1)
        front = container.pack_front(wide, 1000) + geometry(2, 2, 16)
        with pytest.raises(BitstreamError, match="cut short"):
            tiles.parse(front + bytes(1000), partial=True)

    def test_the_codec_raises_or_fills(self, codec: Codec, file: bytes, decoded: np.ndarray) -> None:
        altered = bytearray(file)
        altered[file.index(bytes(tiles.parse(file).payload(4))) + 9] ^= 1
        with pytest.raises(BitstreamError, match="checksum mismatch"):
            codec.decode(altered)
        with pytest.raises(BitstreamError, match="tile 4 of 6"):
            codec.decode(altered, region=(200, 250, 200, 50))
        np.testing.assert_array_equal(codec.decode(altered, region=(0, 0, 500, 100)), decoded[:100])
        with pytest.warns(DamagedTilesWarning, match="1 of 6 tiles") as caught:
            picture = codec.decode(altered, on_error="fill")
        (box,) = caught[0].message.boxes  # type: ignore[union-attr]
        np.testing.assert_array_equal(picture[: box.y], decoded[: box.y])
        np.testing.assert_array_equal(picture[:, : box.x], decoded[:, : box.x])
        damaged: list[Box] = []
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_array_equal(codec.decode(altered, on_error="fill", damaged=damaged), picture)
        assert damaged == [box]

    def test_other_words_for_on_error_are_refused(self, codec: Codec, file: bytes) -> None:
        with pytest.raises(ValueError, match="expected 'raise' or 'fill'"):
            codec.decode(file, on_error="ignore")  # type: ignore[arg-type]


def geometry(columns: int, rows: int, overlap: int) -> bytes:
    return b"".join(write_varint(value) for value in (columns, rows, overlap))


def streams(file: TiledFile) -> list[tuple[bytes, int]]:
    return [(bytes(file.payload(index)), file.symbol_checksum(index)) for index in range(len(file.grid))]
