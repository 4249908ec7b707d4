"""A folder of bundles: their order, which one decodes, and how encoding finds a quality for a target."""

from __future__ import annotations

import json
import math
import shutil
import struct
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glic_deploy import Codec, EngineError, ModelMismatchError, TargetError, TargetWarning, container
from glic_deploy.bundle import MANIFEST
from glic_deploy.cli import exits, main
from glic_deploy.image import load_image
from glic_deploy.qualities import BundleCodecs, bundles_in
from glic_deploy.rate_control import Target
from glic_deploy.saving import save_image

from .conftest import PHOTOS


def add_bundle(source: Path, target: Path, number: int, lmbda: float | None = None) -> Path:
    """A bundle of the same network that says to be another."""
    shutil.copytree(source, target)
    manifest = json.loads((target / MANIFEST).read_text())
    manifest["model"]["fingerprint"] = f"{number:02x}" * 32
    if lmbda is not None:
        manifest["model"]["lambda"] = lmbda
    (target / MANIFEST).write_text(json.dumps(manifest))
    return target


@pytest.fixture(scope="module")
def folder(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three bundles, by name in the order of their fingerprints 01, 02, 03."""
    path = tmp_path_factory.mktemp("qualities")
    for number, name in enumerate(("0.0018", "0.0130", "0.0483"), 1):
        add_bundle(engine, path / name, number)
    return path


@pytest.fixture(scope="module")
def codec(folder: Path) -> Iterator[Codec]:
    with Codec(folder, threads=1, backend="onnxruntime") as codec:
        yield codec


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return load_image(PHOTOS / "kodim23.png")[100:164, 200:264]


def model(data: bytes) -> str:
    return container.parse(data).header.model_fingerprint.hex()[:2]


class TestOrder:
    def names(self, folder: Path) -> list[str]:
        return [bundle.path.name for bundle in bundles_in(folder)]

    def test_names_count_as_numbers(self, engine: Path, folder: Path) -> None:
        assert self.names(folder) == ["0.0018", "0.0130", "0.0483"]
        assert [bundle.path for bundle in bundles_in(engine)] == [engine]

    def test_names_with_numbers_inside(self, engine: Path) -> None:
        root = engine.parent / "named"
        for number, name in enumerate(("q10", "q2", "q1")):
            add_bundle(engine, root / name, number)
        assert self.names(root) == ["q1", "q2", "q10"]

    def test_recorded_lambdas_come_first(self, engine: Path) -> None:
        root = engine.parent / "recorded"
        for number, (name, lmbda) in enumerate({"a": 0.05, "b": 0.0018, "c": 0.013}.items()):
            add_bundle(engine, root / name, number, lmbda)
        assert self.names(root) == ["b", "c", "a"]

    def test_a_folder_without_bundles(self, tmp_path: Path) -> None:
        with pytest.raises(EngineError, match="no engine bundle"):
            bundles_in(tmp_path)

    def test_export_takes_lambda_from_the_checkpoint_s_name(self) -> None:
        to_onnx = pytest.importorskip("export.to_onnx", reason="needs the export extra")
        assert to_onnx.lambda_in("models/0.0130checkpoint_best.pth.tar") == 0.0130
        assert to_onnx.lambda_in("glic_tiny.pth") is None


class Ladder:
    """Files of 1000 bytes a quality that decode to (20 + 2 quality) dB of a grey picture. Strength lowers both."""

    picture = np.full((80, 100, 3), 100, np.uint8)

    def __init__(self) -> None:
        self.encoded: list[tuple[int, float | None]] = []

    def encode(self, quality: int, strength: float | None) -> bytes:
        self.encoded.append((quality, strength))
        strength = strength or 0.0
        head = struct.pack("<Bd", quality, strength)
        return head.ljust(round(1000 * quality * math.exp(-0.7 * strength - strength**2)), b"\0")

    def decode(self, data: bytes) -> np.ndarray:
        quality, strength = struct.unpack("<Bd", data[:9])
        error = 255 / 10 ** ((20 + 2 * quality - 2 * strength - 5 * strength**2) / 20)
        whole = np.zeros(self.picture.size)
        whole[: round(whole.size * error**2 / 40**2)] = 40  # mean square: error squared
        return (self.picture + whole.reshape(self.picture.shape)).astype(np.uint8)

    def search(self, target: Target) -> tuple[int, bytes]:
        """Return the quality that is found, and the file."""
        data = target.search(self.picture, 6, self.encode, self.decode)
        return data[0], data

    def distinct(self) -> int:
        assert len(set(self.encoded)) == len(self.encoded)
        return len(self.encoded)


class TestTargetOfBundles:
    """At effort 0, only the bundles themselves are tried."""

    @pytest.mark.parametrize(
        ("target", "quality"),
        [
            (Target(effort=0), 6),
            (Target(quality=2, effort=0), 2),
            (Target(bpp=3.0, effort=0), 3),
            (Target(bpp=3.99, effort=0), 3),
            (Target(bpp=0.5, effort=0), 1),
            (Target(bpp=100.0, effort=0), 6),
            (Target(size=3999, effort=0), 3),
            (Target(psnr=25.5, effort=0), 3),
            (Target(psnr=1.0, effort=0), 1),
            (Target(psnr=99.0, effort=0), 6),
            (Target(psnr=math.inf, effort=0), 6),
        ],
    )
    @pytest.mark.filterwarnings("ignore::glic_deploy.TargetWarning")
    def test_reached_with_few_encodings(self, target: Target, quality: int) -> None:
        ladder = Ladder()
        assert ladder.search(target)[0] == quality
        assert ladder.distinct() <= 4
        assert not any(strength for _, strength in ladder.encoded)

    def test_no_quality_lies_between(self) -> None:
        with pytest.raises(EngineError, match=r"quality is 3\.5 at effort 0"):
            Ladder().search(Target(quality=3.5, effort=0))


class TestTarget:
    @pytest.mark.parametrize("bpp", [0.75, 1.0, 1.5, 2.7, 3.99, 4.01, 5.999, 6.0])
    def test_rates_between_and_below_the_bundles(self, bpp: float) -> None:
        ladder = Ladder()
        quality, data = ladder.search(Target(bpp=bpp))
        assert 0.98 * bpp <= len(data) / 1000 <= bpp
        assert quality == math.ceil(bpp) or len(data) == 1000 * quality
        assert ladder.distinct() <= 7

    def test_sizes(self) -> None:
        _, data = Ladder().search(Target(size=2345))
        assert 0.98 * 2345 <= len(data) <= 2345

    @pytest.mark.parametrize("psnr", [20.0, 21.9, 24.0, 25.5, 31.5])
    def test_qualities_between_and_below_the_bundles(self, psnr: float) -> None:
        ladder = Ladder()
        _, data = ladder.search(Target(psnr=psnr))
        decoded = ladder.decode(data)
        reached = 10 * math.log10(255**2 / ((decoded.astype(float) - ladder.picture) ** 2).mean())
        assert psnr <= reached <= psnr + 0.1 or (data[0] == 1 and psnr == 20.0)
        assert ladder.distinct() <= 9

    def test_fractional_qualities_have_the_geometric_mean_of_the_rates(self) -> None:
        _, data = Ladder().search(Target(quality=4.5))
        assert len(data) == pytest.approx(1000 * math.sqrt(4 * 5), rel=0.02)

    @pytest.mark.parametrize(
        ("target", "got", "words"),
        [
            (Target(bpp=0.5), 0.549, r"target_bpp is 0\.5, .* 0\.5490 to 6\.0000 bits .* at least 0\.5490"),
            (Target(size=10), 549, r"target_bytes is 10, .* 549 to 6,000 bytes; .* at least 549"),
            (Target(psnr=99.0), 32.0, r"target_psnr is 99, .* to 32\.00 dB; .* at most 32\.00"),
            (Target(bpp=0.5, effort=0), 1.0, r"1\.0000 to 6\.0000 bits"),
        ],
    )
    def test_a_target_that_is_out_of_reach_is_told(self, target: Target, got: float, words: str) -> None:
        ladder = Ladder()
        with pytest.warns(TargetWarning, match=words) as caught:
            ladder.search(target)
        warning = caught[0].message
        assert isinstance(warning, TargetWarning)
        assert warning.target == (target.bpp or target.psnr or target.size)
        assert warning.got == pytest.approx(got, abs=0.2)
        with pytest.raises(TargetError, match=words.replace("; .* at", "; ask for at")) as raised:
            ladder.search(replace(target, strict=True))
        assert raised.value.lowest == warning.lowest < warning.highest == raised.value.highest

    def test_what_can_be_had_may_be_asked_for(self) -> None:
        """The limit that the warning names is rounded towards what is reached."""
        assert "ask for at least 0.3841," in str(TargetWarning("target_bpp", 0.3, 0.38401, 0.5, 0.38401))
        assert "ask for at most 30.01," in str(TargetWarning("target_psnr", 35, 20, 30.019, 30.019))

    def test_a_target_that_is_reached_is_not_told(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for target in (Target(), Target(quality=1), Target(bpp=1.0), Target(bpp=math.inf), Target(psnr=31.0)):
                Ladder().search(target)

    def test_what_makes_no_sense(self) -> None:
        with pytest.raises(EngineError, match="quality and target_psnr"):
            Target(quality=1, psnr=30.0)
        for value in (0.0, -1.0, math.nan):
            with pytest.raises(EngineError, match="a number above 0"):
                Target(bpp=value)
        with pytest.raises(EngineError, match=r"quality is 0\.5"):
            Target(quality=0.5)
        with pytest.raises(EngineError, match=r"target_bytes is 10\.5"):
            Target(size=10.5)  # type: ignore[arg-type]


class TestCodec:
    def test_encoding_takes_the_quality_and_decoding_the_file_s(self, codec: Codec, picture: np.ndarray) -> None:
        files = [codec.encode(picture, quality=quality) for quality in (1, 2, 3)]
        assert [model(data) for data in files] == ["01", "02", "03"]
        assert model(codec.encode(picture)) == "03"
        for data in files:
            assert codec.decode(data).shape == picture.shape
        with pytest.raises(EngineError, match="qualities 1 to 3"):
            codec.encode(picture, quality=4)

    def test_targets(self, codec: Codec, picture: np.ndarray) -> None:
        with pytest.warns(TargetWarning, match="target_bpp is 0.001") as caught:
            assert model(codec.encode(picture, target_bpp=1e-3)) == "01"
        assert caught[0].filename == __file__
        assert model(codec.encode(picture, target_bpp=100)) == "03"
        assert model(codec.encode(picture, target_psnr=1)) == "01"
        with pytest.warns(TargetWarning, match="target_psnr is 90"):
            assert model(codec.encode(picture, target_psnr=90)) == "03"
        files = list(codec.encode_many([picture] * 2, target_bpp=100))
        assert [model(data) for data in files] == ["03", "03"]

    def test_files_of_none_of_them_are_refused(self, codec: Codec, picture: np.ndarray, engine: Path) -> None:
        with (
            Codec(engine, threads=1, backend="onnxruntime") as other,
            pytest.raises(ModelMismatchError, match=r"0\.0130"),
        ):
            codec.decode(other.encode(picture))

    def test_descriptions(self, codec: Codec) -> None:
        assert [entry["name"] for entry in codec.describe()["qualities"]] == ["0.0018", "0.0130", "0.0483"]
        assert [fingerprint[:2] for fingerprint in codec.fingerprints] == ["01", "02", "03"]
        assert codec.check_arithmetic().startswith("exact")

    def test_threads_share_what_is_open(self, codec: Codec, picture: np.ndarray) -> None:
        files = {quality: codec.encode(picture, quality=quality) for quality in (1, 2, 3)}
        wrong = []

        def work(quality: int) -> None:
            for turn in range(3):
                data = codec.encode(picture, quality=1 + (quality + turn) % 3)
                if data != files[1 + (quality + turn) % 3]:
                    wrong.append(quality)

        threads = [threading.Thread(target=work, args=[quality]) for quality in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


class TestBundleCodecs:
    def test_few_stay_open(self, folder: Path) -> None:
        codecs = BundleCodecs(folder, keep=2, threads=1, backend="onnxruntime")
        first = codecs.at_quality(1)
        assert codecs.at_quality(1) is first
        best = codecs.best()
        assert codecs.at_quality(3) is best
        codecs.at_quality(2)  # drops 1, the longest unused
        assert codecs.at_quality(3) is best
        assert codecs.at_quality(1) is not first
        assert first.check_arithmetic()  # who still has it can use it
        codecs.close()
        with pytest.raises(EngineError, match="closed"):
            codecs.at_quality(1)
        with pytest.raises(EngineError, match="keep is 0"):
            BundleCodecs(folder, keep=0)


class TestCommands:
    def test_encode_decode_info(self, folder: Path, picture: np.ndarray, tmp_path: Path, capsys) -> None:
        save_image(picture, tmp_path / "a.png")
        source, target = str(tmp_path / "a.png"), str(tmp_path / "a.glic")
        engine = ["--engine", str(folder), "--backend", "onnxruntime"]
        assert main(["encode", source, target, *engine, "--quality", "2"]) == exits.OK
        assert model(Path(target).read_bytes()) == "02"
        assert "bpp, quality 2, " in capsys.readouterr().err
        assert main(["encode", source, target, *engine, "--target-bpp", "0.001"]) == exits.OK
        assert model(Path(target).read_bytes()) == "01"
        assert main(["decode", target, str(tmp_path / "b.png"), *engine]) == exits.OK
        assert main(["encode", source, target, *engine, "--quality", "9"]) == exits.BAD_ENGINE
        with pytest.raises(SystemExit):
            main(["encode", source, target, *engine, "--quality", "1", "--target-psnr", "30"])
        capsys.readouterr()
        assert main(["info", str(folder)]) == exits.OK
        said = capsys.readouterr().out
        assert said.index("0.0018") < said.index("0.0130") < said.index("0.0483")
