// The kernel of glic::DepthwiseGatedFfn. A block of threads takes a tile of kTileRows × kTileColumns
// positions and the border that a 3×3 filter reaches. Seven of the eight warps normalise 16 of these
// positions each into registers. Of each chunk of hidden channels, whose weights are copied to shared memory
// in the background,
//   1. these warps compute the wide map of the tile and its border, zeros outside of the map;
//   2. all threads convolve and gate it, each two channels of a column of the tile;
//   3. all warps multiply the gated values with their rows of the second matrix, each 16 positions and half
//   of
//      the outputs, whose sums stay in registers.
#ifndef GLIC_GATED_FFN_CUDA_DEPTHWISE_CUH
#define GLIC_GATED_FFN_CUDA_DEPTHWISE_CUH

#include "block.cuh"

namespace glic {

constexpr int kSide = 3, kTaps = kSide * kSide;
constexpr int kTileRows = 4, kTileColumns = kRows;
constexpr int kBorderRows = kTileRows + kSide - 1, kBorderColumns = kTileColumns + kSide - 1;
constexpr int kBordered = kBorderRows * kBorderColumns;
constexpr int kBorderWarps = (kBordered + kRows - 1) / kRows;
constexpr int kWideRow = padded_row(2 * kHidden * kHalf);
constexpr int kGatedRow = padded_row(kHidden * kHalf);
static_assert(kBorderWarps <= kWarps && kWarps == 2 * kTileRows);
static_assert(kThreads == kHidden / 2 * kTileColumns);  // two channels of a column each

// Images × height × width.
struct FfnMap {
    const void* x;
    void* out;
    int height, width, rows_of_tiles, columns_of_tiles;
};

template <int kChannels>
struct DepthwiseLayout : Stage<kChannels, kTaps> {
    static constexpr int kWide = 2 * Stage<kChannels, kTaps>::kBytes;
    static constexpr int kShared = kWide + kBordered * kWideRow;
    // The gated values take the place of the chunk's columns of `expand`, once these are used.
    static_assert(kTileRows * kTileColumns * kGatedRow <= Stage<kChannels, kTaps>::kProject);
};

// The values of a half of the wide map at two channels of a column, convolved: kTileRows × 2.
template <typename T>
__device__ __forceinline__ void convolve(const unsigned char* wide, const float* filter,
                                         float out[kTileRows][2]) {
    float taps[2][kTaps];
#pragma unroll
    for (int channel = 0; channel < 2; ++channel) {
#pragma unroll
        for (int tap = 0; tap < kTaps; ++tap) taps[channel][tap] = filter[channel * kTaps + tap];
    }
#pragma unroll
    for (int row = 0; row < kTileRows; ++row) out[row][0] = out[row][1] = 0.0f;
#pragma unroll
    for (int row = 0; row < kBorderRows; ++row) {
#pragma unroll
        for (int column = 0; column < kSide; ++column) {
            float pair[2];
            load_pair<T>(wide + (row * kBorderColumns + column) * kWideRow, pair);
#pragma unroll
            for (int tap = 0; tap < kSide; ++tap) {
                if (row - tap < 0 || row - tap >= kTileRows) continue;
#pragma unroll
                for (int channel = 0; channel < 2; ++channel) {
                    float& sum = out[row - tap][channel];
                    sum = fmaf(pair[channel], taps[channel][tap * kSide + column], sum);
                }
            }
        }
    }
}

template <typename T, int kChannels>
__global__ void __launch_bounds__(kThreads) depthwise_gated_ffn(const FfnWeights weights, const FfnMap map) {
    using Layout = DepthwiseLayout<kChannels>;
    constexpr int kSteps = kChannels / kStep, kTiles = kChannels / kTile / 2;
    unsigned char* stages = shared_memory();
    unsigned char* wide = stages + Layout::kWide;
    const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
    const int chunks = (weights.hidden + kHidden - 1) / kHidden;
    const int block = static_cast<int>(blockIdx.x);
    const int left = block % map.columns_of_tiles * kTileColumns;
    const int top = block / map.columns_of_tiles % map.rows_of_tiles * kTileRows;
    const int64_t image = static_cast<int64_t>(block / map.columns_of_tiles / map.rows_of_tiles) *
                          map.height * map.width * weights.channels;
    const auto position = [&](int row, int column) {
        return image + (static_cast<int64_t>(row) * map.width + column) * weights.channels;
    };

    copy_weights<T, kChannels, kTaps>(weights, 0, stages);
    const T* rows[2] = {};
    uint32_t normed[kSteps][4];
    if (warp < kBorderWarps) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const int index = warp * kRows + lane / 4 + r * 8;
            const int row = top - 1 + index / kBorderColumns, column = left - 1 + index % kBorderColumns;
            const bool inside =
                index < kBordered && row >= 0 && row < map.height && column >= 0 && column < map.width;
            rows[r] = inside ? static_cast<const T*>(map.x) + position(row, column) : nullptr;
        }
        normalise<T, kChannels>(rows, weights.channels, weights.epsilon, normed);
    }
    float sums[kTiles][4] = {};
    for (int chunk = 0; chunk < chunks; ++chunk) {
        unsigned char* stage = stages + chunk % 2 * Layout::kBytes;
        unsigned char* gated = stage;
        copy_async_wait<0>();
        // Also lets nobody still read the other stage.
        __syncthreads();
        if (chunk + 1 < chunks) {
            copy_weights<T, kChannels, kTaps>(weights, chunk + 1, stages + (chunk + 1) % 2 * Layout::kBytes);
        }
        if (warp < kBorderWarps) {
#pragma unroll 1
            for (int first = 0; first < 2 * kHidden; first += 2 * kTile) {
                float pair[2][4];
                const int hidden = chunk * kHidden + first % kHidden + lane % 4 * 2;
#pragma unroll
                for (int tile = 0; tile < 2; ++tile) {
                    start_sums(weights, hidden + tile * kTile, first / kHidden, pair[tile]);
                }
#pragma unroll
                for (int k = 0; k < kSteps; ++k) {
                    uint32_t columns[4];
                    load_transposed_pair(columns, stage + (k * kStep + lane % 16) * Layout::kExpandRow +
                                                      (first + lane / 16 * kTile) * kHalf);
                    multiply_step<T>(pair[0], normed[k], columns);
                    multiply_step<T>(pair[1], normed[k], columns + 2);
                }
#pragma unroll
                for (int r = 0; r < 2; ++r) {
                    const int index = warp * kRows + lane / 4 + r * 8;
                    if (index >= kBordered) continue;
                    unsigned char* to = wide + index * kWideRow + (first + lane % 4 * 2) * kHalf;
#pragma unroll
                    for (int tile = 0; tile < 2; ++tile) {
                        *reinterpret_cast<uint32_t*>(to + tile * kTile * kHalf) =
                            rows[r] != nullptr ? pack<T>(pair[tile][2 * r], pair[tile][2 * r + 1]) : 0u;
                    }
                }
            }
        }
        __syncthreads();
        {
            const int channel = static_cast<int>(threadIdx.x) % (kHidden / 2) * 2;
            const int column = static_cast<int>(threadIdx.x) / (kHidden / 2);
            const float* filter = reinterpret_cast<const float*>(stage + Layout::kFilter) + channel * kTaps;
            const unsigned char* from = wide + column * kWideRow + channel * kHalf;
            float a[kTileRows][2], b[kTileRows][2];
            convolve<T>(from, filter, a);
            convolve<T>(from + kHidden * kHalf, filter + kHidden * kTaps, b);
#pragma unroll
            for (int row = 0; row < kTileRows; ++row) {
                *reinterpret_cast<uint32_t*>(gated + (row * kTileColumns + column) * kGatedRow +
                                             channel * kHalf) =
                    pack<T>(gelu(a[row][0]) * b[row][0], gelu(a[row][1]) * b[row][1]);
            }
        }
        __syncthreads();
#pragma unroll 1
        for (int step = 0; step < kHidden / kStep; ++step) {
            uint32_t values[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int row = warp % kTileRows * kRows + i % 2 * 8;
                values[i] = fragment(gated + row * kGatedRow + (step * 2 + i / 2) * kChunk, kGatedRow);
            }
#pragma unroll
            for (int tile = 0; tile < kTiles; tile += 2) {
                uint32_t columns[4];
                const int column = (warp / kTileRows * kTiles + tile + lane / 16) * kTile;
                load_transposed_pair(columns, stage + Layout::kProject +
                                                  (step * kStep + lane % 16) * Layout::kProjectRow +
                                                  column * kHalf);
                multiply_step<T>(sums[tile], values, columns);
                multiply_step<T>(sums[tile + 1], values, columns + 2);
            }
        }
    }
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
        const int channel = (warp / kTileRows * kTiles + tile) * kTile + lane % 4 * 2;
        if (channel >= weights.channels) continue;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const int row = top + warp % kTileRows, column = left + lane / 4 + r * 8;
            if (row >= map.height || column >= map.width) continue;
            const int64_t at = position(row, column) + channel;
            store_pair<T>(static_cast<const T*>(map.x) + at, sums[tile] + 2 * r,
                          static_cast<T*>(map.out) + at);
        }
    }
}

template <typename T, int kChannels>
cudaError_t launch(const FfnWeights& weights, const FfnMap& map, int64_t images, cudaStream_t stream) {
    static BlocksAtOnce blocks_at_once;
    constexpr int kBytes = DepthwiseLayout<kChannels>::kShared;
    int at_once = 0;
    const cudaError_t result =
        blocks_at_once.get(depthwise_gated_ffn<T, kChannels>, kThreads, kBytes, &at_once);
    if (result != cudaSuccess) return result;
    const int64_t blocks = images * map.rows_of_tiles * map.columns_of_tiles;
    return launch_kernel(depthwise_gated_ffn<T, kChannels>, static_cast<unsigned>(blocks), kThreads, kBytes,
                         stream, weights, map);
}

template <typename T>
cudaError_t launch(const FfnWeights& weights, const FfnMap& map, int64_t images, cudaStream_t stream) {
    if (weights.channels <= 64) return launch<T, 64>(weights, map, images, stream);
    return launch<T, 192>(weights, map, images, stream);
}

}  // namespace glic

#endif
