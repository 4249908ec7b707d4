// The steps between two graphs of the entropy path. They are compiled without contraction, because they equal
// NumPy's results in every bit.
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "../../common/cuda/launch.cuh"
#include "../passes_cuda.h"

namespace glic {
namespace {

constexpr unsigned kThreads = 256;
constexpr float kMostSymbol = 2047.0F;

struct Slice {
    int values, height, width, parity;

    // The packed index of a value of the slice; -1 if another pass codes its position.
    __device__ __forceinline__ int packed(int index) const {
        const int column = index % width, row = index / width % height;
        return ((row + column) & 1) == parity ? index / 2 : -1;
    }
    // The index in the slice of a packed value.
    __device__ __forceinline__ int whole(int index) const {
        const int row = index / (width / 2) % height;
        return 2 * index + ((row & 1) ^ parity);
    }
};

__global__ void __launch_bounds__(kThreads)
    place(const Slice slice, const int16_t* symbols, const float* means, const float* others, float* out) {
    const int index = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
    if (index >= slice.values) return;
    const int packed = slice.packed(index);
    if (packed >= 0) {
        out[index] = static_cast<float>(symbols[packed]) + means[packed];
    } else {
        out[index] = others != nullptr ? others[index] : 0.0F;
    }
}

__global__ void begin(const uint64_t* before, uint64_t* expected) {
    *expected = before != nullptr ? *before : 0;
}

// Adds the expected units of all symbols of the pass.
__global__ void __launch_bounds__(kThreads)
    add(int values, const uint8_t* indexes, const int32_t* units, uint64_t* expected) {
    const int index = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
    int sum = index < values ? units[indexes[index]] : 0;
#pragma unroll
    for (int distance = kWarp / 2; distance != 0; distance /= 2) {
        sum += __shfl_xor_sync(kAllLanes, sum, distance);
    }
    static_assert(sizeof(unsigned long long) == sizeof(uint64_t), "atomicAdd has no other type of 64 bits");
    if (threadIdx.x % kWarp == 0) {
        atomicAdd(reinterpret_cast<unsigned long long*>(expected), static_cast<unsigned long long>(sum));
    }
}

__device__ __forceinline__ double adapted(const glic_pass_weighing& weighing) {
    if (weighing.usual == 0.0) return weighing.strength;
    const double ratio = static_cast<double>(*weighing.expected) / weighing.usual;
    const double strength = weighing.strength * ratio * sqrt(ratio);
    return strength < weighing.most_strength ? strength : weighing.most_strength;
}

__global__ void __launch_bounds__(kThreads)
    quantize(const Slice slice, const float* y, const float* means, const uint8_t* indexes, bool weighs,
             const glic_pass_weighing weighing, int16_t* symbols) {
    const int index = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
    if (index >= slice.values / 2) return;
    const int whole = slice.whole(index);
    const float difference = y[whole] - means[index];
    const float nearest = rintf(difference);
    float magnitude = fabsf(nearest);
    if (weighs && nearest != 0.0F) {
        const float weight = weighing.weights[whole % (slice.height * slice.width)];
        const double* gains = weighing.gains + static_cast<size_t>(indexes[index]) * weighing.levels;
        const double strength = adapted(weighing);
        float rise = 2.0F * (fabsf(difference) - magnitude) + 1.0F;  // of the squared error, one step lower
        // The gain is 0 at magnitude 0, and at that of the last level, which stands for all larger ones.
        for (int level = static_cast<int>(fminf(magnitude, static_cast<float>(weighing.levels - 1)));;
             --level) {
            float bearable = static_cast<float>(gains[level] * strength);
            if (level == 1) bearable *= weighing.detail_share;
            if (!(rise < bearable * weight)) break;
            magnitude -= 1.0F;
            rise += 2.0F;
        }
    }
    const float bounded = fminf(magnitude, kMostSymbol);
    symbols[index] = static_cast<int16_t>(difference < 0.0F ? -bounded : bounded);
}

unsigned blocks_for(int values) { return (static_cast<unsigned>(values) + kThreads - 1) / kThreads; }

// Whether the kernels can count the values of the slice, which is not empty.
bool is_valid(const glic_pass_size& size) {
    return fits_int(size.channels, size.height, size.width) && size.channels > 0 && size.height > 0 &&
           size.width > 0 && size.width % 2 == 0;
}

Slice slice_of(const glic_pass_size& size) {
    return {static_cast<int>(size.channels * size.height * size.width), static_cast<int>(size.height),
            static_cast<int>(size.width), size.parity & 1};
}

}  // namespace
}  // namespace glic

int glic_pass_expect_cuda(const glic_pass_size* size, const uint8_t* indexes, const int32_t* units,
                          const uint64_t* before, uint64_t* expected, void* stream) {
    using namespace glic;
    if (!is_valid(*size)) return cudaErrorInvalidValue;
    const auto cuda_stream = static_cast<cudaStream_t>(stream);
    const cudaError_t result = launch_kernel(begin, 1, 1, 0, cuda_stream, before, expected);
    if (result != cudaSuccess) return result;
    const int values = slice_of(*size).values / 2;
    return launch_kernel(add, blocks_for(values), kThreads, 0, cuda_stream, values, indexes, units, expected);
}

int glic_pass_quantize_cuda(const glic_pass_size* size, const float* y, const float* means,
                            const uint8_t* indexes, const glic_pass_weighing* weighing, int16_t* symbols,
                            void* stream) {
    using namespace glic;
    if (!is_valid(*size)) return cudaErrorInvalidValue;
    const Slice slice = slice_of(*size);
    const bool weighs = weighing != nullptr;
    return launch_kernel(quantize, blocks_for(slice.values / 2), kThreads, 0,
                         static_cast<cudaStream_t>(stream), slice, y, means, indexes, weighs,
                         weighs ? *weighing : glic_pass_weighing{}, symbols);
}

int glic_pass_place_cuda(const glic_pass_size* size, const int16_t* symbols, const float* means,
                         const float* others, float* slice, void* stream) {
    using namespace glic;
    if (!is_valid(*size)) return cudaErrorInvalidValue;
    const Slice sides = slice_of(*size);
    return launch_kernel(place, blocks_for(sides.values), kThreads, 0, static_cast<cudaStream_t>(stream),
                         sides, symbols, means, others, slice);
}
