"""CDF tables that are fitted to calibration images: valid, better on other images, and left out if they are not."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the table builder needs torch: pip install '.[export]'")

from export import fitted_tables, to_onnx  # noqa: E402
from export.assembly import entropy_tables, finish, model_of, named  # noqa: E402
from export.bundle import BundleWriter  # noqa: E402
from export.checkpoint import Checkpoint  # noqa: E402
from export.encoder_data import code_images  # noqa: E402
from export.fitted_tables import RATIOS, CodedSymbols, described, fit_tables, fit_weights, ideal_bits  # noqa: E402
from export.integer import default_images  # noqa: E402
from export.tables import SCALE_TABLE, gaussian_tables  # noqa: E402
from glic_deploy.bundle import MANIFEST, Bundle, TableFit  # noqa: E402
from glic_deploy.bundle_codec import BundleCodec  # noqa: E402
from glic_deploy.entropy.rans import CdfTables  # noqa: E402
from glic_deploy.errors import EngineError  # noqa: E402
from glic_deploy.image import load_image, pad  # noqa: E402

from .conftest import PHOTOS  # noqa: E402
from .test_tables import assert_valid  # noqa: E402


def drawn(seed: int, ratios: tuple[float, ...], weights: tuple[float, ...], count: int = 60_000) -> CodedSymbols:
    """Symbols of Gaussians whose scales are those of their rows, times a ratio that is drawn for each symbol."""
    rng = np.random.default_rng(seed)
    indexes = rng.integers(4, 30, count, dtype=np.uint8)
    scales = SCALE_TABLE[indexes] * rng.choice(ratios, count, p=weights)
    return CodedSymbols(np.rint(rng.normal(0, scales)).astype(np.int16), indexes)


class TestFit:
    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(st.floats(0, 1), min_size=len(RATIOS), max_size=len(RATIOS)).filter(lambda given: sum(given) > 0.01)
    )
    def test_any_mixture_gives_valid_tables(self, given_weights: list[float]) -> None:
        weights = np.array(given_weights) / sum(given_weights)
        tables = gaussian_tables(RATIOS, weights.tolist())
        assert_valid(*tables)
        CdfTables(*tables)
        exact = gaussian_tables()
        assert np.array_equal(tables.lengths, exact.lengths)
        assert np.array_equal(tables.offsets, exact.offsets)

    def test_the_exact_gaussian_alone_is_the_authors_table(self) -> None:
        weights = [float(ratio == 1) for ratio in RATIOS]
        for mixed, exact in zip(gaussian_tables(RATIOS, weights), gaussian_tables(), strict=True):
            assert np.array_equal(mixed, exact)

    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 1 << 32), st.integers(1, 300))
    def test_the_weights_of_any_symbols_are_a_distribution(self, seed: int, count: int) -> None:
        rng = np.random.default_rng(seed)
        symbols = rng.integers(-32768, 32768, count, dtype=np.int16)
        weights = fit_weights([CodedSymbols(symbols, rng.integers(0, 64, count, dtype=np.uint8))])
        assert sum(weights) == pytest.approx(1)
        assert min(weights) >= 0
        assert_valid(*gaussian_tables(RATIOS, weights))

    def test_few_counts_leave_the_exact_gaussian(self) -> None:
        weights = fit_weights([drawn(0, (2.0,), (1.0,), count=20)])
        assert weights[RATIOS.index(1.0)] > 0.95

    def test_a_known_mixture_is_approached(self) -> None:
        ratios, weights = (0.5, 1.0, 2.0), (0.3, 0.6, 0.1)
        images = [drawn(seed, ratios, weights) for seed in range(4)]
        tables, fit = fit_tables(images[:3])
        assert fit.form == "fitted"
        assert (fit.images, fit.ratios) == (3, RATIOS)
        best = gaussian_tables(ratios, weights)
        ours, limit, exact = (ideal_bits(one, images[3:]) for one in (tables, best, gaussian_tables()))
        assert ours < limit + 0.1 * (exact - limit)
        assert fit.held_out_percent == pytest.approx(100 * (ours / exact - 1), abs=0.3)

    def test_symbols_of_exact_gaussians_keep_the_authors_tables(self) -> None:
        tables, fit = fit_tables([drawn(seed, (1.0,), (1.0,)) for seed in range(3)])
        assert fit.form == "gaussian"
        assert fit.held_out_percent is not None
        assert fit.held_out_percent > -0.05
        assert all(np.array_equal(a, b) for a, b in zip(tables, gaussian_tables(), strict=True))
        assert (fit.ratios, fit.weights) == ((), ())

    def test_a_gain_below_the_least_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        images = [drawn(seed, (0.5, 1.0), (0.3, 0.7)) for seed in range(3)]
        gain = -(fit_tables(images)[1].held_out_percent or 0)
        assert gain > 0.3
        monkeypatch.setattr(fitted_tables, "LEAST_GAIN_PERCENT", gain + 0.01)
        assert fit_tables(images)[1] == TableFit("gaussian", 3, -gain)

    def test_a_gain_on_the_fitted_images_alone_does_not_count(self) -> None:
        """Each image has scales of its own, so that tables of the others lose."""
        images = [drawn(0, (0.5,), (1.0,)), drawn(1, (1.5,), (1.0,))]
        _, fit = fit_tables(images)
        assert fit.form == "gaussian"
        assert fit.held_out_percent is not None
        assert fit.held_out_percent > 0

    def test_one_image_cannot_be_judged(self) -> None:
        _, fit = fit_tables([drawn(0, (0.5,), (1.0,))])
        assert fit == TableFit("gaussian", 1, None)
        assert described(fit) == "gaussian entropy tables"


class TestBundle:
    def test_an_export_fits_the_tables(self, engine: Path, checkpoint: Checkpoint) -> None:
        bundle = Bundle.open(engine)
        fit = bundle.manifest.table_fit
        assert (fit.form, fit.images, fit.ratios) == ("fitted", 6, RATIOS)
        assert fit.held_out_percent is not None
        assert fit.held_out_percent < -0.3
        expected = gaussian_tables(fit.ratios, fit.weights)
        tables, exact = bundle.tables(), entropy_tables(checkpoint)
        assert all(np.array_equal(tables[f"y_{part}"], getattr(expected, part)) for part in expected._fields)
        assert all(np.array_equal(tables[name], exact[name]) for name in exact if name.startswith("z"))
        assert bundle.describe()["tables"]["form"] == "fitted"

    def test_other_images_lose_bits(self, engine: Path) -> None:
        """kodim07 and kodim21 are not among the calibration images."""
        images = [load_image(PHOTOS / name)[100:356, 200:456] for name in ("kodim07.png", "kodim21.png")]
        coded = [one.symbols for one in code_images(engine, images)]
        fitted = gaussian_tables(RATIOS, Bundle.open(engine).manifest.table_fit.weights)
        assert ideal_bits(fitted, coded) < 0.998 * ideal_bits(gaussian_tables(), coded)

    def test_the_same_images_give_the_same_tables(self, engine: Path) -> None:
        _, fit = fit_tables([one.symbols for one in code_images(engine, default_images())])
        assert fit == Bundle.open(engine).manifest.table_fit

    def test_the_coder_spends_what_the_tables_promise(self, engine: Path) -> None:
        image = load_image(PHOTOS / "kodim21.png")[100:356, 200:456]
        codec = BundleCodec(engine, backend="onnxruntime", threads=1)
        coded = codec.code(codec.analyse(pad(image)))
        bits = ideal_bits(
            gaussian_tables(RATIOS, codec.bundle.manifest.table_fit.weights),
            [CodedSymbols(s, i) for s, i in zip(coded.symbols, coded.indexes, strict=True)],
        )
        codec.close()
        assert bits < 8 * len(coded.payload) < 1.02 * bits + 800

    def test_the_fingerprint_follows_the_tables(self, checkpoint: Checkpoint, tmp_path: Path) -> None:
        writer, model, exact = BundleWriter(tmp_path), model_of(checkpoint), entropy_tables(checkpoint)
        fit = TableFit("fitted", 2, -0.5, (0.7, 1.2), (0.5, 0.5))
        prints = []
        for of_y, chosen in ((gaussian_tables(), TableFit()), (gaussian_tables(fit.ratios, fit.weights), fit)):
            finish(writer, model, exact | named("y", of_y), table_fit=chosen)
            bundle = Bundle.open(tmp_path)
            assert bundle.manifest.table_fit == chosen
            assert np.array_equal(bundle.tables()["y_cdfs"], of_y.cdfs)
            prints.append(bundle.fingerprints)
        assert prints[0] != prints[1]

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"form": "other"}, r"tables\.form is 'other', expected 'gaussian' or 'fitted'"),
            ({"images": -1}, r"tables\.images is -1"),
            ({"held_out_percent": "much"}, r"tables\.held_out_percent is 'much'"),
            ({"weights": [1.0]}, r"tables has 8 ratios and 1 weights"),
            ({"ratios": ["wide"]}, r"tables\.ratios\[0\] is 'wide'"),
        ],
    )
    def test_wrong_values_are_refused(self, engine: Path, tmp_path: Path, change: dict[str, Any], words: str) -> None:
        manifest = json.loads((engine / MANIFEST).read_text())
        manifest["tables"] |= change
        (tmp_path / MANIFEST).write_text(json.dumps(manifest))
        with pytest.raises(EngineError, match=words):
            Bundle.open(tmp_path)

    def test_a_manifest_without_the_entry_has_the_authors_tables(self, engine: Path, tmp_path: Path) -> None:
        manifest = json.loads((engine / MANIFEST).read_text())
        del manifest["tables"]
        (tmp_path / MANIFEST).write_text(json.dumps(manifest))
        assert Bundle.open(tmp_path).manifest.table_fit == TableFit()


class TestOption:
    def test_gaussian_keeps_the_authors_tables(
        self, checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(to_onnx, "add_traced_graphs", lambda *args: None)
        monkeypatch.setattr(to_onnx, "calibration_images", lambda directory: default_images()[:1])
        to_onnx.export_bundle(checkpoint, tmp_path / "plain", previews=False, tables="gaussian", exchange=None)
        bundle = Bundle.open(tmp_path / "plain")
        assert asdict(bundle.manifest.table_fit) == asdict(TableFit())
        tables = bundle.tables()
        assert all(np.array_equal(tables[name], value) for name, value in entropy_tables(checkpoint).items())

    @pytest.mark.parametrize("text", ["fitted", "gaussian", None])
    def test_the_command_line(self, text: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        asked: dict[str, Any] = {}

        def record(checkpoint: object, directory: Path, progress: object, **options: Any) -> None:
            asked.update(options)
            raise EngineError("nothing is written")

        monkeypatch.setattr(to_onnx, "load_checkpoint", lambda path: None)
        monkeypatch.setattr(to_onnx, "write_bundle", record)
        option = [] if text is None else ["--tables", text]
        assert to_onnx.main(["--checkpoint", "0.0130c.pth", "--output", str(tmp_path / "out"), *option]) == 1
        assert asked["tables"] == (text or "fitted")

    def test_another_form_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            to_onnx.main(["--checkpoint", "c.pth", "--tables", "laplace"])
        assert "choose from" in capsys.readouterr().err
