// A block of threads takes kPositions positions, a warp 16 of them: a warp normalises its positions into
// registers, where they stay as the left operand of all products. The hidden channels come in chunks of
// kHidden, whose weights are copied to shared memory in the background, in two stages. Of each 16 hidden
// channels a warp computes both halves, gates them in registers, and multiplies the result, which is already
// spread as a left operand is, with its rows of the second matrix. Of the wide map nothing reaches memory.
#include "../../common/cuda/launch.cuh"
#include "../../common/cuda/warp.cuh"
#include "../../common/gelu.h"
#include "../gated_ffn_cuda.h"

namespace glic {
namespace {

constexpr int kWarps = 8, kThreads = kWarps * kWarp, kRows = 16, kPositions = kWarps * kRows;
constexpr int kStep = 16;    // inputs of one product instruction
constexpr int kHidden = 32;  // hidden channels of a chunk
constexpr int kHalf = 2;     // bytes of an element
constexpr int kElements = kChunk / kHalf;

struct Problem {
    const void* x;
    const void* expand;
    const float* bias;
    const void* project;
    void* out;
    int64_t positions;
    int channels, hidden;
    float epsilon;
};

// Shared memory of a stage: the chunk's columns of `expand`, of a and then of b, and its rows of `project`.
template <int kChannels>
struct Stage {
    static constexpr int kExpandRow = padded_row(2 * kHidden * kHalf);
    static constexpr int kProjectRow = padded_row(kChannels * kHalf);
    static constexpr int kProject = kChannels * kExpandRow;
    static constexpr int kBytes = kProject + kHidden * kProjectRow;
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

// Two neighbouring values of a row; zeros where there is no such row or channel.
template <typename T>
__device__ __forceinline__ void load_pair(const Problem& problem, int64_t row, int channel, float pair[2]) {
    pair[0] = pair[1] = 0.0f;
    if (row >= problem.positions || channel >= problem.channels) return;
    const T* from = static_cast<const T*>(problem.x) + row * problem.channels + channel;
    const uint32_t word = *reinterpret_cast<const uint32_t*>(from);
    const T* values = reinterpret_cast<const T*>(&word);
    pair[0] = to_float(values[0]);
    pair[1] = to_float(values[1]);
}

// The normalised positions of the warp as left operands: of each step, lane 4·g + t holds channels 2t, 2t + 1
// and 8 more of rows g and g + 8.
template <typename T, int kChannels>
__device__ __forceinline__ void normalise(const Problem& problem, int64_t row,
                                          uint32_t normed[kChannels / kStep][4]) {
    constexpr int kSteps = kChannels / kStep;
    const int column = threadIdx.x % 4 * 2;
    float values[kSteps][4][2];
    float mean[2] = {}, variance[2] = {};
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            load_pair<T>(problem, row + i % 2 * 8, k * kStep + i / 2 * 8 + column, values[k][i]);
            mean[i % 2] += values[k][i][0] + values[k][i][1];
        }
    }
    const float count = 1.0f / static_cast<float>(problem.channels);
#pragma unroll
    for (int r = 0; r < 2; ++r) mean[r] = quad_sum(mean[r]) * count;
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            // Channels come in eights, so all of these two exist or neither does.
            if (k * kStep + i / 2 * 8 >= problem.channels) continue;
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                values[k][i][e] -= mean[i % 2];
                variance[i % 2] = fmaf(values[k][i][e], values[k][i][e], variance[i % 2]);
            }
        }
    }
    float inverse[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) inverse[r] = 1.0f / sqrtf(quad_sum(variance[r]) * count + problem.epsilon);
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            normed[k][i] = pack<T>(values[k][i][0] * inverse[i % 2], values[k][i][1] * inverse[i % 2]);
        }
    }
}

// Starts the copies of a chunk's weights, with zeros where the matrices end.
template <typename T, int kChannels>
__device__ __forceinline__ void copy_stage(const Problem& problem, int chunk, unsigned char* stage) {
    using Layout = Stage<kChannels>;
    constexpr int kParts = kHidden / kElements;  // of a half of a row of `expand`
    const int first = chunk * kHidden;
    const T* expand = static_cast<const T*>(problem.expand);
    const T* project = static_cast<const T*>(problem.project);
    for (int i = static_cast<int>(threadIdx.x); i < kChannels * 2 * kParts; i += kThreads) {
        const int row = i / (2 * kParts), part = i % (2 * kParts);
        const int column = first + part % kParts * kElements;
        const bool inside = row < problem.channels && column < problem.hidden;
        const int64_t from =
            static_cast<int64_t>(row) * 2 * problem.hidden + part / kParts * problem.hidden + column;
        copy_async(stage + row * Layout::kExpandRow + part * kChunk, expand + (inside ? from : 0), inside);
    }
    for (int i = static_cast<int>(threadIdx.x); i < kHidden * kChannels / kElements; i += kThreads) {
        const int row = i / (kChannels / kElements), column = i % (kChannels / kElements) * kElements;
        const bool inside = first + row < problem.hidden && column < problem.channels;
        const int64_t from = static_cast<int64_t>(first + row) * problem.channels + column;
        copy_async(stage + Layout::kProject + row * Layout::kProjectRow + column * kHalf,
                   project + (inside ? from : 0), inside);
    }
    copy_async_commit();
}

// The biases of the hidden channels of a tile of sums, whose columns 2t and 2t + 1 a lane has.
__device__ __forceinline__ void start_sums(const Problem& problem, int hidden, int half, float sums[4]) {
    const bool inside = hidden < problem.hidden;
    const float* bias = problem.bias + (inside ? half * problem.hidden + hidden : 0);
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[i] = inside ? bias[i % 2] : 0.0f;
}

template <typename T, int kChannels>
__global__ void __launch_bounds__(kThreads) gated_ffn(const Problem problem) {
    using Layout = Stage<kChannels>;
    constexpr int kSteps = kChannels / kStep, kTiles = kChannels / 8;
    unsigned char* stages = shared_memory();
    const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
    const int64_t row = static_cast<int64_t>(blockIdx.x) * kPositions + warp * kRows + lane / 4;
    const int chunks = (problem.hidden + kHidden - 1) / kHidden;

    copy_stage<T, kChannels>(problem, 0, stages);
    uint32_t normed[kSteps][4];
    normalise<T, kChannels>(problem, row, normed);
    float sums[kTiles][4] = {};
    for (int chunk = 0; chunk < chunks; ++chunk) {
        unsigned char* stage = stages + chunk % 2 * Layout::kBytes;
        copy_async_wait<0>();
        // Also lets nobody still read the other stage.
        __syncthreads();
        if (chunk + 1 < chunks) {
            copy_stage<T, kChannels>(problem, chunk + 1, stages + (chunk + 1) % 2 * Layout::kBytes);
        }
#pragma unroll
        for (int step = 0; step < kHidden / kStep; ++step) {
            float halves[2][2][4];  // a and b, of two tiles of 8 hidden channels each
            const int hidden = chunk * kHidden + step * kStep + lane % 4 * 2;
#pragma unroll
            for (int half = 0; half < 2; ++half) {
#pragma unroll
                for (int tile = 0; tile < 2; ++tile) {
                    start_sums(problem, hidden + tile * 8, half, halves[half][tile]);
                }
            }
#pragma unroll
            for (int k = 0; k < kSteps; ++k) {
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    uint32_t weights[4];
                    const int column = half * kHidden + step * kStep + lane / 16 * 8;
                    load_transposed_pair(
                        weights, stage + (k * kStep + lane % 16) * Layout::kExpandRow + column * kHalf);
                    multiply_step<T>(halves[half][0], normed[k], weights);
                    multiply_step<T>(halves[half][1], normed[k], weights + 2);
                }
            }
            // Register r of a left operand has rows g + 8·(r % 2) and the channels of tile r / 2.
            uint32_t gated[4];
#pragma unroll
            for (int r = 0; r < 4; ++r) {
                const float* a = halves[0][r / 2] + r % 2 * 2;
                const float* b = halves[1][r / 2] + r % 2 * 2;
                gated[r] = pack<T>(gelu(a[0]) * b[0], gelu(a[1]) * b[1]);
            }
#pragma unroll
            for (int tile = 0; tile < kTiles; tile += 2) {
                uint32_t weights[4];
                const unsigned char* from = stage + Layout::kProject +
                                            (step * kStep + lane % 16) * Layout::kProjectRow +
                                            (tile + lane / 16) * 8 * kHalf;
                load_transposed_pair(weights, from);
                multiply_step<T>(sums[tile], gated, weights);
                multiply_step<T>(sums[tile + 1], gated, weights + 2);
            }
        }
    }
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
        const int channel = tile * 8 + lane % 4 * 2;
        if (channel >= problem.channels) continue;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const int64_t position = row + r * 8;
            if (position >= problem.positions) continue;
            float before[2];
            load_pair<T>(problem, position, channel, before);
            T* to = static_cast<T*>(problem.out) + position * problem.channels + channel;
            *reinterpret_cast<uint32_t*>(to) =
                pack<T>(before[0] + sums[tile][2 * r], before[1] + sums[tile][2 * r + 1]);
        }
    }
}

template <typename T, int kChannels>
cudaError_t launch(const Problem& problem, cudaStream_t stream) {
    constexpr int kBytes = 2 * Stage<kChannels>::kBytes;
    static BlocksAtOnce blocks_at_once;
    int at_once = 0;
    const cudaError_t result = blocks_at_once.get(gated_ffn<T, kChannels>, kThreads, kBytes, &at_once);
    if (result != cudaSuccess) return result;
    const int64_t blocks = (problem.positions + kPositions - 1) / kPositions;
    return launch_kernel(gated_ffn<T, kChannels>, static_cast<unsigned>(blocks), kThreads, kBytes, stream,
                         problem);
}

template <typename T>
cudaError_t launch(const Problem& problem, cudaStream_t stream) {
    if (problem.channels <= 32) return launch<T, 32>(problem, stream);
    if (problem.channels <= 64) return launch<T, 64>(problem, stream);
    return launch<T, 128>(problem, stream);
}

}  // namespace
}  // namespace glic

int glic_gated_ffn_cuda(const glic_gated_ffn_size* size, float epsilon, int32_t element, const void* x,
                        const void* expand, const float* bias, const void* project, void* out, void* stream) {
    using namespace glic;
    const auto aligned = [](const void* array) { return is_aligned(array, 0); };
    if (size->positions == 0) return cudaSuccess;
    if (size->channels < 1 || size->channels > GLIC_GATED_FFN_MAX_CHANNELS ||
        size->channels % kElements != 0 || size->hidden < 1 || size->hidden % kElements != 0 ||
        size->hidden >= INT64_C(1) << 24 || size->positions < 0 || size->positions >= INT64_C(1) << 31 ||
        !aligned(x) || !aligned(expand) || !aligned(bias) || !aligned(project) || !aligned(out)) {
        return cudaErrorInvalidValue;
    }
    const Problem problem{x,
                          expand,
                          bias,
                          project,
                          out,
                          size->positions,
                          static_cast<int>(size->channels),
                          static_cast<int>(size->hidden),
                          epsilon};
    const auto on = static_cast<cudaStream_t>(stream);
    if (element == GLIC_FLOAT16) return launch<float16>(problem, on);
    if (element == GLIC_BFLOAT16) return launch<bfloat16>(problem, on);
    return cudaErrorInvalidValue;
}
