"""Previews: small images from the latents, by a linear map that the exporter fits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from export import previews
from export.checkpoint import Checkpoint, from_state
from export.integer.build import encode
from export.network import Preview
from export.previews import Example
from glic_deploy import CheckpointError, Codec, EngineError, ImageError, pillow, tiles
from glic_deploy.bundle_codec import BundleCodec
from glic_deploy.cli import main
from glic_deploy.container import Header
from glic_deploy.errors import DamagedTilesWarning
from glic_deploy.image import box_reduced, load_image
from glic_deploy.limits import DEFAULT_LIMITS
from glic_deploy.metrics import psnr
from glic_deploy.scales import SCALES, shrunk

from .conftest import PHOTOS

# The sample network on a part of a photograph that the fit has not seen, with 1.5 dB to spare.
DECIBELS = {2: 34.0, 4: 38.5, 8: 41.0}


@pytest.fixture(scope="module")
def codec(engine: Path) -> Iterator[Codec]:
    with Codec(engine, threads=1) as codec:
        yield codec


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return load_image(PHOTOS / "kodim07.png")[100:433, 40:541]


@pytest.fixture(scope="module")
def file(codec: Codec, picture: np.ndarray) -> bytes:
    return codec.encode(picture)


@pytest.fixture(scope="module")
def tiled(codec: Codec, picture: np.ndarray) -> bytes:
    return codec.encode(picture, tile=256)


def small_box(region: tuple[int, int, int, int], scale: int) -> tuple[slice, slice]:
    x, y, width, height = region
    return slice(y // scale, shrunk(y + height, scale)), slice(x // scale, shrunk(x + width, scale))


class TestCodec:
    @pytest.mark.parametrize("kind", ["file", "tiled"])
    @pytest.mark.parametrize("scale", SCALES)
    def test_a_preview_looks_like_the_reduced_image(
        self, codec: Codec, kind: str, scale: int, request: pytest.FixtureRequest
    ) -> None:
        data = request.getfixturevalue(kind)
        stages: dict[str, float] = {}
        preview = codec.decode(data, scale=scale, stages=stages)
        assert preview.shape == (shrunk(333, scale), shrunk(501, scale), 3)
        assert "preview" in stages
        assert "synthesis" not in stages
        found = psnr(preview, box_reduced(codec.decode(data), scale))
        assert found is None or found > DECIBELS[scale]

    @pytest.mark.parametrize("kind", ["file", "tiled"])
    @pytest.mark.parametrize("scale", SCALES)
    def test_a_region_is_a_crop_of_the_preview(
        self, codec: Codec, kind: str, scale: int, request: pytest.FixtureRequest
    ) -> None:
        data = request.getfixturevalue(kind)
        region = (101, 63, 250, 203)
        crop = codec.decode(data, scale=scale)[small_box(region, scale)]
        np.testing.assert_array_equal(codec.decode(data, scale=scale, region=region), crop)
        strips = codec.decode_strips(data, scale=scale, region=region)
        assert strips.shape == crop.shape
        np.testing.assert_array_equal(strips.gather(), crop)

    def test_out_receives_it(self, codec: Codec, file: bytes) -> None:
        out = np.zeros((42, 63, 3), np.uint8)
        np.testing.assert_array_equal(codec.decode(file, scale=8, out=out), codec.decode(file, scale=8))
        assert out.any()
        with pytest.raises(ImageError, match="42"):
            codec.decode(file, scale=8, out=np.zeros((333, 501, 3), np.uint8))

    def test_scale_is_an_option_of_decode_many(self, codec: Codec, file: bytes, tiled: bytes) -> None:
        found = list(codec.decode_many([file, tiled], scale=4))
        for preview, data in zip(found, (file, tiled), strict=True):
            np.testing.assert_array_equal(preview, codec.decode(data, scale=4))

    @pytest.mark.parametrize("scale", [0, 3, 16, -2, 2.5, "2", None])
    def test_other_scales_are_refused(self, codec: Codec, scale: Any) -> None:
        for decode in (codec.decode, codec.decode_strips):
            with pytest.raises(ImageError, match=r"scale is .*, expected 1 for the whole image, or 2, 4 or 8"):
                decode(b"not read", scale=scale)

    def test_a_damaged_tile_is_grey(self, codec: Codec, tiled: bytes) -> None:
        altered = bytearray(tiled)
        altered[tiled.index(bytes(tiles.parse(tiled).payload(4))) + 9] ^= 1
        damaged: list[tiles.Box] = []
        preview = codec.decode(altered, scale=4, on_error="fill", damaged=damaged)
        (box,) = damaged  # in pixels of the whole image
        inside = box.reduced(4)
        assert (preview[inside.y + 4 : inside.bottom - 4, inside.x + 4 : inside.right - 4] == 128).all()
        np.testing.assert_array_equal(preview[: inside.y], codec.decode(tiled, scale=4)[: inside.y])
        with pytest.warns(DamagedTilesWarning, match="1 of 6 tiles"):
            codec.decode(altered, scale=4, on_error="fill")

    def test_tiles_whose_overlap_no_scale_divides_are_decoded_and_reduced(
        self, codec: Codec, engine: Path, picture: np.ndarray
    ) -> None:
        coder = BundleCodec(engine, threads=1)
        bundle = coder.bundle
        header = Header(501, 333, True, True, bundle.model_fingerprint, bundle.arithmetic_fingerprint)
        data = tiles.encode(coder, header, picture, tiles.Grid.divided(501, 333, 256, 6), DEFAULT_LIMITS)
        whole, stages = codec.decode(data), dict[str, float]()
        np.testing.assert_array_equal(codec.decode(data, scale=4, stages=stages), box_reduced(whole, 4))
        assert "synthesis" in stages
        region = (101, 63, 397, 203)
        crop = box_reduced(whole, 4)[small_box(region, 4)]
        np.testing.assert_array_equal(codec.decode(data, scale=4, region=region), crop)
        codec.decode(data, scale=2, stages=(halved := dict[str, float]()))
        assert "synthesis" not in halved

    @pytest.mark.parametrize("scale", SCALES)
    def test_grey_and_alpha(self, codec: Codec, picture: np.ndarray, scale: int) -> None:
        grey, alpha = picture[:130, :150, 1], np.arange(130 * 150, dtype=np.uint32).reshape(130, 150) // 77 % 256
        channels = np.dstack([grey, alpha.astype(np.uint8)])
        rows, columns = shrunk(130, scale), shrunk(150, scale)
        assert codec.decode(codec.encode(grey), scale=scale).shape == (rows, columns)
        data = codec.encode(channels, alpha="keep")
        preview = codec.decode(data, scale=scale)
        assert preview.shape == (rows, columns, 2)
        exact = Image.fromarray(channels[..., 1]).reduce(scale)
        np.testing.assert_array_equal(preview[..., 1], np.asarray(exact))

    def test_a_bundle_without_previews_says_how_to_get_them(self, engine: Path, file: bytes, tmp_path: Path) -> None:
        bundle = without_previews(engine, tmp_path)
        with Codec(bundle, threads=1) as codec:
            assert not codec.has_previews
            assert codec.decode(file).shape == (333, 501, 3)
            with pytest.raises(EngineError, match=r"without previews.*without --no-previews"):
                codec.decode(file, scale=2)


def without_previews(engine: Path, folder: Path) -> Path:
    bundle = folder / "without"
    shutil.copytree(engine, bundle)
    document = json.loads((bundle / "manifest.json").read_text())
    del document["graphs"]["preview"]
    (bundle / "manifest.json").write_text(json.dumps(document))
    return bundle


class TestReduction:
    @pytest.mark.parametrize("shape", [(7, 9), (7, 9, 2), (8, 16, 3), (1, 1, 4)])
    def test_each_pixel_is_the_mean_of_those_it_shows(self, shape: tuple[int, ...]) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        small = box_reduced(pixels, 4)
        assert small.shape == (shrunk(shape[0], 4), shrunk(shape[1], 4), *shape[2:])
        for row, column in np.ndindex(small.shape[:2]):
            block = pixels[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            assert np.abs(small[row, column] - block.mean(axis=(0, 1))).max() <= 0.51


class TestFit:
    @pytest.fixture
    def given(self) -> list[Example]:
        """Images that are a linear function of five latents."""
        generator = torch.Generator().manual_seed(0)
        weight = torch.rand((192, 5), generator=generator).double() / 20
        examples = []
        for _ in range(3):
            y_hat = torch.randn((1, 5, 8, 16), generator=generator).double()
            pixels = torch.einsum("oc,nchw->nohw", weight, y_hat) + 0.5
            examples.append(Example(y_hat, F.pixel_shuffle(pixels, 8)))
        return examples

    def test_a_linear_network_is_reproduced(self, given: list[Example]) -> None:
        module = Preview(*previews.fit(given))
        for example in given:
            exact = example.image[0].permute(1, 2, 0) * 255
            assert (module(example.y_hat.float()).double() - exact).abs().max() < 1.0

    def test_each_example_is_judged_by_the_others(self, given: list[Example]) -> None:
        assert all(decibels > 50 for decibels in previews.decibels(given).values())
        odd = given[2]._replace(image=1 - given[2].image)
        assert all(decibels < 40 for decibels in previews.decibels([*given[:2], odd]).values())
        assert previews.decibels(given[:1]) == {}

    def test_a_network_that_overflows_is_refused(self, checkpoint: Checkpoint) -> None:
        state = dict(checkpoint.state)
        state["g_s.up3.0.weight"] = torch.full_like(state["g_s.up3.0.weight"], 1e8)
        state["g_s.up2.0.weight"] = torch.full_like(state["g_s.up2.0.weight"], 1e8)
        state["g_s.up1.0.weight"] = torch.full_like(state["g_s.up1.0.weight"], 1e8)
        state["g_s.up0.0.weight"] = torch.full_like(state["g_s.up0.0.weight"], 1e8)
        damaged = from_state(state, "damaged.pth")
        with pytest.raises(CheckpointError, match="the synthesis transform computes values that are infinite"):
            list(previews.examples(damaged, encode(damaged, [np.full((128, 128, 3), 90, np.uint8)])))


class TestCommands:
    @pytest.fixture
    def folder(self, file: bytes, tmp_path: Path) -> Path:
        (tmp_path / "photo.glic").write_bytes(file)
        return tmp_path

    def test_decode_writes_previews(self, codec: Codec, engine: Path, file: bytes, folder: Path) -> None:
        rows = folder / "rows.jsonl"
        command = ["decode", folder / "photo.glic", folder / "small.png", "--engine", engine, "--scale", 8]
        assert main([*map(str, command), "--json", str(rows)]) == 0
        np.testing.assert_array_equal(np.asarray(Image.open(folder / "small.png")), codec.decode(file, scale=8))
        assert '"scale": 8' in rows.read_text()

    def test_other_scales_are_refused(self, engine: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["decode", str(folder / "photo.glic"), str(folder / "a.png"), "--engine", str(engine), "--scale", "3"])
        assert "choose from" in capsys.readouterr().err


class TestPillow:
    @pytest.fixture
    def path(self, file: bytes, tmp_path: Path, pillow_as_it_is: None) -> Path:
        (tmp_path / "photo.glic").write_bytes(file)
        return tmp_path / "photo.glic"

    def test_thumbnails_are_made_of_previews(self, codec: Codec, file: bytes, path: Path) -> None:
        pillow.register(codec)
        with Image.open(path) as image:
            assert image.draft(None, (120, 80)) == ("RGB", (0, 0, 501 / 4, 333 / 4))
            assert image.size == (126, 84)
            np.testing.assert_array_equal(np.asarray(image), codec.decode(file, scale=4))
            assert image.draft(None, (10, 10)) is None  # it is decoded
        with Image.open(path) as image:
            assert image.draft(None, (300, 200)) is None
            image.thumbnail((64, 64))
            assert image.size == (64, 43)
        exact = Image.fromarray(codec.decode(file))
        exact.thumbnail((64, 64))
        found = psnr(np.asarray(image), np.asarray(exact))
        assert found is None or found > 35

    def test_thumbnails_need_no_previews(self, engine: Path, path: Path, tmp_path: Path) -> None:
        with Codec(without_previews(engine, tmp_path), threads=1) as codec:
            pillow.register(codec)
            with Image.open(path) as image:
                image.thumbnail((64, 64))
                assert image.size == (64, 43)
