// What a warp of either kernel does with rows in shared memory: products on the tensor cores, sums over
// quads.
//
// A fragment is one 32-bit register a lane: lane 4·g + t holds bytes 4t to 4t + 3 of a chunk of 16 bytes of
// row g. Two consecutive chunks are one step of a matrix product, 16 elements of 16 bits or 8 floats.
#ifndef GLIC_COMMON_CUDA_WARP_CUH
#define GLIC_COMMON_CUDA_WARP_CUH

#include <cuda_runtime.h>

#include <instructions.cuh>

namespace glic {

constexpr int kWarp = 32;
constexpr int kChunk = 16;  // bytes
constexpr unsigned kAllLanes = 0xFFFFFFFFu;

// The bytes from one row to the next for which the 8 rows of a fragment lie in different banks: an odd number
// of chunks.
constexpr int padded_row(int bytes) { return bytes / kChunk % 2 ? bytes : bytes + kChunk; }

// A chunk of a row to shared memory: `count` elements, then zeros. `aligned`: copied in the background, and
// count is a whole chunk or nothing.
template <typename T>
__device__ __forceinline__ void copy_chunk(unsigned char* to, const T* from, int count, bool aligned) {
    if (aligned) {
        copy_async(to, from, count > 0);
        return;
    }
    constexpr int kElements = kChunk / sizeof(T);
#pragma unroll
    for (int e = 0; e < kElements; ++e) {
        reinterpret_cast<T*>(to)[e] = e < count ? from[e] : from_float<T>(0.0f);
    }
}

__device__ __forceinline__ uint32_t fragment(const unsigned char* chunk, int stride) {
    const int lane = threadIdx.x % kWarp;
    return *reinterpret_cast<const uint32_t*>(chunk + lane / 4 * stride + lane % 4 * 4);
}

// sum += a · b over one step, a being 16 rows and b 8 rows of two chunks.
template <typename T>
__device__ __forceinline__ void multiply_step(float sum[4], const uint32_t a[4], const uint32_t b[2]) {
    multiply_16x8x16(sum, a, b, T{});
}

// In float32 as exactly as float32 sums are: a value is the sum of two of 11 bits, and the product of the two
// smaller parts is below the rounding of the others.
template <>
__device__ __forceinline__ void multiply_step<float>(float sum[4], const uint32_t a[4], const uint32_t b[2]) {
    float a_high[4], a_low[4], b_high[2], b_low[2];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        a_high[i] = round_to_tf32(__uint_as_float(a[i]));
        a_low[i] = round_to_tf32(__uint_as_float(a[i]) - a_high[i]);
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        b_high[i] = round_to_tf32(__uint_as_float(b[i]));
        b_low[i] = round_to_tf32(__uint_as_float(b[i]) - b_high[i]);
    }
    multiply_16x8x8_tf32(sum, a_low, b_high);
    multiply_16x8x8_tf32(sum, a_high, b_low);
    multiply_16x8x8_tf32(sum, a_high, b_high);
}

// The sum of the squares of a row of `chunks` chunks.
template <typename T>
__device__ __forceinline__ float sum_of_squares(const unsigned char* row, int chunks) {
    float sum = 0.0f;
    for (int c = 0; c < chunks; ++c) {
        const uint4 chunk = *reinterpret_cast<const uint4*>(row + c * kChunk);
        const T* elements = reinterpret_cast<const T*>(&chunk);
#pragma unroll
        for (int e = 0; e < kChunk / static_cast<int>(sizeof(T)); ++e) {
            const float value = to_float(elements[e]);
            sum = fmaf(value, value, sum);
        }
    }
    return sum;
}

// 1 over a norm, which is floored at 1e-12.
__device__ __forceinline__ float inverse_norm(float sum_of_squares) {
    const float norm = sqrtf(sum_of_squares);
    return 1.0f / (norm < 1e-12f ? 1e-12f : norm);
}

// Over the four lanes that share rows g and g + 8.
template <typename V>
__device__ __forceinline__ V quad_sum(V value) {
    value += __shfl_xor_sync(kAllLanes, value, 1);
    return value + __shfl_xor_sync(kAllLanes, value, 2);
}
__device__ __forceinline__ float quad_min(float value) {
    value = fminf(value, __shfl_xor_sync(kAllLanes, value, 1));
    return fminf(value, __shfl_xor_sync(kAllLanes, value, 2));
}
__device__ __forceinline__ float quad_max(float value) {
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, 1));
    return fmaxf(value, __shfl_xor_sync(kAllLanes, value, 2));
}
__device__ __forceinline__ uint32_t quad_or(uint32_t value) {
    value |= __shfl_xor_sync(kAllLanes, value, 1);
    return value | __shfl_xor_sync(kAllLanes, value, 2);
}

}  // namespace glic

#endif
