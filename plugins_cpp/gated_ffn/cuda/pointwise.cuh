// The kernel of glic::GatedFfn. A block of threads takes kPositions positions, a warp 16 of them: a warp
// normalises its positions into registers, where they stay as the left operand of all products. The hidden
// channels come in chunks of kHidden, whose weights are copied to shared memory in the background, in two
// stages. Of each 16 hidden channels a warp computes both halves, gates them in registers, and multiplies the
// result, which is already spread as a left operand is, with its rows of the second matrix. Of the wide map
// nothing reaches memory.
#ifndef GLIC_GATED_FFN_CUDA_POINTWISE_CUH
#define GLIC_GATED_FFN_CUDA_POINTWISE_CUH

#include "block.cuh"

namespace glic {

constexpr int kPositions = kWarps * kRows;

template <typename T, int kChannels>
__global__ void __launch_bounds__(kThreads)
    gated_ffn(const FfnWeights weights, const void* x, void* out, int64_t positions) {
    using Layout = Stage<kChannels, 0>;
    constexpr int kSteps = kChannels / kStep, kTiles = kChannels / kTile;
    unsigned char* stages = shared_memory();
    const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
    const int64_t first = static_cast<int64_t>(blockIdx.x) * kPositions + warp * kRows + lane / 4;
    const int chunks = (weights.hidden + kHidden - 1) / kHidden;

    copy_weights<T, kChannels, 0>(weights, 0, stages);
    const T* rows[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        const int64_t row = first + r * 8;
        rows[r] = row < positions ? static_cast<const T*>(x) + row * weights.channels : nullptr;
    }
    uint32_t normed[kSteps][4];
    normalise<T, kChannels>(rows, weights.channels, weights.epsilon, normed);
    float sums[kTiles][4] = {};
    for (int chunk = 0; chunk < chunks; ++chunk) {
        unsigned char* stage = stages + chunk % 2 * Layout::kBytes;
        copy_async_wait<0>();
        // Also lets nobody still read the other stage.
        __syncthreads();
        if (chunk + 1 < chunks) {
            copy_weights<T, kChannels, 0>(weights, chunk + 1, stages + (chunk + 1) % 2 * Layout::kBytes);
        }
#pragma unroll
        for (int step = 0; step < kHidden / kStep; ++step) {
            float halves[2][2][4];  // a and b, of two tiles of 8 hidden channels each
            const int hidden = chunk * kHidden + step * kStep + lane % 4 * 2;
#pragma unroll
            for (int half = 0; half < 2; ++half) {
#pragma unroll
                for (int tile = 0; tile < 2; ++tile) {
                    start_sums(weights, hidden + tile * kTile, half, halves[half][tile]);
                }
            }
#pragma unroll
            for (int k = 0; k < kSteps; ++k) {
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    uint32_t columns[4];
                    const int column = half * kHidden + step * kStep + lane / 16 * kTile;
                    load_transposed_pair(
                        columns, stage + (k * kStep + lane % 16) * Layout::kExpandRow + column * kHalf);
                    multiply_step<T>(halves[half][0], normed[k], columns);
                    multiply_step<T>(halves[half][1], normed[k], columns + 2);
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
                uint32_t columns[4];
                load_transposed_pair(columns, stage + Layout::kProject +
                                                  (step * kStep + lane % 16) * Layout::kProjectRow +
                                                  (tile + lane / 16) * kTile * kHalf);
                multiply_step<T>(sums[tile], gated, columns);
                multiply_step<T>(sums[tile + 1], gated, columns + 2);
            }
        }
    }
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
        const int channel = tile * kTile + lane % 4 * 2;
        if (channel >= weights.channels) continue;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            if (rows[r] == nullptr) continue;
            T* to = static_cast<T*>(out) + (first + r * 8) * weights.channels + channel;
            store_pair<T>(rows[r] + channel, sums[tile] + 2 * r, to);
        }
    }
}

template <typename T, int kChannels>
cudaError_t launch(const FfnWeights& weights, const void* x, void* out, int64_t positions,
                   cudaStream_t stream) {
    constexpr int kBytes = 2 * Stage<kChannels, 0>::kBytes;
    static BlocksAtOnce blocks_at_once;
    int at_once = 0;
    const cudaError_t result = blocks_at_once.get(gated_ffn<T, kChannels>, kThreads, kBytes, &at_once);
    if (result != cudaSuccess) return result;
    const int64_t blocks = (positions + kPositions - 1) / kPositions;
    return launch_kernel(gated_ffn<T, kChannels>, static_cast<unsigned>(blocks), kThreads, kBytes, stream,
                         weights, x, out, positions);
}

template <typename T>
cudaError_t launch(const FfnWeights& weights, const void* x, void* out, int64_t positions,
                   cudaStream_t stream) {
    if (weights.channels <= 32) return launch<T, 32>(weights, x, out, positions, stream);
    return launch<T, 128>(weights, x, out, positions, stream);
}

}  // namespace glic

#endif
