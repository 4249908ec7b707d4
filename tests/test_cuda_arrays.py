"""CUDA arrays in and out, on a simulated GPU: what is copied, who owns the memory, and what is refused."""

from __future__ import annotations

import gc
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from glic_deploy import Codec, EngineError, ImageError, LimitError, Limits, Metadata, dlpack
from glic_deploy.backends.cuda import CaptureGate, Device
from glic_deploy.backends.device_images import DeviceImages
from glic_deploy.backends.device_runs import DeviceRunner
from glic_deploy.backends.tensorrt import TensorRTBackend
from glic_deploy.bundle import Bundle
from glic_deploy.channels import as_rgb
from glic_deploy.cuda_arrays import CudaArray, CudaImage
from glic_deploy.image import load_image, pad

from . import cuda_emulator
from .conftest import PHOTOS
from .tensorrt_simulation import SimulatedDevice, SimulatedTensorRT
from .test_gpu_steps import real_device, simulated_device

pytestmark = [
    pytest.mark.usefixtures("empty_cache"),
    pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake to build the emulator"),
]


@pytest.fixture
def codec(gpu_engine: Path, simulation: SimulatedTensorRT) -> Iterator[Codec]:
    backend = TensorRTBackend(simulation.bundle, simulation.device, simulation.flavour)
    with Codec(gpu_engine, backend=backend) as codec:
        yield codec
    gc.collect()
    assert not simulation.device.memory


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return load_image(PHOTOS / "kodim23.png")[100:300, 200:450]


class OnGpu:
    """An array of another library in the memory of a simulated GPU, with DLPack."""

    def __init__(self, device: SimulatedDevice, array: np.ndarray, shape: Any = None, strides: Any = None) -> None:
        device.activate()
        self.address = device.allocate(array.nbytes)
        device.bytes_at(self.address, array.nbytes)[...] = array.reshape(-1).view(np.uint8)
        self.shape, self.strides = shape or array.shape, strides or array.strides
        self.dtype = array.dtype
        self.streams: list[int | None] = []
        self.array = array.copy()

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CUDA, 0

    def __dlpack__(self, *, stream: int | None = None, dl_device: Any = None, **_: object) -> object:
        if dl_device is not None:
            return self.array.__dlpack__()
        if self.dtype != np.uint8:
            return self.array.__dlpack__()
        self.streams.append(stream)
        return dlpack.capsule(self, self.address, self.array.shape, (dlpack.CUDA, 0))


class WithInterface:
    """The same with `__cuda_array_interface__` alone, like Numba's, and any strides."""

    def __init__(self, array: OnGpu, stream: int | None) -> None:
        self._array = array  # which keeps the memory
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "strides": array.strides,
            "typestr": array.dtype.str,
            "data": (array.address, False),
            "version": 3,
            "stream": stream,
        }


def freed(device: SimulatedDevice, *arrays: OnGpu) -> None:
    for array in arrays:
        device.free(array.address)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("sides", "padded", "strides"),
    [
        ((5, 7), (8, 16), (21, 3, 1)),
        ((4, 4), (4, 4), (4, 1, 16)),
        ((3, 5), (4, 8), (8, 1, 0)),
        ((1, 1), (2, 2), (3, 3, 1)),
    ],
    ids=["padded", "channels_first", "grey", "one_pixel"],
)
def test_the_kernel_pads_like_numpy(
    sides: tuple[int, int], padded: tuple[int, int], strides: tuple[int, int, int], reverse: bool
) -> None:
    bytes_ = (sides[0] - 1) * strides[0] + (sides[1] - 1) * strides[1] + 2 * strides[2] + 1
    source = np.random.default_rng(1).integers(0, 256, bytes_, np.uint8)
    image = np.lib.stride_tricks.as_strided(source, (*sides, 3), strides)
    got = cuda_emulator.run("image_place", (*padded, *sides, *strides), [source], reverse=reverse)
    widths = [(0, padded[0] - sides[0]), (0, padded[1] - sides[1]), (0, 0)]
    np.testing.assert_array_equal(np.frombuffer(got, np.uint8).reshape(*padded, 3), np.pad(image, widths, mode="edge"))


def test_an_image_on_the_gpu_is_coded_without_passing_through_the_host(
    codec: Codec, simulation: SimulatedTensorRT, picture: np.ndarray
) -> None:
    device = simulation.device
    expected = codec.encode(picture, effort=0)
    array = OnGpu(device, picture)
    assert codec.encode(array, effort=0) == expected
    assert array.streams == [None, device.stream]  # of its form, and of its pixels
    device.calls.clear()
    device.uploaded = 0
    assert codec.encode(array, effort=0) == expected
    assert device.uploaded == 0
    assert device.calls.count("download") == 21  # z, and the symbols and indexes of ten passes
    assert device.calls.count("wait") == 1
    assert "synchronize" not in device.calls
    assert "allocate" not in device.calls
    assert not dlpack._held  # no capsule is left
    freed(device, array)


def test_every_form_is_coded_like_on_the_host(codec: Codec, simulation: SimulatedTensorRT, picture: np.ndarray) -> None:
    device = simulation.device
    grey = np.ascontiguousarray(picture[..., 0])
    planes = np.ascontiguousarray(np.moveaxis(picture, -1, 0))
    first, second = OnGpu(device, grey), OnGpu(device, grey[..., np.newaxis].copy())
    for array in first, second:
        assert codec.encode(array) == codec.encode(grey)
    last = OnGpu(device, planes, picture.shape, (picture.shape[1], 1, picture.shape[0] * picture.shape[1]))
    assert codec.encode(WithInterface(last, None)) == codec.encode(picture)
    assert device.followed == []
    assert codec.encode(WithInterface(last, 5), effort=1) == codec.encode(picture, effort=1)
    assert set(device.followed) == {5}
    described = Metadata(exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0")
    assert codec.encode(first, metadata=described) == codec.encode(grey, metadata=described)
    freed(device, first, second, last)


def test_what_needs_the_host_is_copied_there(codec: Codec, simulation: SimulatedTensorRT, picture: np.ndarray) -> None:
    device = simulation.device
    transparent = np.dstack((picture, picture[..., 0]))
    wide = np.hstack((picture, picture[:, ::-1]))  # two tiles
    arrays = [OnGpu(device, wide), OnGpu(device, transparent)]
    assert codec.encode(arrays[0], tile=256) == codec.encode(wide, tile=256)
    assert codec.encode(arrays[1], alpha="keep") == codec.encode(transparent, alpha="keep")
    with pytest.raises(ImageError, match="must be copied to the host"):
        codec.encode(WithInterface(arrays[0], None), tile=256)
    with pytest.raises(ImageError, match=r"float32, expected uint8"):
        codec.encode(OnGpu(SimulatedDevice(), picture.astype(np.float32)))
    with Codec(codec._codecs.bundles[0].path, backend="onnxruntime") as cpu:
        assert cpu.encode(arrays[0]) == cpu.encode(wide)
    limited = Codec(codec._codecs.bundles[0].path, backend="onnxruntime", limits=Limits(max_pixels=1000))
    with pytest.raises(LimitError, match="max_pixels"):
        limited.encode(arrays[0])
    limited.close()
    freed(device, *arrays)


def test_memory_of_another_gpu_comes_through_the_host(
    codec: Codec, simulation: SimulatedTensorRT, picture: np.ndarray
) -> None:
    other = SimulatedDevice()
    assert codec.encode(OnGpu(other, picture)) == codec.encode(picture)


def test_a_decoded_image_stays_on_the_gpu(codec: Codec, simulation: SimulatedTensorRT, picture: np.ndarray) -> None:
    device = simulation.device
    data = codec.encode(picture)
    expected = codec.decode(data)
    first = codec.decode(data, device="cuda")
    device.calls.clear()
    image = codec.decode(data, device="cuda")
    assert device.calls.count("download") == 10  # the indexes of ten passes
    assert device.calls.count("allocate") == 1  # the image
    assert device.calls.count("wait") == 11
    assert isinstance(image, CudaArray)
    assert not device.queue  # it is complete
    for each in (image, first):
        np.testing.assert_array_equal(device.view(each.address, each.shape, np.uint8), expected)
        np.testing.assert_array_equal(np.asarray(each), expected)
    assert image.address != first.address
    part = codec.decode(data, device="cuda", region=(10, 20, 50, 40))
    np.testing.assert_array_equal(np.asarray(part), expected[20:60, 10:60])
    assert codec.encode(image) == codec.encode(expected)


def test_every_file_decodes_to_the_gpu(codec: Codec, simulation: SimulatedTensorRT, picture: np.ndarray) -> None:
    transparent, wide = np.dstack((picture, picture[..., 0])), np.hstack((picture, picture[:, ::-1]))
    for source, coding, options in (
        (wide, {"tile": 256}, {}),
        (wide, {"tile": 256}, {"region": (10, 20, 200, 100)}),
        (picture[..., 0], {}, {}),
        (transparent, {"alpha": "keep"}, {}),
        (transparent, {"alpha": "keep"}, {"region": (3, 4, 50, 60)}),
    ):
        data = codec.encode(source, **coding)
        np.testing.assert_array_equal(
            np.asarray(codec.decode(data, device="cuda", **options)), codec.decode(data, **options)
        )


def test_the_memory_lives_as_long_as_it_is_used(
    gpu_engine: Path, simulation: SimulatedTensorRT, picture: np.ndarray
) -> None:
    device = simulation.device
    backend = TensorRTBackend(simulation.bundle, device, simulation.flavour)
    with Codec(gpu_engine, backend=backend) as codec:
        data = codec.encode(picture)
        expected = codec.decode(data)
        image = codec.decode(data, device="cuda")
        unused = image.__dlpack__(stream=3)
        codec.decode(codec.encode(picture[::-1]), device="cuda")
    assert [block.nbytes for block in device.memory.values()] == [picture.nbytes]
    np.testing.assert_array_equal(device.view(image.address, image.shape, np.uint8), expected)
    del image
    gc.collect()
    assert len(device.memory) == 1  # a library may still consume the capsule
    del unused
    gc.collect()
    assert not device.memory


def test_torch_and_numpy_take_the_memory_and_free_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulated GPU's memory is that of the host, which these libraries can read."""
    torch = pytest.importorskip("torch", reason="needs torch, of the export extra")
    device = SimulatedDevice()
    device.activate()
    image = CudaArray(device, (4, 5, 3))
    device.view(image.address, image.shape, np.uint8)[...] = np.arange(60).reshape(4, 5, 3)
    assert image.__dlpack_device__() == (2, 0)
    assert image.__cuda_array_interface__ == {
        "shape": (4, 5, 3),
        "typestr": "|u1",
        "data": (image.address, False),
        "version": 3,
        "stream": None,
    }
    for wrong in ({"dl_device": (1, 0)}, {"copy": True}):
        with pytest.raises(BufferError, match="on GPU 0"):
            image.__dlpack__(**wrong)
    assert image.__dlpack__(stream=1, max_version=(1, 0), dl_device=(2, 0), copy=False) is not None
    with pytest.raises(ValueError, match="copy=False"):
        image.__array__(copy=False)
    monkeypatch.setattr(CudaArray, "__dlpack_device__", lambda self: (dlpack.CPU, 0))
    tensor, array = torch.from_dlpack(image), np.from_dlpack(image)
    assert tensor.data_ptr() == array.ctypes.data == image.address
    assert tensor.shape == array.shape == (4, 5, 3)
    np.testing.assert_array_equal(tensor.numpy(), array)
    del image, array
    gc.collect()
    assert len(device.memory) == 1
    assert int(tensor.sum()) == sum(range(60))
    del tensor
    gc.collect()
    assert not device.memory


def test_tensors_that_are_freed_while_their_thread_captures_are_freed_afterwards() -> None:
    device = SimulatedDevice()
    device.activate()
    gate = device.gate
    assert isinstance(gate, CaptureGate)
    array = CudaArray(device, (1, 1, 3))
    with gate.capture():
        del array
        gc.collect()
        assert len(device.memory) == 1
    assert not device.memory
    thread = threading.Thread(target=gate.outside, args=(device.free, device.allocate(1)))
    with gate.capture():
        thread.start()
        thread.join(20)
        assert not device.memory  # another thread calls at once: the device itself waits


def test_without_a_gpu_it_says_what_to_do(gpu_engine: Path, picture: np.ndarray) -> None:
    with Codec(gpu_engine, backend="onnxruntime") as codec:
        data = codec.encode(picture[:128, :128])
        with pytest.raises(EngineError, match=r"backend onnxruntime does not run on a GPU; .*device=0.*copy the array"):
            codec.decode(data, device="cuda")
        with pytest.raises(ImageError, match=r"device='cuda' and out"):
            codec.decode(data, device="cuda", out=picture)
        with pytest.raises(ImageError, match=r"device is 'cpu', expected"):
            codec.decode(data, device="cpu")  # type: ignore[call-overload]


def on_simulated_gpu(device: SimulatedDevice, array: np.ndarray) -> Any:
    return OnGpu(device, array)


def on_real_gpu(device: Device, array: np.ndarray) -> Any:
    import torch

    stream = torch.cuda.Stream(device.number)
    with torch.cuda.stream(stream):  # its work must be waited for
        busy = torch.ones(1 << 26, device="cuda").cumsum(0)
        return (torch.from_numpy(array.copy()).cuda() + (busy[:1] - 1)).to(torch.uint8)


@pytest.mark.parametrize(
    ("open_device", "send"),
    [
        (simulated_device, on_simulated_gpu),
        pytest.param(real_device, on_real_gpu, marks=pytest.mark.gpu),
    ],
    ids=["simulated", "on_a_gpu"],
)
def test_a_gpu_pads_and_crops_like_numpy(open_device: Any, send: Any, gpu_engine: Path) -> None:
    device, never = open_device(), mock.Mock(spec_set=())
    on_a_gpu = not isinstance(device, SimulatedDevice)
    if on_a_gpu:
        torch = pytest.importorskip("torch", reason="needs torch, of the export extra")
        if not torch.cuda.is_available():
            pytest.skip("needs a torch that was built for CUDA")
    images = DeviceImages(DeviceRunner(device, Bundle.open(gpu_engine), never, never), device)
    rng = np.random.default_rng(1)
    for shape in ((100, 130, 3), (128, 128), (1, 257, 3)):
        array = rng.integers(0, 256, shape, np.uint8)
        image = CudaImage.of(send(device, array))
        assert image is not None
        assert images.owns(image)
        expected = pad(as_rgb(array))
        padded = images.place(image, *expected.shape[:2])
        np.testing.assert_array_equal(padded, expected)
        crop = images.crop(padded, 3, 0, 90, 1)
        np.testing.assert_array_equal(crop, expected[:1, 3:93])
        uploaded = images.upload(array)
        np.testing.assert_array_equal(uploaded, array)
        if on_a_gpu:
            for mine in (crop, uploaded):
                theirs = torch.from_dlpack(mine)
                assert theirs.data_ptr() == mine.address == torch.as_tensor(mine, device="cuda").data_ptr()
                np.testing.assert_array_equal(theirs.cpu(), np.asarray(mine))
