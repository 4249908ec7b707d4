// The part of CUDA C++ and its runtime that the kernels use, for a C++ compiler: see emulator.h.
#ifndef GLIC_CUDA_EMULATOR_CUDA_RUNTIME_H
#define GLIC_CUDA_EMULATOR_CUDA_RUNTIME_H

#include <math.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../emulator.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

using dim3 = glic_emulator::Dim3;
using glic_emulator::blockIdx;
using glic_emulator::gridDim;
using glic_emulator::threadIdx;

struct float2 {
    alignas(8) float x;
    float y;
};
struct uint2 {
    alignas(8) uint32_t x;
    uint32_t y;
};
struct uint4 {
    alignas(16) uint32_t x;
    uint32_t y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }

inline uint32_t __float_as_uint(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}
inline float __uint_as_float(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
using std::max;
using std::min;

inline float rsqrtf(float value) { return 1.0f / sqrtf(value); }

// Threads take turns, so that nothing comes between.
inline unsigned long long atomicAdd(unsigned long long* sum, unsigned long long value) {
    const unsigned long long before = *sum;
    *sum += value;
    return before;
}

// The emulator is compiled without contraction.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }

inline void __syncthreads() { glic_emulator::block_barrier(); }
inline int __syncthreads_and(int predicate) { return glic_emulator::block_and(predicate); }

template <typename V>
V __shfl_xor_sync(unsigned, V value, int distance) {
    struct Exchange {
        V value;
        int distance;
        V result;
    } mine{value, distance, value};
    glic_emulator::warp_collective("__shfl_xor_sync", &mine, [](void* const lanes[32]) {
        for (int lane = 0; lane < 32; ++lane) {
            Exchange* exchange = static_cast<Exchange*>(lanes[lane]);
            exchange->result = static_cast<Exchange*>(lanes[lane ^ exchange->distance])->value;
        }
    });
    return mine.result;
}
inline unsigned __reduce_or_sync(unsigned, unsigned value) {
    glic_emulator::warp_collective("__reduce_or_sync", &value, [](void* const lanes[32]) {
        unsigned all = 0;
        for (int lane = 0; lane < 32; ++lane) all |= *static_cast<unsigned*>(lanes[lane]);
        for (int lane = 0; lane < 32; ++lane) *static_cast<unsigned*>(lanes[lane]) = all;
    });
    return value;
}
inline int __any_sync(unsigned mask, int predicate) { return __reduce_or_sync(mask, predicate != 0) != 0; }

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount };

struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
};

inline cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int bytes) {
    return bytes <= glic_emulator::kSharedLimit ? cudaSuccess : cudaErrorInvalidValue;
}
inline cudaError_t cudaGetDevice(int* device) {
    *device = 0;
    return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
    *value = glic_emulator::kProcessors;
    return cudaSuccess;
}
template <typename Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel, int, size_t) {
    *blocks = 1;
    return cudaSuccess;
}
template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               const Arguments&... arguments) {
    glic_emulator::run_grid(config->gridDim, config->blockDim, config->dynamicSmemBytes,
                            [&] { kernel(arguments...); });
    return cudaSuccess;
}

#endif
