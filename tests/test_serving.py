"""The Triton model repository, its models under a simulated Triton, and the real server where it is installed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tritonclient.grpc", reason="needs tritonclient: pip install 'tritonclient[grpc,http]'")

from export import to_triton
from glic_deploy import Codec, EngineError, Limits, cli
from glic_deploy.cli import exits
from glic_deploy.serving.repository import DECODE, ENCODE, write_repository
from glic_deploy.serving.settings import SERVED_LIMITS, Settings

from . import triton_simulation as simulation
from .conftest import PHOTOS
from .triton_simulation import Instance, Refused

MODELS = (ENCODE, DECODE)


@pytest.fixture(scope="module", autouse=True)
def _quick_codec() -> Iterator[None]:
    """Repositories are written with the backend that opens fastest, whatever else is installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("glic_deploy.serving.repository.Codec", partial(Codec, backend="onnxruntime", threads=1))
        yield


@pytest.fixture(scope="module")
def repository(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that refers to the sample bundle. Tests must not change it."""
    path = tmp_path_factory.mktemp("repositories") / "sample"
    settings = Settings(threads=1, backend="onnxruntime", limits=Limits(max_pixels=50_000, max_side=1000), queue=3)
    write_repository(engine, path, settings, reference=True)
    return path


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.asarray(Image.open(PHOTOS / "kodim23.png"))[100:260, 200:420]


@pytest.fixture(scope="module")
def glic(engine: Path, picture: np.ndarray) -> np.ndarray:
    with Codec(engine, backend="onnxruntime", threads=1) as codec:
        return np.frombuffer(codec.encode(picture), np.uint8)


@pytest.fixture
def encoder(repository: Path, monkeypatch: pytest.MonkeyPatch):
    with simulation.load(repository / ENCODE, monkeypatch) as instance:
        yield instance


@pytest.fixture
def decoder(repository: Path, monkeypatch: pytest.MonkeyPatch):
    with simulation.load(repository / DECODE, monkeypatch) as instance:
        yield instance


def png(picture: np.ndarray, path: Path) -> np.ndarray:
    Image.fromarray(picture).save(path)
    return np.fromfile(path, np.uint8)


# The repository


def test_configuration_is_tritons_and_says_what_was_asked(repository, engine):
    for name in MODELS:
        config = simulation.read_config(repository / name / "config.pbtxt")
        assert (config["name"], config["backend"]) == (name, "python")
        assert config["max_batch_size"] == 0
        assert config["dynamic_batching"]["default_queue_policy"]["max_queue_size"] == 3
        assert [(group["count"], group["kind"]) for group in config["instance_group"]] == [(1, "KIND_CPU")]
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        assert parameters["engine"] == str(engine)
        assert parameters["threads"] == "1"
        assert parameters["max_pixels"] == "50000"
    assert sorted(path.name for path in repository.iterdir()) == sorted(MODELS)


def test_instances_on_gpus(engine, tmp_path):
    write_repository(engine, tmp_path / "models", Settings(instances=2, gpus=(0, 3)), reference=True)
    config = simulation.read_config(tmp_path / "models" / DECODE / "config.pbtxt")
    (group,) = config["instance_group"]
    assert (group["count"], group["kind"], group["gpus"]) == (2, "KIND_GPU", [0, 3])


def test_bundle_inside_is_complete_and_on_disk_once(engine, tmp_path, monkeypatch, picture):
    output = tmp_path / "models"
    assert to_triton.main(["--engine", str(engine), "--output", str(output), "--backend", "onnxruntime"]) == 0
    inside = [output / name / "1" / "engine" for name in MODELS]
    for source in engine.rglob("*"):
        copies = [path / source.relative_to(engine) for path in inside]
        if source.is_file():
            assert all(copy.read_bytes() == source.read_bytes() for copy in copies)
            assert copies[0].samefile(copies[1])
            assert not copies[0].samefile(source)
    moved = output.rename(tmp_path / "elsewhere")
    with simulation.load(moved / ENCODE, monkeypatch) as encoder:
        assert encoder.infer(image=picture).size


def test_warm_up_is_what_the_models_take(repository, encoder, decoder):
    for instance, name in ((encoder, ENCODE), (decoder, DECODE)):
        (warm_up,) = instance.config["model_warmup"]
        assert warm_up["batch_size"] == 1  # Triton skips samples without
        ((tensor, sample),) = warm_up["inputs"].items()
        shape = [int(side) for side in sample["dims"]]
        if "input_data_file" in sample:
            data = np.fromfile(repository / name / "warmup" / sample["input_data_file"], np.uint8).reshape(shape)
        else:
            data = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        assert instance.infer(**{tensor: data}).size


def test_only_its_own_repository_is_replaced(repository, engine, tmp_path, capsys):
    output = tmp_path / "models"
    for _ in range(2):
        write_repository(engine, output, reference=True)
    (output / "resnet").mkdir()
    assert to_triton.main(["--engine", str(engine), "--output", str(output), "--reference"]) == 1
    assert "move these two directories" in capsys.readouterr().err
    assert (output / "resnet").is_dir()


def test_nothing_is_left_of_a_failure(tmp_path, capsys):
    assert to_triton.main(["--engine", str(tmp_path / "absent"), "--output", str(tmp_path / "models")]) == 1
    assert "error:" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# The models


def test_pixels_and_files_become_the_codecs_bytes(encoder, picture, glic, tmp_path):
    np.testing.assert_array_equal(encoder.infer(image=picture), glic)
    np.testing.assert_array_equal(encoder.infer(file=png(picture, tmp_path / "a.png")), glic)


def test_quality_chooses_among_bundles(engine, tmp_path, monkeypatch, picture, glic):
    for name in ("q1", "q2"):
        shutil.copytree(engine, tmp_path / "engines" / name)
    settings = Settings(threads=1, backend="onnxruntime")
    write_repository(tmp_path / "engines", tmp_path / "models", settings)
    with simulation.load(tmp_path / "models" / ENCODE, monkeypatch) as encoder:
        data = encoder.infer(image=picture, quality=np.array([1], np.uint8))
    np.testing.assert_array_equal(data, glic)


def test_files_become_pictures(decoder, engine, glic):
    with Codec(engine, backend="onnxruntime", threads=1) as codec:
        np.testing.assert_array_equal(decoder.infer(glic=glic), codec.decode(glic.tobytes()))


def test_background_shows_through(encoder, picture, glic):
    alpha = np.full(picture.shape[:2], 255, np.uint8)
    np.testing.assert_array_equal(encoder.infer(image=np.dstack([picture, alpha])), glic)
    see_through = np.dstack([picture, 0 * alpha])
    white = np.full(3, 255, np.uint8)
    on_white = encoder.infer(image=see_through, background=white)
    np.testing.assert_array_equal(on_white, encoder.infer(image=np.full_like(picture, 255)))
    with pytest.raises(Refused, match="transparent") as refused:
        encoder.infer(image=see_through)
    assert refused.value.code == "INVALID_ARG"


def refuses(instance: Instance, message: str, **inputs: np.ndarray) -> None:
    with pytest.raises(Refused, match=message) as refused:
        instance.infer(**inputs)
    assert refused.value.code == "INVALID_ARG"


def test_bad_pictures_are_refused_and_the_next_is_coded(encoder, picture, glic, tmp_path):
    file = png(picture, tmp_path / "a.png")
    refuses(encoder, "RequestError: got neither of the inputs")
    refuses(encoder, "RequestError: got both of the inputs", image=picture, file=file)
    refuses(encoder, "ImageError: .* cannot be read", file=file[:2000])
    refuses(encoder, "ImageError: .* not an image", file=glic)
    refuses(encoder, "ImageError: .* at least one pixel", image=picture[:0])
    refuses(encoder, r"ImageError: array has shape \(160, 220, 5\)", image=picture[..., [0, 1, 2, 0, 1]])
    refuses(encoder, "LimitError: .* at most 50,000 allowed", image=np.zeros((251, 200, 3), np.uint8))
    refuses(encoder, "LimitError: .* width is 1,001", file=png(np.zeros((1, 1001), np.uint8), tmp_path / "wide.png"))
    refuses(encoder, "RequestError: quality is 2, expected 1 to 1", image=picture, quality=np.array([2], np.uint8))
    np.testing.assert_array_equal(encoder.infer(image=picture), glic)


def test_qualities_of_another_shape_are_refused_in_words(encoder, picture):
    """Triton holds a request's shapes against the configuration; what comes another way is told as well."""
    for quality in (np.zeros(0, np.uint8), np.ones(2, np.uint8), np.ones((1, 1), np.uint8)):
        tensors = {"image": simulation.Tensor("image", picture), "quality": simulation.Tensor("quality", quality)}
        (answer,) = encoder.execute(simulation.InferenceRequest(tensors))
        assert answer.code == "INVALID_ARG"
        assert f"quality has shape {quality.shape}, expected (1,)" in str(answer)


def test_bad_files_are_refused_and_the_next_is_decoded(decoder, picture, glic):
    altered = glic.copy()
    altered[40] ^= 1
    refuses(decoder, "BitstreamError: .* cut short", glic=glic[:-1])
    refuses(decoder, "BitstreamError: .* cut short", glic=glic[:0])
    refuses(decoder, "BitstreamError: checksum mismatch", glic=altered)
    refuses(decoder, "BitstreamError: not a .glic file", glic=np.zeros(1000, np.uint8))
    assert decoder.infer(glic=glic).shape == picture.shape


def test_each_request_has_its_own_answer(decoder, glic, picture):
    good, bad = decoder.request(glic=glic), decoder.request(glic=glic[:30])
    gone = decoder.request(glic=glic, cancelled=True)
    first, second, third, fourth = decoder.execute(bad, good, gone, good)
    assert (first.code, third.code) == ("INVALID_ARG", "CANCELLED")
    assert second.shape == fourth.shape == picture.shape


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (EngineError("the backend broke; mend it"), "INTERNAL", "EngineError: the backend broke; mend it"),
        (MemoryError(), "UNAVAILABLE", "out of memory"),
        (ZeroDivisionError("secret"), "INTERNAL", "unexpected ZeroDivisionError, see the server's log"),
    ],
)
def test_the_servers_own_errors_are_told_apart(decoder, glic, monkeypatch, error, code, message):
    def fail(*args, **options):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Codec, "decode", fail)
        (answer,) = decoder.execute(decoder.request(glic=glic))
    assert (answer.code, message in str(answer)) == (code, True)
    assert any("secret" in text for severity, text in decoder.log if severity == "error") == ("unexpected" in message)
    assert decoder.infer(glic=glic).size


def test_a_model_that_cannot_be_opened_says_why(repository, engine, tmp_path, monkeypatch):
    write_repository(engine, tmp_path / "models", Settings(backend="abacus"), reference=True)
    opened = simulation.load(tmp_path / "models" / DECODE, monkeypatch)
    with pytest.raises(EngineError, match="no backend is called 'abacus'"), opened:
        pass


def test_instances_share_the_cores(encoder, monkeypatch):
    share = sys.modules["glic_deploy.serving.triton"].share_of_cores
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    assert share([{"count": 1, "kind": "KIND_CPU"}]) == 8
    assert share([{"count": 3}, {"count": 1}]) == 2
    assert share([{"count": 2, "gpus": [0, 1]}]) == 2
    assert share([{"count": 40}]) == 1


@pytest.mark.parametrize(("visible", "seen"), [(None, "1"), ("", "1"), ("4,6", "6")])
def test_an_instance_sees_its_gpu_alone(repository, monkeypatch, visible, seen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with simulation.load(repository / DECODE, monkeypatch, kind="GPU", device=1):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == seen


# The command


def test_serve_without_the_server_says_what_to_do(engine, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytriton", None)
    assert cli.main(["serve", "--engine", str(engine)]) == exits.BAD_ENGINE
    assert "make triton-env" in capsys.readouterr().err


def test_a_repository_keeps_its_settings(repository, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["serve", "--repository", str(repository), "--instances", "2"])
    assert left.value.code == exits.USAGE
    assert "config.pbtxt" in capsys.readouterr().err


def test_served_limits_are_a_services(capsys):
    assert SERVED_LIMITS.max_pixels < Limits().max_pixels
    with pytest.raises(SystemExit):
        cli.main(["serve", "--help"])
    assert f"{SERVED_LIMITS.max_pixels:,}" in capsys.readouterr().out


def options(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


def test_options_reach_the_codec(encoder, decoder, picture):
    clear = np.dstack((picture, picture[..., 0]))
    data = encoder.infer(image=clear, options=options('{"alpha": "keep"}'))
    image = decoder.infer(glic=data)
    assert image.shape == clear.shape
    np.testing.assert_array_equal(image[..., 3], clear[..., 3])
    part = decoder.infer(glic=data, options=options('{"region": [10, 20, 30, 40]}'))
    np.testing.assert_array_equal(part, image[20:60, 10:40])
    grey = decoder.infer(glic=encoder.infer(image=picture[..., :1]))
    assert grey.shape == (160, 220, 1)


@pytest.mark.parametrize("text", ["", "[", "[]", '{"quality": 1}', "[" * 100_000, '{"alpha": "maybe"}', "\xff"])
def test_wrong_options_are_refused(encoder, picture, text):
    refuses(encoder, "expected a JSON object of some of: alpha, color|alpha is", image=picture, options=options(text))
