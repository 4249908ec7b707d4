"""The CUDA kernels on a GPU against the NumPy oracles; whole pictures on the backends that are there."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import cuda_ops
from glic_deploy import Codec, EngineError, tensorrt
from glic_deploy.backends.cuda import CudaDevice, DeviceMemoryError, NoDeviceError
from glic_deploy.image import load_image

from .conftest import PHOTOS
from .oracles import complexity as complexity_oracle
from .oracles import dynamic_knn as knn_oracle
from .oracles import scatter_aggregate as aggregate_oracle
from .oracles.grouping import LOCAL, query_nodes, unpack
from .test_block_ops import EPSILON
from .test_gated_ffn import SIZES as FFN_SIZES
from .test_gated_ffn import Case as FfnCase
from .test_ops import MAPS, SAMPLINGS, Array, assert_same_graph, complexity_of, random_bias, random_map

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("cuda_kernels")]

TYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
PRECISION = {torch.float32: 0.0, torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}


def on_gpu(values: Array, dtype: torch.dtype) -> tuple[torch.Tensor, Array]:
    """The tensor, and its exact values as float32."""
    tensor = torch.from_numpy(np.ascontiguousarray(values)).to(dtype)
    return tensor.cuda(), tensor.float().numpy()


# Every kind of input, both scales of a 768×512 picture, and the largest that is measured (1920×1152).
KNN_MAPS = {
    **MAPS,
    "1/8 of 768x512": lambda rng: random_map(rng, 1, 64, 96, 192),
    "1/4 of 768x512": lambda rng: random_map(rng, 1, 128, 192, 192),
    "1/4 of 1920x1152": lambda rng: random_map(rng, 1, 288, 480, 32),
}


@TYPES
@pytest.mark.parametrize("kind", [*KNN_MAPS, "odd sides"])
def test_complexity_map_agrees(dtype: torch.dtype, kind: str) -> None:
    rng = np.random.default_rng(1)
    x, values = on_gpu(KNN_MAPS[kind](rng) if kind in KNN_MAPS else random_map(rng, 3, 7, 5, 21), dtype)
    got = cuda_ops.complexity_map(x)
    assert torch.equal(cuda_ops.complexity_map(x), got)  # to the bit, in every run
    want = complexity_oracle.complexity_map(values)
    np.testing.assert_allclose(got.cpu().numpy(), want, rtol=0, atol=2e-6 * want.max())


@SAMPLINGS
@TYPES
@pytest.mark.parametrize("kind", KNN_MAPS)
def test_dynamic_knn_agrees(sampling: int, dtype: torch.dtype, kind: str) -> None:
    x, values = on_gpu(KNN_MAPS[kind](np.random.default_rng(1)), dtype)
    complexity = complexity_of(values)
    got = cuda_ops.dynamic_knn(x, torch.from_numpy(complexity).cuda(), sampling).cpu().numpy()
    want = knn_oracle.dynamic_knn(values, complexity, sampling)
    assert_same_graph(got, want, knn_oracle.similarities(values, sampling))


@SAMPLINGS
@TYPES
@pytest.mark.parametrize(
    ("shape", "heads", "width"),
    [
        ((2, 32, 48), 4, 8),
        ((1, 64, 96), 8, 24),
        ((1, 32, 32), 3, 7),
        ((1, 32, 32), 1, 64),
        ((1, 32, 32), 2, 51),
        ((1, 128, 192), 8, 24),
        ((1, 288, 480), 1, 24),
    ],
)
@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_scatter_aggregate_agrees(
    sampling: int, dtype: torch.dtype, shape: tuple[int, int, int], heads: int, width: int, scale: float
) -> None:
    rng = np.random.default_rng(4)
    c = heads * width
    q, q_values = on_gpu(random_map(rng, *shape, c), dtype)
    kv, kv_values = on_gpu(random_map(rng, *shape, 2 * c), dtype)
    features = random_map(rng, *shape, 8)
    graph = knn_oracle.dynamic_knn(features, complexity_of(features), sampling)
    graph[:, :: max(2, graph.shape[1] // 3), 5:9] = 0
    bias, scales = random_bias(rng, heads), (scale * rng.uniform(0.5, 1, heads)).astype(np.float32)
    tensors = (kv, *(torch.from_numpy(array).cuda() for array in (graph, bias, scales)))
    got = cuda_ops.scatter_aggregate(q, *tensors, sampling)
    # Twice the same to the bit, and when the result takes the queries' memory.
    torch.testing.assert_close(cuda_ops.scatter_aggregate(q, *tensors, sampling, out=q), got, rtol=0, atol=0)

    want = aggregate_oracle.scatter_aggregate(q_values, kv_values, graph, bias, scales, sampling)
    n, h, w = shape
    empty = np.zeros((n, h * w), bool)
    empty[:, query_nodes(h, w, sampling)] = unpack(graph).sum(-1) == 0
    highest = float(np.abs(kv_values[..., c:]).max())
    tolerance = highest * np.where(empty, 4e-5 * scales.max() + 1e-5, 2e-6 * scales.max() + 1e-5)
    error = np.abs(got.float().cpu().numpy().astype(np.float64) - want).reshape(n, h * w, c).max(-1)
    assert np.all(error <= tolerance + highest * PRECISION[dtype]), f"{error.max()} of {highest}"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("places", "channels", "hidden"), [*FFN_SIZES, ((98_304,), 128, 512), ((1, 128, 192), 192, 768)]
)
def test_a_feed_forward_agrees(dtype: torch.dtype, places: tuple[int, ...], channels: int, hidden: int) -> None:
    case = FfnCase(str(dtype).removeprefix("torch."), places, channels, hidden)
    arrays = [torch.from_numpy(np.array(array)) for array in case.inputs()]
    tensors = [(each if each.dtype == torch.float32 else each.view(dtype)).cuda() for each in arrays]
    out = cuda_ops.gated_ffn(*tensors, epsilon=EPSILON).cpu()
    case.check(out.view(arrays[0].dtype).numpy())


@TYPES
def test_a_launch_can_be_captured(dtype: torch.dtype) -> None:
    x, values = on_gpu(random_map(np.random.default_rng(5), 1, 32, 48, 24), dtype)
    complexity = torch.from_numpy(complexity_of(values)).cuda()
    want = cuda_ops.dynamic_knn(x, complexity, LOCAL)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = cuda_ops.dynamic_knn(x, complexity, LOCAL)
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(got, want)


@pytest.fixture
def device() -> CudaDevice:
    try:
        return CudaDevice()
    except NoDeviceError:
        raise
    except EngineError as error:
        pytest.skip(f"needs CUDA's Python bindings: {error}")


def test_the_device_captures_and_replays(device: CudaDevice) -> None:
    """Copies, events and a graph on the backends' own stream: each replay sees what was uploaded before."""
    maps = [random_map(np.random.default_rng(seed), 1, 32, 48, 24) for seed in range(3)]
    values, complexity = device.pinned(maps[0].shape, np.float32), device.pinned((1, 32, 48), np.float32)
    got = device.pinned((1, 24, 64, 8), np.int32)
    slots = [device.allocate(array.nbytes) for array in (values, complexity, got)]
    copy, arrived = device.allocate(got.nbytes), device.event()
    size = cuda_ops._KnnSize(*values.shape, LOCAL)

    def launch() -> int:
        return cuda_ops.library().glic_dynamic_knn_cuda(
            ctypes.byref(size), 0, *map(ctypes.c_void_p, slots), ctypes.c_void_p(device.stream)
        )

    assert launch() == 0
    device.synchronize()
    device.begin_capture()
    launched = launch()
    graph = device.end_capture()
    assert launched == 0
    for array in maps:
        values[:], complexity[:] = array, complexity_of(array)
        got[:] = 0
        device.upload(slots[0], values)
        device.upload(slots[1], complexity)
        device.launch(graph)
        device.copy(copy, slots[2], got.nbytes)
        device.download(got, copy)
        device.record(arrived)
        device.wait(arrived)
        assert_same_graph(got, knn_oracle.dynamic_knn(array, complexity, LOCAL), knn_oracle.similarities(array, LOCAL))
    device.free_graph(graph)
    device.free_event(arrived)
    for address in (*slots, copy):
        device.free(address)
    for array in (values, complexity, got):
        device.free_pinned(array)


def test_the_device_says_what_it_lacks(device: CudaDevice) -> None:
    assert device.describe()["device"] == torch.cuda.get_device_name(0)
    free, total = device.memory_info()
    assert 0 < free <= total
    with pytest.raises(DeviceMemoryError, match="out of memory"):
        device.allocate(2 * total)
    kept = device.allocate(1 << 20)  # an allocation that failed leaves no error behind
    device.synchronize()
    device.free(kept)
    with pytest.raises(EngineError, match=f"finds the GPUs 0 to {torch.cuda.device_count() - 1}"):
        CudaDevice(torch.cuda.device_count())


def open_codec(backend: str, engine: Path) -> Codec:
    """Skips the test where the backend is not there; one that computes the entropy path wrongly fails it."""
    if backend == "tensorrt" and not tensorrt.installed():
        pytest.skip("needs TensorRT: pip install tensorrt")
    try:
        return Codec(engine, backend=backend)
    except EngineError as error:
        if "does not compute the entropy path exactly" in str(error):
            raise
        pytest.skip(f"needs backend {backend}: {error}")


@pytest.mark.parametrize("backend", ["onnxruntime-cuda", "tensorrt"])
def test_files_decode_across_backends(backend: str, gpu_engine: Path) -> None:
    """What the GPU writes the CPU reads, and the other way round: symbols are the same to the bit, pictures close."""
    gpu = open_codec(backend, gpu_engine)
    picture = load_image(PHOTOS / "kodim23.png")[100:300, 200:450]
    with gpu, Codec(gpu_engine, backend="onnxruntime") as cpu:
        theirs = cpu.encode(picture)
        for _ in range(3):  # launched, captured, replayed
            for data in gpu.encode(picture), theirs:
                difference = gpu.decode(data).astype(int) - cpu.decode(data)
                assert np.square(difference).mean() < 0.5


@pytest.mark.parametrize("backend", ["onnxruntime-cuda", "tensorrt"])
def test_sizes_and_threads_do_not_disturb_each_other(backend: str, gpu_engine: Path) -> None:
    """Pictures of several sizes from several threads, each decoded as it is alone."""
    with open_codec(backend, gpu_engine) as gpu:
        whole = load_image(PHOTOS / "kodim23.png")
        pictures = [np.ascontiguousarray(whole[:rows, :columns]) for rows in (100, 200, 300) for columns in (120, 250)]
        files = [gpu.encode(picture) for picture in pictures]
        alone = [gpu.decode(data) for data in files]
        with ThreadPoolExecutor(3) as threads:
            for got, want in zip(threads.map(gpu.decode, files * 3), alone * 3, strict=True):
                assert np.square(got.astype(int) - want).mean() < 0.01
