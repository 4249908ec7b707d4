"""`glic_deploy.compressai.EngineModel`: CompressAI's interface on an engine, and CompressAI's own evaluation of it."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch, of the export extra")

import torch

from glic_deploy import BitstreamError, Codec, EngineError, ImageError, LimitError, Limits
from glic_deploy.bundle import Bundle
from glic_deploy.compressai import EngineModel, likelihood_maps
from glic_deploy.entropy.passes import CodedPass, Pass
from glic_deploy.evaluation.rates import estimated_bits, parts
from glic_deploy.image import load_image
from glic_deploy.saving import save_image

from .conftest import PHOTOS, ROOT
from .test_docs import COMPRESSAI
from .test_qualities import add_bundle


@pytest.fixture(scope="module")
def codec(engine: Path) -> Iterator[Codec]:
    with Codec(engine, threads=1) as codec:
        yield codec


@pytest.fixture(scope="module")
def model(engine: Path) -> Iterator[EngineModel]:
    with EngineModel(engine, threads=1) as model:
        yield model


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Two of an odd size, uint8 (2, H, W, 3)."""
    photo = load_image(PHOTOS / "kodim23.png")
    return np.stack([photo[100:221, 200:397], photo[220:341, 300:497]])


@pytest.fixture(scope="module")
def x(pictures: np.ndarray) -> torch.Tensor:
    """The same as CompressAI has images."""
    return tensor(pictures)


def tensor(pictures: np.ndarray) -> torch.Tensor:
    return torch.tensor(pictures).permute(0, 3, 1, 2).float() / 255


def bits(likelihoods: torch.Tensor) -> float:
    """As CompressAI sums them."""
    return float(-torch.log2(likelihoods).sum())


class TestCoding:
    def test_files_and_images_are_those_of_the_codec(
        self, model: EngineModel, codec: Codec, pictures: np.ndarray, x: torch.Tensor
    ) -> None:
        coded = model.compress(x)
        assert coded["strings"] == [[codec.encode(picture) for picture in pictures]]
        assert coded["shape"] == torch.Size((2, 4))
        x_hat = model.decompress(**coded)["x_hat"]
        assert (x_hat.shape, x_hat.dtype) == (x.shape, torch.float32)
        assert x_hat.is_contiguous()
        assert torch.equal(x_hat, tensor(np.stack([codec.decode(file) for file in coded["strings"][0]])))
        assert torch.equal(model(x)["x_hat"], x_hat)

    def test_levels_are_rounded_as_the_evaluation_compares_them(self, model: EngineModel, x: torch.Tensor) -> None:
        small = x[:1, :, :20, :30]
        files = model.compress(small)["strings"]
        assert model.compress(small + 0.4 / 255)["strings"] == files
        for dtype in (torch.float16, torch.float64):
            assert model.compress(small.to(dtype))["strings"] == files

    def test_the_module_says_where_images_go_and_what_they_are(self, engine: Path, x: torch.Tensor) -> None:
        with EngineModel(engine, threads=1) as model:
            assert next(model.parameters()).device == torch.device("cpu")
            coded = model.half().to("cpu").compress(x[:1])
            half = model.decompress(**coded)["x_hat"]
            assert half.dtype == torch.float16
            exact = model.float().decompress(**coded)["x_hat"]
            assert torch.equal((255 * half).round().float(), (255 * exact).round())
            assert model(x[:1].half())["x_hat"].dtype == torch.float16
            assert model(x[:1].half())["likelihoods"]["y"].dtype == torch.float32

    def test_training_mode_changes_nothing_and_has_no_gradient(self, model: EngineModel, x: torch.Tensor) -> None:
        assert not model.training
        out = copy.deepcopy(model).train()(x[:1])
        assert torch.equal(out["x_hat"], model(x[:1])["x_hat"])
        assert not out["x_hat"].requires_grad
        assert not out["likelihoods"]["y"].requires_grad


class TestLikelihoods:
    def test_they_are_the_rate_that_eval_estimates(
        self, model: EngineModel, codec: Codec, engine: Path, x: torch.Tensor
    ) -> None:
        likelihoods = model(x)["likelihoods"]
        bundle = Bundle.open(engine)
        assert likelihoods["y"].shape == (2, bundle.latent, 8, 16)
        assert likelihoods["z"].shape == (2, bundle.hyper, 2, 4)
        for number, file in enumerate(model.compress(x)["strings"][0]):
            passes: list[CodedPass] = []
            codec.decode(file, passes=passes)
            file_parts = parts(passes, bundle.tables(), 0, len(file))
            z, y = (bits(likelihoods[latent][number]) for latent in "zy")
            assert z == pytest.approx(file_parts["z"], rel=1e-5)
            assert z + y == pytest.approx(estimated_bits(file_parts), rel=1e-5)
            assert 0 < 8 * len(file) - (z + y) < 8 * 50  # the frame, and the range coder's ends

    def test_they_are_where_their_symbols_are(self) -> None:
        uniform = {"cdfs": np.array([[0, 32768, 65535, 65536]], np.int32), "lengths": np.array([4], np.int32)}
        tables = {f"{latent}_{name}": value for latent in "yz" for name, value in uniform.items()}
        tables |= {f"{latent}_offsets": np.array([0], np.int32) for latent in "yz"}
        z = CodedPass(None, np.zeros((1, 1, 1, 1), np.int16), np.zeros((1, 1, 1, 1), np.uint8))
        slices = [(k, parity, np.zeros((1, 1, 4, 2), np.int16)) for k in (0, 1) for parity in (0, 1)]
        slices[2][2][0, 0, 1, 0] = 5  # of the second slice an anchor: row 1, so column 1
        slices[3][2][0, 0, 2, 1] = 1  # and a non-anchor: row 2, column 3
        passes = [CodedPass(Pass(k, k, k + 1, parity), s, np.zeros(s.shape, np.uint8)) for k, parity, s in slices]
        maps = likelihood_maps([z, *passes], tables)
        expected = np.full((1, 2, 4, 4), 0.5, np.float32)
        expected[0, 1, 1, 1] = 2.0 ** -(16 + 5 + 1)  # the escape, the class of the distance 3, and its second bit
        expected[0, 1, 2, 3] = 32767 / 65536
        np.testing.assert_array_equal(maps["y"], expected)
        np.testing.assert_array_equal(maps["z"], np.full((1, 1, 1, 1), 0.5, np.float32))

    def test_each_tile_has_its_own(self, engine: Path, codec: Codec) -> None:
        picture = load_image(PHOTOS / "kodim23.png")[:300, :500]
        tile = Bundle.open(engine).memory.needed(256, 256) + picture.size
        with EngineModel(engine, threads=1, limits=Limits(max_memory=tile)) as model:
            out = model(tensor(picture[np.newaxis]))
            coded = model.compress(tensor(picture[np.newaxis]))
            assert coded["shape"] == torch.Size((6, 8))
            assert torch.equal(model.decompress(**coded)["x_hat"], out["x_hat"])
        assert sorted(out["likelihoods"]) == sorted(f"{latent}_tile{tile}" for latent in "yz" for tile in range(6))
        estimated = sum(map(bits, out["likelihoods"].values()))
        assert estimated < 8 * len(coded["strings"][0][0]) < estimated + 6 * 8 * 50


class TestModule:
    def test_update_and_state_are_harmless(self, model: EngineModel) -> None:
        assert model.update() is False
        assert model.update(force=True, scale=1.0) is False
        assert float(model.aux_loss()) == 0
        assert not model.state_dict()
        model.load_state_dict({})
        inside = torch.nn.ModuleDict({"codec": model, "linear": torch.nn.Linear(1, 1)})
        assert set(inside.state_dict()) == {"linear.weight", "linear.bias"}
        inside.load_state_dict(inside.state_dict())
        for holder, prefix in ((model, ""), (inside, "codec.")):
            with pytest.raises(EngineError, match=r"2 weights .*g_a.*to_onnx"):
                holder.load_state_dict(
                    {f"{prefix}g_a.weight": torch.ones(1), f"{prefix}g_s.weight": torch.ones(1)}, strict=False
                )

    def test_copies_open_the_engine_again(self, engine: Path, x: torch.Tensor) -> None:
        with EngineModel(engine, threads=1) as model:
            files = model.compress(x[:1])["strings"]
            copies = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
        for other in copies:
            assert other.compress(x[:1])["strings"] == files
        with pytest.raises(EngineError, match="closed"):
            model.compress(x)

    def test_qualities(self, engine: Path, tmp_path: Path, x: torch.Tensor) -> None:
        for number, name in enumerate(("0.0018", "0.0130"), 1):
            add_bundle(engine, tmp_path / name, number)
        for quality, chosen in ((1, "0.0018"), (2, "0.0130"), (None, "0.0130")):
            with (
                EngineModel(tmp_path, quality=quality, backend="onnxruntime") as model,
                Codec(tmp_path / chosen, backend="onnxruntime") as codec,
            ):
                picture = codec.decode(model.compress(x[:1])["strings"][0][0])
                assert torch.equal(model(x[:1])["x_hat"], tensor(picture[np.newaxis]))
        for quality in (0, 3):
            with pytest.raises(EngineError, match="1 to 2"):
                EngineModel(tmp_path, quality=quality)


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda x: x.numpy(), "ndarray.*as_tensor"),
            (lambda x: x[0], r"\(3, 121, 197\).*unsqueeze"),
            (lambda x: x[:, :1], "expand"),
            (lambda x: x.permute(0, 2, 3, 1), "permute"),
            (lambda x: x[:0], "at least one pixel"),
            (lambda x: (255 * x).to(torch.uint8), "uint8.*255"),
            (lambda x: 255 * x, "divide"),
            (lambda x: x - 0.5, r"from -0\.4627 to 0\.502"),
            (lambda x: x / 0, "expected 0 to 1"),
            (lambda x: x.clone().requires_grad_(), "no_grad"),
        ],
    )
    def test_tensors(self, model: EngineModel, x: torch.Tensor, change, words: str) -> None:
        for method in (model.compress, model):
            with pytest.raises(ImageError, match=words):
                method(change(x))

    def test_gradients_are_not_asked_for_under_no_grad(self, model: EngineModel, x: torch.Tensor) -> None:
        with torch.no_grad():
            model.compress(x[:1].clone().requires_grad_())

    def test_strings_and_shapes(self, model: EngineModel, x: torch.Tensor) -> None:
        strings, shape = model.compress(x).values()
        file = strings[0][0]
        for wrong in ([], strings[0], file, [[file], [file]], [[]], [["a.glic"]]):
            with pytest.raises(BitstreamError, match="as compress returned it"):
                model.decompress(wrong, shape)
        for wrong in ((4, 2), (2, 4, 1), (1, 4)):
            with pytest.raises(BitstreamError, match=r"have \(2, 4\)"):
                model.decompress(strings, wrong)
        with pytest.raises(BitstreamError, match="one size"):
            model.decompress([[file, model.compress(x[:1, :, :100])["strings"][0][0]]], shape)
        with pytest.raises(BitstreamError, match="copy"):
            model.decompress([[file[:-1]]], shape)

    def test_limits(self, engine: Path, x: torch.Tensor, model: EngineModel) -> None:
        with EngineModel(engine, threads=1, limits=Limits(max_side=150)) as strict:
            with pytest.raises(LimitError, match="150"):
                strict.compress(x)
            with pytest.raises(LimitError, match="150"):
                strict.decompress(**model.compress(x))

    def test_an_engine_that_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(EngineError, match="no engine bundle"):
            EngineModel(tmp_path)

    def test_torch_is_needed_and_named(self) -> None:
        probe = "import sys; sys.modules['torch'] = None; import glic_deploy.compressai"
        done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT, check=False)
        assert "EngineError" in done.stderr
        assert "pip install 'glic-deploy[compressai]'" in done.stderr


EVALUATION = """
import json, sys
from pathlib import Path
from compressai.utils.eval_model import __main__ as evaluation
from glic_deploy.compressai import EngineModel

paths = [Path(name) for name in sys.argv[2:]]
with EngineModel(sys.argv[1], backend="onnxruntime") as model:
    images = [evaluation.read_image(path) for path in paths]
    real = [evaluation.inference(model, x) for x in images]
    estimated = [evaluation.inference_entropy_estimation(model, x) for x in images]
    mean = evaluation.eval_model(model, "", "", paths, architecture="glic", half=False, per_image=False)
print(json.dumps({"real": real, "estimated": estimated, "mean": mean}))
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two photographs, and a part of one whose sides are no multiples of 64."""
    odd = tmp_path_factory.mktemp("odd") / "odd.png"
    save_image(load_image(PHOTOS / "kodim21.png")[:331, :501], odd)
    return [PHOTOS / "kodim07.png", PHOTOS / "kodim23.png", odd]


def run_there(*arguments: str | Path) -> str:
    """Run CompressAI's interpreter on this checkout: what it prints."""
    if not COMPRESSAI.exists():
        pytest.skip("needs CompressAI: make compressai-env")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [COMPRESSAI, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def theirs(engine: Path, images: list[Path]) -> dict[str, Any]:
    """What CompressAI's functions measure."""
    return json.loads(run_there("-c", EVALUATION, engine, *images))


@pytest.fixture(scope="module")
def ours(engine: Path, images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What `glic eval` measures, in the same environment."""
    path = tmp_path_factory.mktemp("eval") / "result.json"
    options = ["--engine", engine, "--backend", "onnxruntime", "--codecs", "none", "--json", path]
    run_there("-m", "glic_deploy", "eval", *images, *options)
    return json.loads(path.read_text())["engines"][0]["rows"]


@pytest.mark.slow
class TestEvaluation:
    """CompressAI's own functions beside `glic eval`."""

    def test_rate_and_quality_are_those_of_glic_eval(self, theirs: dict[str, Any], ours: list[dict[str, Any]]) -> None:
        for number in range(2):
            assert theirs["real"][number]["bpp"] == ours[number]["bpp"]
            for kind in ("real", "estimated"):
                their = theirs[kind][number]
                assert their["psnr-rgb"] == pytest.approx(ours[number]["psnr"], abs=1e-4)
                assert their["ms-ssim-rgb"] == pytest.approx(ours[number]["ms_ssim"], abs=1e-5)

    def test_estimated_rate_is_that_of_glic_eval_at_any_size(
        self, theirs: dict[str, Any], ours: list[dict[str, Any]]
    ) -> None:
        for their, our in zip(theirs["estimated"], ours, strict=True):
            assert their["bpp"] == pytest.approx(our["estimated_bpp"], rel=1e-5)
            assert their["psnr-rgb"] == pytest.approx(our["psnr"], abs=1e-4)

    def test_other_sizes_are_the_files_of_what_the_evaluation_pads(
        self, theirs: dict[str, Any], ours: list[dict[str, Any]], engine: Path, images: list[Path]
    ) -> None:
        padded = np.pad(load_image(images[2]), ((26, 27), (5, 6), (0, 0)))  # in the middle of 384 x 512, black
        with Codec(engine, backend="onnxruntime") as codec:
            bpp = 8 * len(codec.encode(padded)) / (331 * 501)
        assert theirs["real"][2]["bpp"] == pytest.approx(bpp, rel=1e-3)  # another onnxruntime may be here
        assert theirs["real"][2]["bpp"] != ours[2]["bpp"]

    def test_the_mean_over_images(self, theirs: dict[str, Any]) -> None:
        for column in ("bpp", "psnr-rgb"):
            values = [row[column] for row in theirs["real"]]
            assert theirs["mean"][column] == pytest.approx(sum(values) / len(values))
