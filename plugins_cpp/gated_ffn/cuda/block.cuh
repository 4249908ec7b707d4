// What the kernels of this folder share: weights in stages, norms in registers, gates.
#ifndef GLIC_GATED_FFN_CUDA_BLOCK_CUH
#define GLIC_GATED_FFN_CUDA_BLOCK_CUH

#include "../../common/cuda/launch.cuh"
#include "../../common/cuda/warp.cuh"
#include "../../common/gelu.h"

namespace glic {

constexpr int kWarps = 8, kThreads = kWarps * kWarp;
constexpr int kRows = 16;    // positions of a left operand
constexpr int kStep = 16;    // inputs of one product instruction
constexpr int kTile = 8;     // outputs of one product instruction
constexpr int kHidden = 32;  // hidden channels of a chunk
constexpr int kHalf = 2;     // bytes of an element
constexpr int kElements = kChunk / kHalf;

// The constants of a node.
struct FfnWeights {
    const void* expand;
    const float* bias;
    const float* filter;  // of a depthwise convolution, nullptr without one
    const void* project;
    int channels, hidden;
    float epsilon;
};

// Shared memory of a stage: the chunk's columns of `expand`, of a and then of b, and its rows of `project`;
// with a filter also the filters of a and then of b.
template <int kChannels, int kTaps>
struct Stage {
    static constexpr int kExpandRow = padded_row(2 * kHidden * kHalf);
    static constexpr int kProjectRow = padded_row(kChannels * kHalf);
    static constexpr int kProject = kChannels * kExpandRow;
    static constexpr int kFilter = kProject + kHidden * kProjectRow;
    static constexpr int kFilterBytes = kHidden * kTaps * static_cast<int>(sizeof(float));
    static constexpr int kBytes = kFilter + 2 * kFilterBytes;
};

__device__ __forceinline__ float gelu(float x) {
    const float distance = fabsf(x);
    const float d = fminf(distance, kGeluEnd);
    constexpr float kTail[] = GLIC_GELU_TAIL;
    float p = kTail[0];
#pragma unroll
    for (int i = 1; i < 8; ++i) p = fmaf(p, d, kTail[i]);
    const float tail = distance > kGeluEnd ? 0.0f : x * exp2_fast(p);
    return x > 0.0f ? x - tail : tail;
}

// Two neighbouring values in memory.
template <typename T>
__device__ __forceinline__ void load_pair(const void* from, float pair[2]) {
    const uint32_t word = *static_cast<const uint32_t*>(from);
    const T* values = reinterpret_cast<const T*>(&word);
    pair[0] = to_float(values[0]);
    pair[1] = to_float(values[1]);
}

// The normalised positions of the warp as left operands: of each step, lane 4·g + t holds channels 2t, 2t + 1
// and 8 more of rows g and g + 8, which are rows[0] and rows[1]. nullptr is a row of zeros.
template <typename T, int kChannels>
__device__ __forceinline__ void normalise(const T* const rows[2], int channels, float epsilon,
                                          uint32_t normed[kChannels / kStep][4]) {
    constexpr int kSteps = kChannels / kStep;
    const int column = threadIdx.x % 4 * 2;
    float values[kSteps][4][2];
    float mean[2] = {}, variance[2] = {};
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int channel = k * kStep + i / 2 * 8 + column;
            values[k][i][0] = values[k][i][1] = 0.0f;
            if (rows[i % 2] != nullptr && channel < channels)
                load_pair<T>(rows[i % 2] + channel, values[k][i]);
            mean[i % 2] += values[k][i][0] + values[k][i][1];
        }
    }
    const float count = 1.0f / static_cast<float>(channels);
#pragma unroll
    for (int r = 0; r < 2; ++r) mean[r] = quad_sum(mean[r]) * count;
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            // Channels come in eights, so all of these two exist or neither does.
            if (k * kStep + i / 2 * 8 >= channels) continue;
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                values[k][i][e] -= mean[i % 2];
                variance[i % 2] = fmaf(values[k][i][e], values[k][i][e], variance[i % 2]);
            }
        }
    }
    float inverse[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) inverse[r] = 1.0f / sqrtf(quad_sum(variance[r]) * count + epsilon);
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            normed[k][i] = pack<T>(values[k][i][0] * inverse[i % 2], values[k][i][1] * inverse[i % 2]);
        }
    }
}

// Starts the copies of a chunk's weights, with zeros where they end.
template <typename T, int kChannels, int kTaps>
__device__ __forceinline__ void copy_weights(const FfnWeights& weights, int chunk, unsigned char* stage) {
    using Layout = Stage<kChannels, kTaps>;
    constexpr int kParts = kHidden / kElements;  // of a half of a row of `expand`
    const int first = chunk * kHidden;
    const T* expand = static_cast<const T*>(weights.expand);
    const T* project = static_cast<const T*>(weights.project);
    for (int i = static_cast<int>(threadIdx.x); i < kChannels * 2 * kParts; i += kThreads) {
        const int row = i / (2 * kParts), part = i % (2 * kParts);
        const int column = first + part % kParts * kElements;
        const bool inside = row < weights.channels && column < weights.hidden;
        const int64_t from =
            static_cast<int64_t>(row) * 2 * weights.hidden + part / kParts * weights.hidden + column;
        copy_async(stage + row * Layout::kExpandRow + part * kChunk, expand + (inside ? from : 0), inside);
    }
    for (int i = static_cast<int>(threadIdx.x); i < kHidden * kChannels / kElements; i += kThreads) {
        const int row = i / (kChannels / kElements), column = i % (kChannels / kElements) * kElements;
        const bool inside = first + row < weights.hidden && column < weights.channels;
        const int64_t from = static_cast<int64_t>(first + row) * weights.channels + column;
        copy_async(stage + Layout::kProject + row * Layout::kProjectRow + column * kHalf,
                   project + (inside ? from : 0), inside);
    }
    if constexpr (kTaps > 0) {
        constexpr int kFloats = kChunk / sizeof(float), kPieces = kHidden * kTaps / kFloats;
        for (int i = static_cast<int>(threadIdx.x); i < 2 * kPieces; i += kThreads) {
            const int half = i / kPieces, value = first * kTaps + i % kPieces * kFloats;
            const bool inside = value < weights.hidden * kTaps;
            copy_async(stage + Layout::kFilter + i * kChunk,
                       weights.filter + (inside ? half * weights.hidden * kTaps + value : 0), inside);
        }
    }
    copy_async_commit();
}

// The biases of the hidden channels of a tile of sums, whose columns 2t and 2t + 1 a lane has.
__device__ __forceinline__ void start_sums(const FfnWeights& weights, int hidden, int half, float sums[4]) {
    const bool inside = hidden < weights.hidden;
    const float* bias = weights.bias + (inside ? half * weights.hidden + hidden : 0);
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[i] = inside ? bias[i % 2] : 0.0f;
}

// out = x + sums, of the two channels of a lane.
template <typename T>
__device__ __forceinline__ void store_pair(const void* x, const float sums[2], void* out) {
    float before[2];
    load_pair<T>(x, before);
    *static_cast<uint32_t*>(out) = pack<T>(before[0] + sums[0], before[1] + sums[1]);
}

}  // namespace glic

#endif
