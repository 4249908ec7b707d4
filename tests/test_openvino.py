"""The OpenVINO backend: exact where it must be, near onnxruntime elsewhere; threads, precision, cache, errors."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from glic_deploy import Codec, EngineError, PluginError, backends, cache, conformance, machine
from glic_deploy.backends import Backend, open_backend
from glic_deploy.bundle import Bundle
from glic_deploy.image import load_image

from .conftest import PHOTOS

pytest.importorskip("openvino", reason="needs OpenVINO: pip install 'glic-deploy[openvino]'")

from glic_deploy.backends import openvino as module
from glic_deploy.backends import precision_trial
from glic_deploy.backends.noise import NOISE_LIMIT, noise_db
from glic_deploy.backends.onnxruntime_cuda import OnnxRuntimeCudaBackend
from glic_deploy.backends.openvino import DECLARATION, OpenVinoBackend
from glic_deploy.backends.openvino_mixed import lower_products

try:
    DECLARATION.library_path()
except PluginError as error:
    pytest.skip(f"needs the ops for OpenVINO: {error}", allow_module_level=True)


@pytest.fixture(scope="module")
def bundle(engine: Path) -> Bundle:
    return Bundle.open(engine)


@pytest.fixture(scope="module")
def backend(bundle: Bundle) -> Iterator[OpenVinoBackend]:
    backend = OpenVinoBackend(bundle, 2)
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return load_image(PHOTOS / "kodim23.png")[100:300, 200:450]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_entropy_path_is_exact(bundle: Bundle, threads: int) -> None:
    backend = OpenVinoBackend(bundle, threads)
    assert conformance.check(bundle, backend) > 10_000
    backend.close()


def test_the_entropy_path_is_exact_beside_transforms_in_bfloat16(bundle: Bundle) -> None:
    backend = OpenVinoBackend(bundle, 1, precision="bf16", emulate=True)
    assert conformance.check(bundle, backend) > 10_000
    backend.close()


@pytest.mark.parametrize("graph", ["analysis", "hyper_analysis", "synthesis"])
def test_transforms_are_onnxruntimes_but_for_rounding(bundle: Bundle, backend: OpenVinoBackend, graph: str) -> None:
    random = np.random.default_rng(1)
    name, shape = {
        "analysis": ("image", (128, 256, 3)),
        "hyper_analysis": ("y", (1, bundle.latent, 8, 16)),
        "synthesis": ("y_hat", (1, bundle.latent, 8, 16)),
    }[graph]
    uint8 = graph == "analysis"
    x = random.integers(0, 256, shape, np.uint8) if uint8 else random.normal(0, 2, shape).round().astype(np.float32)
    expected = open_backend(bundle, "onnxruntime", 1).run(graph, {name: x})[0]
    result = backend.run(graph, {name: x})[0]
    assert result.dtype == expected.dtype
    # Nearly equal similarities may order differently, which changes a neighbourhood; so few values may differ by more.
    tolerance = 1e-3 if graph == "analysis" else 0
    assert (np.abs(result.astype(float) - expected) > tolerance).mean() < 0.01


def test_files_decode_on_either_backend(engine: Path, backend: OpenVinoBackend, picture: np.ndarray) -> None:
    with Codec(engine, backend="onnxruntime", threads=1) as other:
        codec = Codec(engine, backend=backend)
        ours, theirs = codec.encode(picture), other.encode(picture)
        for data in (ours, theirs):
            difference = codec.decode(data).astype(int) - other.decode(data)
            assert np.abs(difference).max() <= 1
        assert abs(len(ours) - len(theirs)) < 8


def test_what_is_read_only_or_strided_is_taken(backend: OpenVinoBackend, picture: np.ndarray) -> None:
    image = np.ascontiguousarray(picture[:128, :128])
    expected = backend.run("analysis", {"image": image})[0]
    frozen = image.copy()
    frozen.flags.writeable = False
    assert np.array_equal(backend.run("analysis", {"image": frozen})[0], expected)
    assert np.array_equal(backend.run("analysis", {"image": np.asfortranarray(image)})[0], expected)


def test_results_are_the_callers_own(backend: OpenVinoBackend) -> None:
    black, white = (np.full((128, 128, 3), value, np.uint8) for value in (0, 255))
    first = backend.run("analysis", {"image": black})[0]
    kept = first.copy()
    backend.run("analysis", {"image": white})
    assert np.array_equal(first, kept)


def test_several_threads_may_code_at_once(engine: Path, bundle: Bundle, picture: np.ndarray) -> None:
    with Codec(engine, backend=OpenVinoBackend(bundle, 2, streams=2)) as codec:
        crops = [picture, picture[:120, :100], picture[::-1]]
        expected = [codec.encode(crop) for crop in crops]
        found: list[bytes | None] = [None] * len(crops)

        def encode(number: int) -> None:
            found[number] = codec.encode(crops[number])

        workers = [threading.Thread(target=encode, args=(number,)) for number in range(len(crops))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert found == expected


def test_shapes_that_were_not_used_for_long_are_forgotten(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COMPILED_LIMIT", 1)
    backend = OpenVinoBackend(bundle, 1)
    images = [np.zeros((128, width, 3), np.uint8) for width in (128, 256, 128)]
    first, _, again = (backend.run("analysis", {"image": image})[0] for image in images)
    assert np.array_equal(first, again)
    assert len(backend._compiled) == 1


def test_trimming_keeps_nothing_compiled_and_changes_nothing(bundle: Bundle) -> None:
    backend = OpenVinoBackend(bundle, 1)
    image = np.zeros((128, 128, 3), np.uint8)
    first = backend.run("analysis", {"image": image})[0]
    backend.trim()
    assert not backend._compiled
    assert np.array_equal(backend.run("analysis", {"image": image})[0], first)


def test_bfloat16_costs_little(bundle: Bundle, picture: np.ndarray) -> None:
    plain, low = OpenVinoBackend(bundle, 1), OpenVinoBackend(bundle, 1, precision="bf16", emulate=True)
    image = np.ascontiguousarray(picture[:128, :128])
    y = plain.run("analysis", {"image": image})[0]
    noise = low.run("analysis", {"image": image})[0] - y
    assert np.abs(noise).max() > 0
    assert np.square(noise).mean() < 0.01 / 12  # a hundredth of the quantisation's own noise
    pictures = [backend.run("synthesis", {"y_hat": np.round(y)})[0].astype(int) for backend in (plain, low)]
    error = np.abs(pictures[0] - pictures[1])
    assert 0 < error.mean() < 0.2
    assert low.describe()["precision"] == "bf16"


@pytest.mark.parametrize("graph", ["analysis", "synthesis"])
def test_products_alone_are_bfloat16(bundle: Bundle, graph: str) -> None:
    if "avx512f" not in machine.cpu()["instructions"]:
        pytest.skip("needs AVX-512, without which OpenVINO computes bfloat16 products in float32")
    core = module._open_core(module.extension_path())
    model = core.read_model(bundle.graph(graph, ["native"]))
    products = lower_products(model)
    assert products > 30
    models = [model, *(op.get_function() for op in model.get_ops() if op.get_type_name() == "TensorIterator")]
    lowered = [op for each in models for op in each.get_ordered_ops() if op.get_type_name() == "MatMul"]
    assert len(lowered) == products
    assert all(str(op.get_output_element_type(0)) == "<Type: 'bfloat16'>" for op in lowered)
    model.reshape({"image": [128, 128, 3]} if graph == "analysis" else {"y_hat": [1, bundle.latent, 8, 8]})
    run = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).get_runtime_model()
    found: dict[str, set[str]] = {}
    for op in run.get_ordered_ops():  # what OpenVINO made of it
        layer, precision = (str(op.get_rt_info()[key].astype(str)) for key in ("layerType", "runtimePrecision"))
        found.setdefault(layer, set()).add(precision)
    assert found["FullyConnected"] == {"bf16"}
    assert found["Convolution"] == {"f32"}
    assert "Convert" not in found  # no map is converted on its own


def test_bfloat16_is_taken_where_a_trial_says_that_it_gains(
    engine: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLIC_CACHE", str(tmp_path))
    monkeypatch.setattr(machine, "has_bfloat16", lambda: False)
    with Codec(engine) as codec:
        assert codec.describe()["backend"]["name"] == "onnxruntime"
    monkeypatch.setattr(machine, "has_bfloat16", lambda: True)
    outcomes: list[precision_trial.Trial] = []

    def run_trial(plain: Backend, low: Backend) -> precision_trial.Trial:
        assert (plain.precision, low.precision) == ("fp32", "bf16")
        return outcomes.pop()

    monkeypatch.setattr(precision_trial, "run_trial", run_trial)
    for noise, gain, backend, own in (
        (65.0, 2.0, "openvino", "bf16"),
        (60.0, 2.0, "onnxruntime", "fp32"),
        (65.0, 1.0, "onnxruntime", "fp32"),
    ):
        outcomes.append(precision_trial.Trial(noise, gain))
        for file in (tmp_path / "glic-deploy" / "precision").glob("*"):
            file.unlink()
        for _ in range(2):  # the second time it is known
            with Codec(engine) as codec:
                assert codec.describe()["backend"]["name"] == backend
        with Codec(engine, backend="openvino") as codec:
            assert codec.describe()["backend"]["precision"] == own
        assert not outcomes
    with Codec(engine, precision="fp32") as codec:
        assert codec.describe()["backend"]["name"] == "onnxruntime"


def test_nothing_is_tried_where_a_gpu_comes_first(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "has_bfloat16", lambda: True)
    monkeypatch.setattr(precision_trial, "run_trial", lambda *_: pytest.fail("tried"))
    monkeypatch.setattr(OnnxRuntimeCudaBackend, "_check_provider", lambda: None)
    monkeypatch.setattr(backends, "_open", lambda declaration, *options: SimpleNamespace(name=declaration.name))
    assert open_backend(bundle).name == "onnxruntime-cuda"
    assert open_backend(bundle, precision="fp32").name == "onnxruntime-cuda"


def test_a_trial_measures_noise_and_time(bundle: Bundle) -> None:
    plain, low = OpenVinoBackend(bundle, 2), OpenVinoBackend(bundle, 2, precision="bf16", emulate=True)
    trial = precision_trial.run_trial(plain, low)
    assert NOISE_LIMIT < trial.noise < 75
    assert trial.gain > 0
    same = precision_trial.run_trial(plain, plain)
    assert same.noise == float("inf")


def test_noise_is_told_from_rounded_pictures() -> None:
    random = np.random.default_rng(3)
    picture = random.uniform(20, 235, (256, 256, 3))
    for noise in (50.0, 60.0, 66.0):
        other = picture + random.normal(0, 255 * 10 ** (-noise / 20), picture.shape)
        found = noise_db(picture.round().astype(np.uint8), other.round().astype(np.uint8))
        assert abs(found - noise) < 0.5


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_precision_that_is_not_to_be_had_is_refused(
    engine: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "has_bfloat16", lambda: False)
    with pytest.raises(EngineError, match="fp32"):
        Codec(engine, backend="openvino", precision=precision)  # type: ignore[arg-type]
    with pytest.raises(EngineError, match=precision):
        Codec(engine, backend="onnxruntime", precision=precision)  # type: ignore[arg-type]


def test_what_a_graph_cannot_take_is_an_engine_error(backend: OpenVinoBackend) -> None:
    with pytest.raises(EngineError, match="cannot run analysis on image uint8"):
        backend.run("analysis", {"image": np.zeros((120, 128, 3), np.uint8)})
    with pytest.raises(EngineError, match="cannot run analysis"):
        backend.run("analysis", {"picture": np.zeros((128, 128, 3), np.uint8)})


def test_without_the_library_the_message_says_how_to_build_it(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DECLARATION", replace(DECLARATION, library="glic_absent"))
    with pytest.raises(PluginError, match="from a checkout: pip install"):
        OpenVinoBackend(bundle)


def test_a_library_of_another_openvino_is_an_engine_error(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DECLARATION", replace(DECLARATION, library="rans"))  # loads, but is no extension
    with pytest.raises(EngineError, match="does not fit OpenVINO"):
        OpenVinoBackend(bundle)


def test_a_processor_without_avx2_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cpu", lambda: {"instructions": ["sse4_2"], "cores": 1})
    with pytest.raises(EngineError, match="AVX2"):
        OpenVinoBackend(bundle)


IMAGE = np.random.default_rng(2).integers(0, 256, (128, 128, 3), np.uint8)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the compiled models in an empty cache."""
    monkeypatch.setenv("GLIC_CACHE", str(tmp_path))
    return cache.directory() / "openvino"


def test_compiled_models_are_kept_on_disk_within_bounds(
    bundle: Bundle, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = OpenVinoBackend(bundle, 1).run("analysis", {"image": IMAGE})[0]
    assert len(list(models.iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr("openvino.Core.compile_model", lambda *_: pytest.fail("compiled"))
        assert np.array_equal(OpenVinoBackend(bundle, 1).run("analysis", {"image": IMAGE})[0], first)
    OpenVinoBackend(bundle, 2).run("analysis", {"image": IMAGE})
    OpenVinoBackend(bundle, 2).run("analysis", {"image": np.tile(IMAGE, (1, 2, 1))})
    assert len(list(models.iterdir())) == 3
    monkeypatch.setattr(module, "_DISK_LIMIT", 0)
    OpenVinoBackend(bundle, 2).run("analysis", {"image": np.tile(IMAGE, (2, 1, 1))})
    assert cache.size(models) == 0


def test_damaged_models_are_compiled_again(engine: Path, models: Path, picture: np.ndarray) -> None:
    def encode() -> bytes:
        with Codec(engine, backend="openvino", precision="fp32", threads=1) as codec:
            return codec.encode(picture)

    expected = encode()
    stored = {file: file.read_bytes() for file in models.iterdir()}
    random = np.random.default_rng(1)
    for file, data in stored.items():
        damaged = np.frombuffer(data, np.uint8).copy()
        for position in random.integers(len(data) // 4, len(data), 10):
            damaged[position] ^= 1 << random.integers(8)
        file.write_bytes(damaged.tobytes())
    assert encode() == expected
    used = [file for file in stored if cache.unsealed(file.read_bytes()) is not None]
    assert used  # the conformance check is not repeated, so its models remain damaged


@pytest.mark.parametrize("damage", ["cut", "empty", "pipe", "device", "sealed nonsense"])
def test_what_is_no_model_is_compiled_again(bundle: Bundle, models: Path, damage: str) -> None:
    first = OpenVinoBackend(bundle, 1).run("analysis", {"image": IMAGE})[0]
    (entry,) = models.iterdir()
    stored = entry.read_bytes()
    entry.unlink()
    if damage == "pipe":
        os.mkfifo(entry)
    elif damage == "device":
        entry.symlink_to("/dev/zero")
    else:
        contents = {"cut": stored[: len(stored) // 2], "empty": b"", "sealed nonsense": cache.sealed(b"nonsense")}
        entry.write_bytes(contents[damage])
    assert np.array_equal(OpenVinoBackend(bundle, 1).run("analysis", {"image": IMAGE})[0], first)
    assert entry.is_file()
    assert cache.unsealed(entry.read_bytes()) is not None


def test_the_cache_can_be_cleared(models: Path) -> None:
    assert cache.clear() == 0
    models.mkdir()
    (models / "model").write_bytes(bytes(1000))
    assert cache.clear() == 1000
    assert not models.exists()
