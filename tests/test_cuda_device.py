"""The GPU interface on a made-up CUDA runtime: which GPU is used, what is refused, and what waits for captures."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import gpu_check
from glic_deploy import EngineError
from glic_deploy.backends.cuda import CaptureGate, CudaDevice, NoDeviceError
from glic_deploy.tensorrt import RTX_CAPABILITIES

from .conftest import ROOT


class Runtime:
    """CUDA's runtime as cuda-bindings shows it, on a machine with two GPUs. Every function returns 0 and a result."""

    cudaMemcpyKind = staticmethod(lambda kind: kind)

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.capabilities = [(8, 9), (8, 6)]
        self.results: dict[str, Any] = {
            "cudaGetDeviceCount": 2,
            "cudaDriverGetVersion": 13010,
            "cudaMemGetInfo": (3, 4),
            "cudaStreamCreateWithFlags": 7,
            "cudaEventCreateWithFlags": 8,
            "cudaMalloc": 9,
        }

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append((name, *arguments))
            if name == "cudaGetDeviceProperties":
                major, minor = self.capabilities[arguments[0]]
                found = SimpleNamespace(
                    name=f"GPU {arguments[0]}".encode(), major=major, minor=minor, multiProcessorCount=58
                )
                return 0, found
            result = self.results.get(name)
            return (0, *(result if isinstance(result, tuple) else (result,) if result else ()))

        return call


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    bindings = pytest.importorskip("cuda.bindings", reason="needs cuda-bindings: pip install cuda-bindings")
    runtime = Runtime()
    monkeypatch.setitem(__import__("sys").modules, "cuda.bindings.runtime", runtime)
    monkeypatch.setattr(bindings, "runtime", runtime, raising=False)
    return runtime


def test_a_gpu_is_selected_by_its_number(runtime: Runtime) -> None:
    device = CudaDevice(1)
    assert (device.name, device.number, device.capability) == ("GPU 1", 1, (8, 6))
    assert runtime.calls.index(("cudaSetDevice", 1)) < runtime.calls.index(("cudaStreamCreateWithFlags", 1))
    assert device.memory_info() == (3, 4)
    described = device.describe()
    assert described | {"driver": ""} == {"device": "GPU 1", "capability": "8.6", "processors": 58, "driver": ""}
    assert described["driver"].endswith(", CUDA 13.1")
    for number in (2, -1):
        with pytest.raises(EngineError, match=f"device is {number}, CUDA finds the GPUs 0 to 1"):
            CudaDevice(number)


def test_a_gpu_that_is_older_than_the_kernels_is_refused(runtime: Runtime) -> None:
    runtime.capabilities[0] = (7, 5)
    with pytest.raises(NoDeviceError, match=r"GPU 0 has compute capability 7\.5, the kernels need 8\.0 or later"):
        CudaDevice()


@pytest.mark.parametrize("call", ["allocate", "free", "synchronize", "event", "wait", "free_event"])
def test_calls_that_would_break_a_capture_wait_for_its_end(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(CudaDevice, "gate", CaptureGate())
    device = CudaDevice()
    event = device.event()
    arguments = {"allocate": (1,), "free": (9,), "wait": (event,), "free_event": (event,)}.get(call, ())
    thread = threading.Thread(target=getattr(device, call), args=arguments, daemon=True)
    with device.gate.capture():
        before = len(runtime.calls)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        assert len(runtime.calls) == before
    thread.join(20)
    assert len(runtime.calls) == before + 1


def test_a_capture_waits_for_calls_and_calls_not_for_each_other() -> None:
    gate = CaptureGate()
    captured = threading.Event()

    def capture() -> None:
        with gate.capture():
            captured.set()

    thread = threading.Thread(target=capture, daemon=True)
    with gate.call():
        with gate.call():
            thread.start()
            assert not captured.wait(0.1)
        assert not captured.wait(0.1)
    assert captured.wait(20)
    thread.join(20)
    with gate.call(), pytest.raises(ValueError):
        raise ValueError
    with gate.capture():  # an error leaves nothing behind
        pass


def architectures() -> tuple[set[int], set[int]]:
    """The architectures with machine code, and those with PTX, of the default build."""
    text = (ROOT / "cmake" / "Cuda.cmake").read_text()
    listed = text.split("set(CMAKE_CUDA_ARCHITECTURES ")[1].split(")")[0].split()
    numbers = {entry: int(entry.removesuffix("-real").removesuffix("-virtual")) for entry in listed}
    real = {number for entry, number in numbers.items() if not entry.endswith("-virtual")}
    return real, {number for entry, number in numbers.items() if not entry.endswith("-real")}


def test_every_gpu_from_8_0_on_finds_code() -> None:
    real, ptx = architectures()
    assert {80, 86, 87, 89, 90, 100, 120} <= real
    assert {10 * major + minor for major, minor in RTX_CAPABILITIES} - real <= {121}  # which runs the code of 120
    for capability in (88, 101, 103, 110, 121, 130):
        best = max(number for number in ptx if number <= capability)
        assert best // 10 == capability // 10 or capability in (110, 130), (capability, best)


def test_the_check_on_a_gpu_runs_every_tool_of_the_sanitizer() -> None:
    assert set(gpu_check.SANITIZER_TOOLS) == {"memcheck", "racecheck", "synccheck", "initcheck"}
    assert "for tool in SANITIZER_TOOLS" in Path(gpu_check.__file__).read_text()


def test_the_steps_between_graphs_are_compiled_without_contraction() -> None:
    """Else a product and a sum are one rounding, and symbols differ from the host's."""
    text = (ROOT / "plugins_cpp" / "cuda" / "CMakeLists.txt").read_text()
    assert "plugins_cpp/passes/cuda/passes.cu PROPERTIES COMPILE_OPTIONS -fmad=false" in " ".join(text.split())


COUNTING_RUNTIME = """
#pragma once
#include <cstddef>
enum cudaError_t { cudaSuccess, cudaErrorInvalidValue };
enum { cudaFuncAttributeMaxDynamicSharedMemorySize, cudaDevAttrMultiProcessorCount };
inline int device, questions, answer = cudaSuccess;
inline cudaError_t cudaGetDevice(int* out) { *out = device; return cudaSuccess; }
inline cudaError_t cudaFuncSetAttribute(const void*, int, int) { ++questions; return cudaError_t(answer); }
inline cudaError_t cudaDeviceGetAttribute(int* out, int, int of) { *out = 10 + of; return cudaSuccess; }
template <typename Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* out, Kernel, int, int) {
    ++questions; *out = 2; return cudaSuccess;
}
"""
COUNTING_MAIN = """
#include "common/cuda/blocks_at_once.cuh"
#include <cstdio>
#include <initializer_list>
void kernel() {}
int main() {
    static glic::BlocksAtOnce blocks_at_once;
    for (int number : {0, 0, 3, 0, 3, 64, 64}) {
        int blocks = -1;
        device = number;
        questions = 0;
        answer = cudaErrorInvalidValue;
        const int failed = blocks_at_once.get(kernel, 1, 1, &blocks);
        answer = cudaSuccess;
        if (failed) blocks_at_once.get(kernel, 1, 1, &blocks);
        std::printf("%d:%d:%d ", number, questions, blocks);
    }
}
"""


def test_cuda_is_asked_once_for_each_kernel_and_device(tmp_path: Path) -> None:
    (tmp_path / "cuda_runtime.h").write_text(COUNTING_RUNTIME)
    (tmp_path / "main.cpp").write_text(COUNTING_MAIN)
    include = [f"-I{tmp_path}", f"-I{ROOT / 'plugins_cpp'}"]
    subprocess.run(["c++", "-std=c++17", *include, tmp_path / "main.cpp", "-o", tmp_path / "main"], check=True)
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True)
    # Three questions: the first attempt fails and leaves nothing. Devices beyond the table are asked each time.
    assert done.stdout.split() == ["0:3:20", "0:0:20", "3:3:26", "0:0:20", "3:0:26", "64:3:148", "64:3:148"]
    for kernel in ROOT.glob("plugins_cpp/*/cuda/*.cu"):
        assert not any(name in kernel.read_text() for name in ("cudaFuncSetAttribute", "cudaOccupancy")), kernel
