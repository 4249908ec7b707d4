"""The encoder's choice of symbols: its decisions, the strength that tuning finds, and the files of each effort."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

from glic_deploy import Codec, EngineError, ModelMismatchError, container
from glic_deploy.bundle import MANIFEST, Bundle, EncoderData, Trial, set_encoder_data
from glic_deploy.bundle_codec import BundleCodec
from glic_deploy.cli import exits, main
from glic_deploy.effort import default_effort, weighing_at
from glic_deploy.entropy.costs import symbol_bits
from glic_deploy.entropy.masking import error_weights
from glic_deploy.entropy.passes import MAX_SYMBOL, quantize
from glic_deploy.entropy.quantizer import COST_UNIT, DETAIL_SHARE, LATER_BITS, LEVELS, Costs, Quantizer, Weighing
from glic_deploy.entropy.rans import CdfTables
from glic_deploy.exchange import Coded, Exchange
from glic_deploy.image import load_image, pad
from glic_deploy.metrics import mean_squared_error
from glic_deploy.tuning import STRENGTHS, choose, tune

from .conftest import DATA, PHOTOS, SAMPLE_CHECKPOINT

if TYPE_CHECKING:
    from export.checkpoint import Checkpoint

ENCODER = EncoderData(0.1, (2.0,) * 10, "20%/dB", -2.0, -0.5, 6, (Trial(0.0, 0.4, 29.0), Trial(0.1, 0.37, 28.8)))


@pytest.fixture(scope="module")
def tables() -> dict[str, np.ndarray]:
    """The tables of the golden network, which never change."""
    arrays = np.load(DATA / "exact" / "network.npz")
    return {name: arrays[name] for name in arrays.files if name.startswith(("y_", "z_"))}


@pytest.fixture(scope="module")
def costs(tables: dict[str, np.ndarray]) -> Costs:
    return Costs(tables)


@pytest.fixture(scope="module")
def weighed(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with encoder data."""
    path = tmp_path_factory.mktemp("rate") / "weighed"
    shutil.copytree(engine, path)
    set_encoder_data(path, ENCODER)
    return path


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return load_image(PHOTOS / "kodim23.png")[100:260, 200:460]


def latents(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latents, means and indexes that reach all rows, large magnitudes and escapes."""
    random = np.random.default_rng(seed)
    indexes = random.integers(0, 64, (1, 4, 32, 48)).astype(np.uint8)
    scales = 0.11 * (256 / 0.11) ** (indexes / 63)
    y = (random.standard_normal(indexes.shape) * scales).astype(np.float32)
    y[0, 0, 0, :6] = -3000, 3000, 63.2, -64.4, 2.6, -1.6
    return y, random.standard_normal(indexes.shape).astype(np.float32), indexes


class TestCosts:
    def test_they_are_those_of_the_range_coder(self, tables: dict[str, np.ndarray]) -> None:
        parts = [tables[f"y_{part}"] for part in ("cdfs", "lengths", "offsets")]
        symbols = np.tile(np.arange(-40, 41, dtype=np.int16), (64, 1))
        indexes = np.repeat(np.arange(64, dtype=np.uint8)[:, None], 81, axis=1)
        ideal = CdfTables(*parts).ideal_bits(symbols, indexes)
        assert symbol_bits(symbols, indexes, *parts).sum() == pytest.approx(ideal, rel=1e-9)

    def test_no_logarithm_is_near_a_tie(self) -> None:
        """Whatever the last digits of a logarithm are on a machine, the rounded cost is the same."""
        bits = np.log2(np.arange(1, (1 << 16) + 1)) / COST_UNIT
        assert np.abs(bits - np.floor(bits) - 0.5).min() > 1e-6

    def test_the_expected_bits_are_the_entropy(self, costs: Costs, tables: dict[str, np.ndarray]) -> None:
        for row in (0, 20, 40):
            length = tables["y_lengths"][row]
            p = np.diff(tables["y_cdfs"][row, :length]) / 65536
            entropy = -(p * np.log2(p)).sum()
            assert costs.expected_bits(np.full((3, 5), row, np.uint8)) == pytest.approx(entropy, abs=0.01)


def even(strength: float, *usual_bits: float) -> tuple[Weighing, np.ndarray]:
    """A weighing, and weights that are the same everywhere, for the latents of `latents`."""
    return Weighing(strength, usual_bits), np.ones((32, 96), np.float32)


class TestQuantizer:
    @pytest.mark.parametrize("strength", [0.02, 0.1, 0.5, 2.0])
    def test_each_step_pays_and_none_is_missed(
        self, costs: Costs, tables: dict[str, np.ndarray], strength: float
    ) -> None:
        y, means, indexes = latents()
        chosen = Quantizer(costs, *even(strength)).symbols(y, means, indexes).astype(int)
        nearest = quantize(y, means).astype(int)
        difference = (y - means).astype(np.float64)
        parts = [tables[f"y_{part}"] for part in ("cdfs", "lengths", "offsets")]

        def gain(symbols: np.ndarray) -> np.ndarray:
            """Return what the step toward zero gains; it is 0 or less where there is none."""
            lower = symbols - np.sign(symbols)
            saved = symbol_bits(np.abs(symbols), indexes, *parts) - symbol_bits(np.abs(lower), indexes, *parts)
            rise = (difference - lower) ** 2 - (difference - symbols) ** 2
            share = np.where(np.abs(symbols) == 1, DETAIL_SHARE, 1)
            gained = strength * share * (saved + LATER_BITS) - rise
            return np.where((symbols == 0) | (np.abs(symbols) >= LEVELS - 1), 0.0, gained)

        expected = nearest.copy()
        unclear = np.zeros(nearest.shape, bool)  # where the rounding of costs decides
        for _ in range(LEVELS):
            unclear |= (np.abs(gain(expected)) < 1e-2) & (expected != 0) & (np.abs(expected) < LEVELS - 1)
            expected -= np.where(gain(expected) > 0, np.sign(expected), 0)
        assert np.array_equal(chosen[~unclear], expected[~unclear])
        assert unclear.mean() < 0.05
        assert np.any(chosen != nearest)

    def test_symbols_stay_in_range(self, costs: Costs) -> None:
        y, means, indexes = latents()
        symbols = Quantizer(costs, *even(0.3)).symbols(y, means, indexes)
        assert symbols[0, 0, 0, 0] == -MAX_SYMBOL
        assert symbols[0, 0, 0, 1] == MAX_SYMBOL

    def test_the_strength_follows_the_expected_rate(self, costs: Costs) -> None:
        y, means, indexes = latents()
        bits = costs.expected_bits(indexes)

        def moved(usual: float) -> int:
            quantizer = Quantizer(costs, *even(0.05, usual, usual))
            return int((quantizer.symbols(y, means, indexes) != quantize(y, means)).sum())

        same = int((Quantizer(costs, *even(0.05)).symbols(y, means, indexes) != quantize(y, means)).sum())
        assert moved(bits) == same
        assert moved(4 * bits) < same < moved(bits / 4)

    def test_golden_symbols(self, costs: Costs) -> None:
        """The same latents give the same symbols on every machine and in every version."""
        digest = hashlib.sha256()
        weights = (np.random.default_rng(3).integers(64, 1024, (32, 96)) / 256).astype(np.float32)
        for weighing in (Weighing(0.1), Weighing(0.05, (3.0, 2.0))):
            quantizer = Quantizer(costs, weighing, weights)
            for seed in (1, 2):
                digest.update(quantizer.symbols(*latents(seed)).astype("<i2").tobytes())
        assert digest.hexdigest() == "b2d355e0a1ed449d9350d07550b93577a524e0ba047721f92e5b7b345ec11122"

    def test_a_weight_is_a_factor_of_the_strength(self, costs: Costs) -> None:
        y, means, indexes = latents()
        weights = np.ones((32, 96), np.float32)
        weights[:, 48:] = 2
        found = Quantizer(costs, Weighing(0.05), weights).symbols(y, means, indexes)
        for strength, columns in ((0.05, slice(24)), (0.1, slice(24, 48))):
            assert np.array_equal(
                found[..., columns], Quantizer(costs, *even(strength)).symbols(y, means, indexes)[..., columns]
            )

    def test_each_pass_has_the_weights_of_its_parity(self, costs: Costs) -> None:
        y, means, indexes = latents()
        weights = np.full((32, 96), 0.0, np.float32)
        weights[0::2, 1::2] = weights[1::2, 0::2] = 1  # the non-anchors
        quantizer = Quantizer(costs, Weighing(0.3), weights)
        assert np.array_equal(quantizer.symbols(y, means, indexes), quantize(y, means))
        assert np.any(quantizer.symbols(y, means, indexes) != quantize(y, means))

    def test_values_that_are_not_numbers_do_not_crash(self, costs: Costs) -> None:
        y, means, indexes = latents()
        y[:] = np.nan
        with np.errstate(invalid="ignore"):
            assert Quantizer(costs, *even(0.1)).symbols(y, means, indexes).shape == y.shape


class TestMasking:
    def test_the_weights_follow_the_variance(self) -> None:
        """Of luma (R + 2 G + B) / 4, over the pixels of a position; 58 is the stabiliser of structural similarity."""
        image = load_image(PHOTOS / "kodim23.png")[:256, :384]
        luma = image @ np.array([1, 2, 1]) / 4
        variance = luma.reshape(16, 16, 24, 16).var(axis=(1, 3)) + 58
        expected = (variance / np.exp(np.log(variance).mean())) ** 0.35
        assert expected.max() < 4
        np.testing.assert_allclose(error_weights(image), expected, rtol=0.02)

    def test_the_weights_are_exact(self) -> None:
        image = np.random.default_rng(0).integers(0, 256, (256, 384, 3)).astype(np.uint8)
        image[:100] = 7
        image[100:200] //= 16
        assert (
            hashlib.sha256(error_weights(image).tobytes()).hexdigest()
            == "67ebfbc846e4a66b7455c79a69995ecf2dcfe43cc209f1492723d6294b01fa7e"
        )

    @pytest.mark.parametrize("value", [0, 255])
    def test_a_flat_image_hides_no_more_anywhere(self, value: int) -> None:
        assert np.array_equal(error_weights(np.full((128, 256, 3), value, np.uint8)), np.ones((8, 16), np.float32))

    def test_extremes_are_bounded(self) -> None:
        image = np.zeros((128, 128, 3), np.uint8)
        image[:16, :16:2] = 255
        weights = error_weights(image)
        assert weights[0, 0] == weights.max() <= 4
        assert weights.min() >= 0.25


class TestExchange:
    def test_texts(self) -> None:
        assert Exchange.parse("20%/dB") == Exchange(20.0, per_db=True)
        assert Exchange.parse(" 17.5 %/dB ") == Exchange(17.5, per_db=True)
        assert Exchange.parse("0.013") == Exchange(0.013, per_db=False)
        for rate in (Exchange(20.0, per_db=True), Exchange(0.013, per_db=False)):
            assert Exchange.parse(str(rate)) == rate
        for text in ("", "20%", "-1", "0", "0%/dB", "nan", "inf", "1e9", "a dozen"):
            with pytest.raises(EngineError, match="20%/dB, or a lambda above 0"):
                Exchange.parse(text)

    def test_a_db_for_20_percent_is_even(self) -> None:
        plain = [Coded(1.0, 100.0), Coded(0.5, 25.0)]
        traded = [Coded(0.8, 100.0 * 10**0.1), Coded(0.4, 25.0 * 10**0.1)]
        assert Exchange(20.0, per_db=True).net_percent(traded, plain) == pytest.approx(0.0)
        assert Exchange(10.0, per_db=True).net_percent(traded, plain) == pytest.approx(-10.0)

    def test_a_lambda_weighs_the_error(self) -> None:
        net = Exchange(0.01, per_db=False).net_percent([Coded(0.9, 104.0)], [Coded(1.0, 100.0)])
        assert net == pytest.approx(100 * (0.9 + 1.04 - 2) / 2)


def model_image(cost: float, strength: float) -> Coded:
    """An image that loses PSNR with the square of the strength."""
    return Coded(math.exp(-0.9 * strength), 100 * 10 ** (cost * strength**2 / 10))


class ModelImage:
    """Stands for `Measured`, and keeps the strengths that were tried."""

    expected_bits: ClassVar = [2.0]

    def __init__(self, cost: float) -> None:
        self._cost = cost
        self.tried: list[float] = []
        self.plain = model_image(cost, 0.0)

    def at(self, weighing: Weighing) -> Coded:
        self.tried.append(weighing.strength)
        return model_image(self._cost, weighing.strength)


class TestTuning:
    usual = (2.0,) * 10

    def trials(self, *costs: float) -> dict[float, list[Coded]]:
        """Trials of images that lose PSNR with the square of the strength, each by its own cost."""
        return {s: [model_image(cost, s) for cost in costs] for s in (0.0, *STRENGTHS)}

    def test_the_smallest_strength_of_nearly_the_least_cost_is_found(self) -> None:
        found = choose(self.trials(24.0, 24.0), self.usual, Exchange(20.0, per_db=True))
        assert found is not None
        assert found.strength == 0.07  # 0.1 has the least cost of -90 s + 480 s², and gains 1.4 % more
        assert found.net_percent == pytest.approx(100 * (math.exp(-0.063) - 1) + 480 * 0.07**2, abs=0.02)
        assert found.images == 2
        assert [trial.strength for trial in found.trials] == [0.0, *STRENGTHS]

    def test_nothing_is_kept_if_nothing_pays(self) -> None:
        assert choose(self.trials(2000.0), self.usual, Exchange(20.0, per_db=True)) is None

    @pytest.mark.parametrize("cost", [1.0, 5.0, 10.0, 20.0, 30.0, 60.0, 100.0, 300.0, 2000.0])
    def test_the_search_finds_what_all_strengths_find(self, cost: float) -> None:
        exchange = Exchange(20.0, per_db=True)
        images = [ModelImage(cost), ModelImage(1.5 * cost)]
        found, expected = tune(images, exchange), choose(self.trials(cost, 1.5 * cost), (2.0,), exchange)  # type: ignore[arg-type]
        assert (found and (found.strength, found.net_percent)) == (
            expected and (expected.strength, expected.net_percent)
        )
        assert len(images[0].tried) <= 5
        assert len(set(images[0].tried)) == len(images[0].tried)

    def test_the_worst_image_is_judged_by_the_others_strength(self) -> None:
        found = choose(self.trials(20.0, 20.0, 150.0), self.usual, Exchange(20.0, per_db=True))
        assert found is not None
        assert found.worst_percent is not None
        assert found.worst_percent > 8
        alone = choose(self.trials(20.0), self.usual, Exchange(20.0, per_db=True))
        assert alone is not None
        assert alone.worst_percent is None


class TestDefaultEffort:
    @pytest.mark.parametrize(("worst", "effort"), [(-0.5, 1), (0.0, 1), (0.01, 0), (None, 0)])
    def test_it_is_1_if_no_image_lost(self, engine: Path, tmp_path: Path, worst: float | None, effort: int) -> None:
        shutil.copytree(engine, tmp_path / "bundle")
        set_encoder_data(tmp_path / "bundle", replace(ENCODER, worst_percent=worst))
        bundle = Bundle.open(tmp_path / "bundle")
        assert default_effort(bundle) == effort
        assert weighing_at(None, bundle) == weighing_at(effort, bundle)

    def test_without_encoder_data_it_is_0(self, engine: Path, tmp_path: Path) -> None:
        shutil.copytree(engine, tmp_path / "bundle")
        set_encoder_data(tmp_path / "bundle", None)
        assert default_effort(Bundle.open(tmp_path / "bundle")) == 0


class TestEncoderData:
    def test_the_manifest_keeps_them_and_the_fingerprints(self, weighed: Path, engine: Path) -> None:
        bundle = Bundle.open(weighed)
        assert bundle.manifest.encoder == ENCODER
        assert bundle.weighing == Weighing(0.1, (2.0,) * 10)
        assert bundle.fingerprints == Bundle.open(engine).fingerprints
        assert bundle.describe()["encoder"]["strength"] == 0.1

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"strength": 0}, r"encoder\.strength is 0, expected a number above 0 and up to 2"),
            ({"strength": 2.1}, r"encoder\.strength is 2\.1"),
            ({"usual_bits": [2.0]}, r"encoder\.usual_bits .* 10"),
            ({"usual_bits": [0.0] * 10}, r"encoder\.usual_bits\[0\] is 0"),
            ({"exchange": "é"}, r"encoder\.exchange"),
            ({"images": 0}, r"encoder\.images"),
        ],
    )
    def test_wrong_values_are_refused(self, weighed: Path, tmp_path: Path, change: dict, words: str) -> None:
        manifest = json.loads((weighed / MANIFEST).read_text())
        manifest["encoder"] |= change
        (tmp_path / MANIFEST).write_text(json.dumps(manifest))
        with pytest.raises(EngineError, match=words):
            Bundle.open(tmp_path)

    def test_an_export_measures_them(self, engine: Path, tmp_path: Path) -> None:
        pytest.importorskip("torch", reason="needs the export extra")
        from export.encoder_data import add_encoder_data, code_images
        from export.integer import default_images
        from export.progress import SILENT

        path = shutil.copytree(engine, tmp_path / "measured")
        add_encoder_data(path, code_images(path, default_images()), "20%/dB", SILENT)
        found = Bundle.open(path).manifest.encoder
        assert found is not None
        assert found.strength in STRENGTHS
        assert found.net_percent < -1
        assert found.exchange == "20%/dB"
        assert found.images == 6

    def test_none_removes_them(self, weighed: Path, tmp_path: Path) -> None:
        path = tmp_path / "plain"
        shutil.copytree(weighed, path)
        set_encoder_data(path, None)
        assert Bundle.open(path).weighing == Weighing()
        assert "encoder" not in json.loads((path / MANIFEST).read_text())


class TestEffort:
    def test_files_decode_to_the_encoder_s_latents(self, weighed: Path, picture: np.ndarray) -> None:
        codec = BundleCodec(weighed, backend="onnxruntime", threads=1)
        sizes = {}
        for weighing in (Weighing(), codec.bundle.weighing, Weighing(0.5)):
            coded = codec.code(codec.analyse(pad(picture)), weighing=weighing)
            decoded = codec._decode_latents(coded.payload, coded.checksum, 160, 260, None, None)
            assert np.array_equal(decoded, coded.y_hat)
            sizes[weighing.strength] = len(coded.payload)
        assert sizes[0.5] < sizes[0.1] < sizes[0.0]
        codec.close()

    def test_efforts_of_the_codec(self, weighed: Path, engine: Path, picture: np.ndarray) -> None:
        with Codec(weighed, backend="onnxruntime", threads=1) as codec:
            plain, weighed_file = (codec.encode(picture, effort=effort) for effort in (0, 1))
            assert codec.encode(picture) == weighed_file  # no image lost when the bundle was tuned
            assert len(weighed_file) < len(plain)
            assert list(codec.encode_many([picture], effort=1)) == [weighed_file]
            assert codec.decode(weighed_file).shape == picture.shape
            tiled = codec.encode(picture, effort=1, tile=256)
            assert container.is_tiled(memoryview(tiled))
            assert len(tiled) < len(codec.encode(picture, effort=0, tile=256))
            for effort in (-1, 3, 1.5, "1"):
                with pytest.raises(EngineError, match=r"effort is .* expected 0"):
                    codec.encode(picture, effort=effort)  # type: ignore[arg-type]

    def test_without_encoder_data_effort_1_is_effort_0(
        self, weighed: Path, picture: np.ndarray, tmp_path: Path
    ) -> None:
        path = tmp_path / "plain"
        shutil.copytree(weighed, path)
        set_encoder_data(path, None)
        with Codec(path, backend="onnxruntime", threads=1) as codec:
            assert codec.encode(picture, effort=1) == codec.encode(picture, effort=0)

    def test_a_target_is_met_between_the_bundles(self, weighed: Path, picture: np.ndarray) -> None:
        with Codec(weighed, backend="onnxruntime", threads=1) as codec:
            size = len(codec.encode(picture, effort=0))
            for target in (round(0.95 * size), round(0.8 * size)):
                assert 0.98 * target <= len(codec.encode(picture, target_bytes=target)) <= target


@pytest.fixture(scope="module")
def small() -> np.ndarray:
    return load_image(PHOTOS / "kodim23.png")[100:220, 200:328]


class TestRefinement:
    def test_the_gradient_is_that_of_the_error(self, checkpoint: Checkpoint, small: np.ndarray) -> None:
        torch = pytest.importorskip("torch", reason="needs the export extra")
        from export.network import Synthesis
        from export.network.scope import Scope
        from export.synthesis_gradient import gradient

        synthesis = Synthesis(Scope(checkpoint.state) / "g_s").requires_grad_(False)
        y_hat = np.random.default_rng(0).standard_normal((1, 64, 8, 8)).astype(np.float32)
        with torch.random.fork_rng():
            derivative, error = gradient(synthesis, y_hat, small)
        step = 1e-3 * derivative / np.abs(derivative).max()
        ahead, behind = (gradient(synthesis, y_hat + sign * step, small)[1] for sign in (1, -1))
        assert error > 0
        assert (ahead - behind) / 2 == pytest.approx(float((derivative * step).sum()), rel=0.05)

    @pytest.mark.slow
    def test_effort_2_costs_less_than_effort_1(self, weighed: Path, small: np.ndarray) -> None:
        exchange = Exchange(20.0, per_db=True)
        with Codec(weighed, backend="onnxruntime", threads=1, checkpoint=SAMPLE_CHECKPOINT) as codec:
            coded = []
            for effort in (0, 1, 2):
                data = codec.encode(small, effort=effort)
                coded.append(Coded(8 * len(data) / small[..., 0].size, mean_squared_error(small, codec.decode(data))))
            assert codec.decode(codec.encode(small, effort=2, tile=256)).shape == small.shape
        nets = [exchange.net_percent([one], coded[:1]) for one in coded]
        assert nets[2] < nets[1]

    def test_it_needs_the_checkpoint_of_the_bundle(self, weighed: Path, small: np.ndarray, tmp_path: Path) -> None:
        with Codec(weighed, backend="onnxruntime", threads=1) as codec:
            with pytest.raises(EngineError, match="effort 2 needs PyTorch and the checkpoint"):
                codec.encode(small, effort=2)
            assert codec.encode(small, effort=1)
        with (
            Codec(weighed, backend="onnxruntime", threads=1, checkpoint=tmp_path / "none.pth") as codec,
            pytest.raises(EngineError, match="differentiates the synthesis ended"),
        ):
            codec.encode(small, effort=2)

    def test_another_checkpoint_is_refused(self, weighed: Path, small: np.ndarray, tmp_path: Path) -> None:
        other = tmp_path / "other"
        shutil.copytree(weighed, other)
        manifest = json.loads((other / MANIFEST).read_text())
        manifest["model"]["fingerprint"] = "ab" * 32
        (other / MANIFEST).write_text(json.dumps(manifest))
        with (
            Codec(other, backend="onnxruntime", threads=1, checkpoint=SAMPLE_CHECKPOINT) as codec,
            pytest.raises(ModelMismatchError, match=r"the bundle .* is of abababab"),
        ):
            codec.encode(small, effort=2)


class TestCommands:
    def test_tune_then_encode(self, weighed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        from PIL import Image

        engine, source = tmp_path / "engine", tmp_path / "photo.png"
        shutil.copytree(weighed, engine)
        set_encoder_data(engine, None)
        Image.open(PHOTOS / "kodim23.png").crop((200, 100, 456, 228)).save(source)
        command = ["tune", "--engine", str(engine), "--backend", "onnxruntime", str(source)]
        assert main([*command, "--dry-run", "--json", str(tmp_path / "found.json")]) == exits.OK
        assert Bundle.open(engine).manifest.encoder is None
        found = json.loads((tmp_path / "found.json").read_text())["bundles"][0]["encoder"]
        assert main(command) == exits.OK
        encoder = Bundle.open(engine).manifest.encoder
        assert encoder is not None
        assert encoder.strength == found["strength"]
        assert "strength" in capsys.readouterr().err
        coded = [tmp_path / f"{effort}.glic" for effort in (0, 1)]
        for effort, target in enumerate(coded):
            encode = ["encode", str(source), str(target), "--engine", str(engine), "--backend", "onnxruntime"]
            assert main([*encode, "--effort", str(effort)]) == exits.OK
        assert coded[1].stat().st_size < coded[0].stat().st_size
        missed = [*encode[:2], str(tmp_path / "no.glic"), *encode[3:], "--target-bytes", "10", "--strict"]
        assert main(missed) != exits.OK
        assert not (tmp_path / "no.glic").exists()
        assert "target_bytes is 10" in capsys.readouterr().err

    def test_a_wrong_exchange_rate(self, weighed: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code = main(["tune", "--engine", str(weighed), str(PHOTOS), "--exchange", "much"])
        assert code == exits.BAD_ENGINE
        assert "20%/dB" in capsys.readouterr().err
        assert Bundle.open(weighed).manifest.encoder == replace(ENCODER)
