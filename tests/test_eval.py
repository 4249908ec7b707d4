"""`glic eval`: quality and sizes against hand computation, what bits are for, curves, resuming, and bad input."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image

from glic_deploy import Codec, container, errors, metrics
from glic_deploy.bundle import Bundle
from glic_deploy.cli import exits, main
from glic_deploy.entropy.passes import CodedPass, Pass
from glic_deploy.entropy.rans import CdfTables, Encoder
from glic_deploy.evaluation import codecs, curves, degrees, quality, rates, results, tables
from glic_deploy.evaluation.curves import PUBLISHED, Curve, Point, bd_rate, psnr_at
from glic_deploy.evaluation.families import families, load_external
from glic_deploy.evaluation.run import SCHEMA_FILE, Evaluation, Settings

from .oracles.grouping import pack, query_nodes


@pytest.fixture(scope="session")
def small_pictures(tmp_path_factory) -> Path:
    """Two pictures and a file that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    y, x = np.mgrid[:176, :200]
    for name, shift in (("a", 0), ("b", 40)):
        waves = np.stack([np.sin((x + shift) / 9), np.cos(y / 7), np.sin((x + y) / 13)], axis=-1)
        Image.fromarray((128 + 90 * waves).astype(np.uint8)).save(folder / f"{name}.png")
    (folder / "bad.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="session")
def evaluated(engine, small_pictures, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("kept")
    images = [str(small_pictures / name) for name in ("a.png", "bad.png", "b.png")]
    settings = Settings([str(engine)], images, threads=1, codecs=["jpeg"], keep=str(folder))
    evaluation = Evaluation(settings, lambda line: None)
    return {"document": evaluation.run(), "errors": evaluation.errors, "keep": folder, "settings": settings}


class TestQuality:
    def test_psnr_by_hand(self):
        picture = np.zeros((2, 2, 3), np.uint8)
        other = picture.copy()
        other[0, 0] = (6, 0, 0)
        assert metrics.psnr(picture, other) == pytest.approx(10 * np.log10(255**2 / 3))
        assert metrics.psnr(picture, picture) is None

    def test_ms_ssim(self):
        pytest.importorskip("pytorch_msssim", reason="MS-SSIM needs pytorch-msssim")
        rng = np.random.default_rng(0)
        picture = rng.integers(0, 256, (176, 180, 3), np.uint8)
        noisy = (picture.astype(int) + rng.integers(-40, 41, picture.shape)).clip(0, 255).astype(np.uint8)
        with quality.MsSsim() as similarity:
            assert similarity(picture, picture) == pytest.approx(1)
            assert 0.5 < similarity(picture, noisy) < 0.999
            assert similarity(picture[:100], picture[:100]) is None


class TestRates:
    def test_bits_of_symbols_and_escapes_by_hand(self):
        tables_of_z = {
            "z_cdfs": np.array([[0, 16384, 49152, 65535, 65536]], np.int32),
            "z_lengths": np.array([5], np.int32),
            "z_offsets": np.array([-1], np.int32),
        }
        symbols = np.array([-1, 0, 1, 2, -2, 9], np.int16).reshape(1, 1, 1, 6)
        coded = CodedPass(None, symbols, np.zeros_like(symbols, np.uint8))
        bits = rates.element_bits(coded, tables_of_z).ravel()
        # Beyond the table: 16 bits, 5 of the distance's class, and the distance (0, 0, 7) without its leading one.
        assert bits.tolist() == pytest.approx([2, 1, 2 + np.log2(16384 / 16383), 21, 21, 23])

    def test_native_coder_agrees(self):
        rng = np.random.default_rng(1)
        cdfs = np.array([[0, 9, 40000, 65530, 65536, 0], [0, 1, 2, 60000, 65535, 65536]], np.int32)
        named = {"y_cdfs": cdfs, "y_lengths": np.array([5, 6], np.int32), "y_offsets": np.array([-1, -2], np.int32)}
        symbols = np.rint(rng.standard_cauchy((1, 4, 8, 6)) * 3).clip(-32768, 32767).astype(np.int16)
        indexes = rng.integers(0, 2, symbols.shape).astype(np.uint8)
        bits = rates.element_bits(CodedPass(Pass(0, 0, 4, 0), symbols, indexes), named)
        native = CdfTables(cdfs, named["y_lengths"], named["y_offsets"])
        assert bits.sum() == pytest.approx(native.ideal_bits(symbols, indexes))
        encoder = Encoder()
        encoder.push(native, symbols, indexes)
        assert 8 * len(encoder.finish()) == pytest.approx(bits.sum(), rel=0.1)

    def test_parts_of_a_file_and_its_blocks(self, engine, small_pictures):
        bundle_tables = Bundle.open(engine).tables()
        with Codec(engine, threads=1) as codec:
            data = codec.encode(small_pictures / "a.png")
            passes: list[CodedPass] = []
            codec.decode(data, passes=passes)
        parts = rates.parts(passes, bundle_tables, len(container.parse(data).payload), len(data))
        assert sum(parts.values()) == pytest.approx(8 * len(data))
        assert list(parts)[:3] == ["z", "slice0_anchors", "slice0_nonanchors"]
        assert parts["header"] <= 8 * 32
        assert 0 < parts["range coder"] < 0.01 * 8 * len(data) + 400
        blocks = rates.block_bits(passes, bundle_tables)
        assert blocks.shape == (16, 16)
        assert blocks.sum() == pytest.approx(rates.estimated_bits(parts))
        assert blocks[rates.blocks_shown(200, 176)].shape == (11, 13)

    def test_blocks_lie_where_their_symbols_do(self):
        uniform = {"cdfs": np.array([[0, 32768, 65535, 65536]], np.int32), "lengths": np.array([4], np.int32)}
        named = {f"{latent}_{name}": value for latent in "yz" for name, value in uniform.items()}
        named |= {f"{latent}_offsets": np.array([0], np.int32) for latent in "yz"}
        z = CodedPass(None, np.zeros((1, 1, 1, 2), np.int16), np.zeros((1, 1, 1, 2), np.uint8))
        symbols = np.zeros((1, 1, 4, 4), np.int16)
        symbols[0, 0, 1, 0] = 5  # an anchor: row 1, so column 1
        y = CodedPass(Pass(0, 0, 1, 0), symbols, np.zeros(symbols.shape, np.uint8))
        blocks = rates.block_bits([z, y], named)
        assert blocks.shape == (4, 8)
        assert np.unravel_index(blocks.argmax(), blocks.shape) == (1, 1)


class TestDegrees:
    @pytest.mark.parametrize("sampling", [0, 1])
    def test_degrees_are_at_their_nodes(self, sampling):
        h, w = 32, 48
        rng = np.random.default_rng(sampling)
        edges = rng.random((1, (h // 8) * (w // 8), 64, 256)) < rng.random((1, (h // 8) * (w // 8), 64, 1))
        expected = np.empty(h * w, int)
        expected[query_nodes(h, w, sampling).ravel()] = edges.sum(-1).ravel()
        np.testing.assert_array_equal(
            degrees.degree_map(pack(edges), (h, w), local=sampling == 0), expected.reshape(h, w)
        )

    def test_of_an_engine(self, engine, small_pictures):
        picture = np.asarray(Image.open(small_pictures / "a.png"))
        maps = degrees.node_degrees(Bundle.open(engine), picture, threads=1)
        assert [degree_map.name for degree_map in maps] == [
            "g_a.g2 local", "g_a.g2 global", "g_a.g3 local", "g_a.g3 global",
        ]  # fmt: skip
        assert [degree_map.degrees.shape for degree_map in maps] == [(64, 64), (64, 64), (32, 32), (32, 32)]
        assert all(0 <= degree_map.degrees.min() < degree_map.degrees.max() <= 256 for degree_map in maps)


class TestCurves:
    def test_bd_rate_of_a_shifted_curve(self):
        kodak = PUBLISHED["kodak"]
        cheaper = Curve.of("cheaper", [Point(0.8 * point.bpp, point.psnr) for point in kodak.points])
        assert bd_rate(cheaper, kodak) == pytest.approx(-20)
        assert bd_rate(kodak, kodak) == pytest.approx(0)

    def test_where_it_is_undefined(self):
        kodak = PUBLISHED["kodak"]
        assert bd_rate(Curve.of("few", kodak.points[:3]), kodak) is None
        far = Curve.of("far", [Point(point.bpp, point.psnr + 50) for point in kodak.points])
        assert bd_rate(far, kodak) is None
        falling = Curve.of("falling", [Point(point.bpp, -point.psnr) for point in kodak.points])
        assert bd_rate(falling, kodak) is None

    def test_left_out_where_its_package_is_missing(self, evaluated, monkeypatch):
        monkeypatch.setattr("glic_deploy.evaluation.run.bd_rate_installed", lambda: False)
        said: list[str] = []
        assert Evaluation(evaluated["settings"], said.append).run()["bd_rates"] == []
        assert any("pip install" in line for line in said)

    def test_psnr_at_a_rate(self):
        curve = Curve.of("c", [Point(0.4, 34.0), Point(0.1, 30.0)])
        assert psnr_at(curve, 0.2) == pytest.approx(32)
        assert psnr_at(curve, 0.5) is None

    def test_published_curves_are_the_specification_s(self):
        assert all(len(curve.points) == 6 for curve in PUBLISHED.values())
        assert PUBLISHED["kodak"].points[0] == Point(0.1083, 29.2139)
        assert PUBLISHED["tecnick"].points[-1] == Point(0.5640, 38.8924)


class TestCodecs:
    def test_round_trip(self, small_pictures):
        picture = np.asarray(Image.open(small_pictures / "a.png"))
        for codec in codecs.choose(None):
            data, decoded, encode_s, decode_s = codec.round_trip(picture, codec.qualities[-1])
            assert decoded.shape == picture.shape
            assert min(len(data), encode_s, decode_s) > 0
            assert metrics.psnr(picture, decoded) > 20

    def test_names(self):
        assert [codec.name for codec in codecs.choose(["jpeg"])] == ["jpeg"]
        assert codecs.choose([]) == []
        with pytest.raises(errors.EngineError, match="jpeg, webp"):
            codecs.choose(["bpg"])


class TestEvaluation:
    def test_follows_the_schema(self, evaluated):
        document = json.loads(json.dumps(evaluated["document"]))
        jsonschema.validate(document, json.loads(SCHEMA_FILE.read_text()))

    def test_sizes_and_quality_are_those_of_the_files(self, evaluated, engine, small_pictures):
        rows = evaluated["document"]["engines"][0]["rows"]
        assert [Path(row["image"]).name for row in rows] == ["a.png", "b.png"]
        with Codec(engine, threads=1) as codec:
            for row in rows:
                (file,) = evaluated["keep"].glob(f"{Path(row['image']).stem}.*.glic")
                data = file.read_bytes()
                assert row["bytes"] == len(data)
                assert row["bpp"] == 8 * len(data) / (200 * 176)
                original = np.asarray(Image.open(row["image"]))
                assert row["psnr"] == pytest.approx(metrics.psnr(original, codec.decode(data)), abs=1e-3)

    def test_mean_row(self, evaluated):
        (engine,) = evaluated["document"]["engines"]
        a, b = engine["rows"]
        assert engine["mean"]["images"] == 2
        for column in ("bpp", "psnr"):
            assert engine["mean"][column] == pytest.approx((a[column] + b[column]) / 2)
        assert sum(engine["mean"]["parts_bpp"].values()) == pytest.approx(engine["mean"]["bpp"])

    def test_unreadable_picture_is_told_and_skipped(self, evaluated):
        (failure,) = evaluated["document"]["failures"]
        assert failure["image"].endswith("bad.png")
        assert failure["error_type"] == "ImageError"
        assert len(evaluated["errors"]) == 1
        assert all(len(point["rows"]) == 2 for point in evaluated["document"]["codecs"][0]["points"])

    def test_resumes(self, evaluated, monkeypatch):
        monkeypatch.setattr(
            "glic_deploy.evaluation.run.measure_engine", lambda *_: pytest.fail("measured although it was kept")
        )
        again = Evaluation(evaluated["settings"], lambda line: None).run()
        assert again["engines"][0]["rows"] == evaluated["document"]["engines"][0]["rows"]

    def test_tables_and_csv(self, evaluated):
        text = tables.render(evaluated["document"])
        for words in ("slice 4 non-anchors", "JPEG of Pillow", "mean", "skipped", "No BD-rate"):
            assert words in text
        rows = list(csv.DictReader(io.StringIO(results.as_csv(evaluated["document"]))))
        assert [row["image"].rpartition("/")[2] for row in rows[:3]] == ["a.png", "b.png", "mean"]
        assert float(rows[2]["bpp"]) == pytest.approx(evaluated["document"]["engines"][0]["mean"]["bpp"])

    def test_several_engines_make_a_curve(self, evaluated, engine, tmp_path):
        shutil.copytree(engine, tmp_path / "other")
        settings = evaluated["settings"]
        both = Settings(
            [str(engine), str(tmp_path / "other")],
            settings.images,
            threads=1,
            codecs=[],
            keep=settings.keep,
            families=["a", "b"],
            external=[{"title": "x", "points": [{"bpp": 1.0, "psnr": 40.0, "ms_ssim": None}]}],
        )
        document = Evaluation(both, lambda line: None).run()
        jsonschema.validate(json.loads(json.dumps(document)), json.loads(SCHEMA_FILE.read_text()))
        assert [entry["title"] for entry in document["engines"]] == ["sample", "other"]
        assert [entry["family"] for entry in document["engines"]] == ["a", "b"]
        assert document["codecs"] == []
        assert {(pair["of"], pair["to"]) for pair in document["bd_rates"]} <= {("b", "a"), ("a", "x"), ("b", "x")}

    def test_published_only_for_the_whole_set(self):
        from glic_deploy.evaluation.run import _set_of

        names = [f"x/kodim{number:02}.png" for number in range(1, 25)]
        assert _set_of(names) == "kodak"
        assert _set_of(names[:3]) is None


class TestFamilies:
    def document(self, **options) -> dict:
        def entry(title: str, family: str, bpp: float) -> dict:
            row = {"bpp": bpp, "psnr": 30 + bpp, "ms_ssim": None}
            return {"title": title, "family": family, "mean": row}

        entries = [entry(f"{family}{bpp}", family, bpp) for family in "ab" for bpp in (0.1, 0.2, 0.4, 0.8)]
        return {"engines": entries, "codecs": [], "published": None, **options}

    def test_each_is_a_curve(self):
        from glic_deploy.evaluation.run import _compare, curves_of

        external = [{"title": "VTM", "points": [{"bpp": 0.3, "psnr": 31.0, "ms_ssim": None}]}]
        document = self.document(external=external)
        ours, others = curves_of(document)
        assert (ours.title, len(ours.points)) == ("a", 4)
        assert [(curve.title, len(curve.points)) for curve in others] == [("b", 4), ("VTM", 1)]
        compared = _compare(document["engines"], [], None, external)
        assert {(pair["of"], pair["to"]) for pair in compared["at_equal_rate"]} == {
            ("b", "a"),
            ("a", "VTM"),
            ("b", "VTM"),
        }
        if curves.bd_rate_installed():
            rates = {(pair["of"], pair["to"]): pair["percent"] for pair in compared["bd_rates"]}
            assert rates[("b", "a")] == pytest.approx(0)

    def test_which_engines_are_one(self, engine, tmp_path):
        for place in ("new/1", "new/2", "old/new/1", "old/new/2", "one", "two"):
            shutil.copytree(engine, tmp_path / place)
        new, old, one, two = (str(tmp_path / name) for name in ("new", "old/new", "one", "two"))
        titles = [title for _, title in families([new, old])]
        assert titles == ["new", "new", "new (2)", "new (2)"]
        assert families([one, two]) == [(one, "engines"), (two, "engines")]
        assert families([one]) == [(one, "one")]
        assert [title for _, title in families([f"ours={one}", f"theirs={two}"])] == ["ours", "theirs"]
        assert [title for _, title in families([f"ours={one}", f"ours={two}", one])] == ["ours", "ours", "one"]
        manifest = json.loads((tmp_path / "two" / "manifest.json").read_text())
        manifest["model"]["config"]["window"] = 16
        (tmp_path / "two" / "manifest.json").write_text(json.dumps(manifest))
        assert [title for _, title in families([one, two])] == ["one", "two"]

    def test_external_results(self, evaluated, tmp_path):
        (tmp_path / "vtm.csv").write_text("bpp,psnr\n0.1,30\n0.2,32\n")
        (curve,) = load_external(str(tmp_path / "vtm.csv"))
        assert curve["title"] == "vtm"
        assert curve["points"][1] == {"bpp": 0.2, "psnr": 32.0, "ms_ssim": None}
        (tmp_path / "own.csv").write_text(results.as_csv(evaluated["document"]))
        own = {curve["title"]: curve["points"] for curve in load_external(str(tmp_path / "own.csv"))}
        assert len(own["jpeg"]) == 7
        (tmp_path / "two.json").write_text('[{"codec": "x", "bpp": 1, "psnr": 40, "ms_ssim": 0.99}]')
        assert load_external(str(tmp_path / "two.json"))[0]["points"][0]["ms_ssim"] == 0.99

    @pytest.mark.parametrize(
        "content", ["", "bpp\n1\n", "bpp,psnr\nx,1\n", "bpp,psnr\nnan,1\n", "\0", "[1]", "[" * 9999]
    )
    @pytest.mark.parametrize("name", ["bad.csv", "bad.json"])
    def test_external_results_that_are_none(self, tmp_path, content, name):
        (tmp_path / name).write_text(content)
        with pytest.raises(errors.EngineError, match="bpp and psnr"):
            load_external(str(tmp_path / name))


class TestStore:
    def test_line_cut_by_an_interruption(self, tmp_path):
        path = tmp_path / "results.jsonl"
        store = results.Store(path)
        store.put("a", {"bpp": 1})
        with open(path, "a") as stream:
            stream.write('{"key": "b", "ro')
        store = results.Store(path)
        assert (store.get("a"), store.get("b")) == ({"bpp": 1}, None)
        store.put("b", {"bpp": 2})
        assert results.Store(path).get("b") == {"bpp": 2}

    def test_key_changes_with_the_picture(self, tmp_path):
        path = tmp_path / "a.png"
        path.write_bytes(b"1")
        before = results.key_of(str(path), {"model": "x"})
        path.write_bytes(b"22")
        assert results.key_of(str(path), {"model": "x"}) != before


class TestCommand:
    def test_json_alone_on_stdout_and_exit_code(self, evaluated, engine, capsys, tmp_path):
        settings = evaluated["settings"]
        arguments = ["--engine", str(engine), "--threads", "1", "--keep", settings.keep, "--codecs", "jpeg"]
        code = main(["eval", *settings.images, *arguments, "--csv", str(tmp_path / "rows.csv"), "--json", "-"])
        assert code == exits.BAD_INPUT
        said = capsys.readouterr()
        assert json.loads(said.out)["schema"] == "glic-eval/1"
        assert "skipped" in said.err
        assert (tmp_path / "rows.csv").read_text().count("\n") > 3

    def test_engine_that_is_none(self, small_pictures, tmp_path, capsys):
        code = main(["eval", str(small_pictures), "--engine", str(tmp_path)])
        assert code == exits.BAD_ENGINE
        assert "manifest.json" in capsys.readouterr().err


def test_curves_of_a_document(evaluated):
    from glic_deploy.evaluation.run import curves_of

    ours, others = curves_of(evaluated["document"])
    assert len(ours.points) == 1
    assert [curve.title for curve in others] == ["JPEG"]
    assert len(others[0].points) == 7
    assert curves.FEWEST_POINTS == 4
