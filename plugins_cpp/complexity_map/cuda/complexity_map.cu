// ComplexityMap on a GPU. A warp walks down the rows of four columns; a lane has one channel of them, and
// keeps the rows of the map and of the blurred gradient that the filters still need in registers: each row is
// loaded once, and nothing waits for another warp. The warps of a block add up their channels at the end. A
// second kernel adds up the blocks' sums, always in the same order, and flattens the contrast.
#include <cuda_runtime.h>

#include <cstddef>

#include "../../common/cuda/launch.cuh"
#include "../../common/cuda/warp.cuh"
#include "../complexity.h"
#include "../complexity_map_cuda.h"

namespace glic {
namespace {

constexpr int kColumns = 4;                // of a warp
constexpr int kMagnitudes = kColumns + 2;  // columns of the gradient that the blur of these reads
constexpr int kReach = kColumns + 4;       // columns of the map that those read
constexpr int kGroups = 2;                 // of columns, in a block
constexpr int kBlockColumns = kGroups * kColumns;
constexpr int kBlockRows = 8;
constexpr int kTile = kBlockRows * kBlockColumns;
constexpr int kMostParts = 6;  // of the channels, which different warps of a block take
constexpr int kMostThreads = kGroups * kMostParts * kWarp;
constexpr int kFlattenThreads = 256;
constexpr int kFlattened = 4 * kFlattenThreads;  // positions of a block

struct Problem {
    int height, width, channels;
    int parts;  // of the channels: warp w takes slices w / kGroups, w / kGroups + parts, ...
    const void* x;
    float* complexity;
    float* sums;  // of each block's positions
};

// The magnitudes of one row's gradient, blurred along the row. last: the number of the last column inside,
// counted like the magnitudes, from the column before the warp's first.
__device__ __forceinline__ void blur_row(const float above[kReach], const float here[kReach],
                                         const float below[kReach], bool leftmost, int last,
                                         float blurred[kColumns]) {
    float magnitudes[kMagnitudes];
#pragma unroll
    for (int i = 0; i < kMagnitudes; ++i) {
        const float x =
            (above[i + 2] + 2.0f * here[i + 2] + below[i + 2]) - (above[i] + 2.0f * here[i] + below[i]);
        const float y =
            (below[i] - above[i]) + 2.0f * (below[i + 1] - above[i + 1]) + (below[i + 2] - above[i + 2]);
        const float square = fmaf(fmaf(x, x, y * y), kSquaredScale, kLeastSquare);
        magnitudes[i] = square * rsqrtf(square);
    }
    // Beyond the border, the blur reads the magnitude at the border.
    if (leftmost) magnitudes[0] = magnitudes[1];
#pragma unroll
    for (int i = 1; i < kMagnitudes; ++i) {
        if (i > last) magnitudes[i] = magnitudes[i - 1];
    }
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
        blurred[i] = fmaf(kOuterTap, magnitudes[i] + magnitudes[i + 2], kInnerTap * magnitudes[i + 1]);
    }
}

// Adds up four values over the lanes of a warp: lane l gets the sum of value l % 4.
__device__ __forceinline__ float warp_sums(const float values[kColumns]) {
    const bool odd = threadIdx.x & 1, upper = threadIdx.x & 2;
    float pairs[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const float low = values[2 * i], high = values[2 * i + 1];
        pairs[i] = (odd ? high : low) + __shfl_xor_sync(kAllLanes, odd ? low : high, 1);
    }
    float sum = (upper ? pairs[1] : pairs[0]) + __shfl_xor_sync(kAllLanes, upper ? pairs[0] : pairs[1], 2);
#pragma unroll
    for (int distance = 4; distance < kWarp; distance *= 2) {
        sum += __shfl_xor_sync(kAllLanes, sum, distance);
    }
    return sum;
}

// The tile of a block: its image, and its first row and column.
struct Tile {
    size_t image;
    int row, column;

    __device__ Tile(const Problem& problem, int index) {
        const int bands = (problem.height + kBlockRows - 1) / kBlockRows;
        const int strips = (problem.width + kBlockColumns - 1) / kBlockColumns;
        image = static_cast<size_t>(index / strips / bands);
        row = index / strips % bands * kBlockRows;
        column = index % strips * kBlockColumns;
    }
};

// Adds to `squares` the squares of one slice's blurred magnitudes, over four columns and the rows of a tile.
template <typename T>
__device__ __forceinline__ void add_slice(const Problem& problem, const Tile& tile, int column, int slice,
                                          float* squares) {
    const int lane = threadIdx.x % kWarp, channel = slice * kWarp + lane;
    const bool counts = channel < problem.channels;  // else the lane computes what the last channel's does
    const size_t row_values = static_cast<size_t>(problem.width) * problem.channels;
    const T* map = static_cast<const T*>(problem.x) + tile.image * problem.height * row_values +
                   min(channel, problem.channels - 1);
    int offsets[kReach];
#pragma unroll
    for (int i = 0; i < kReach; ++i) {
        offsets[i] = min(max(column - 2 + i, 0), problem.width - 1) * problem.channels;
    }
    const auto load_row = [&](int row, float to[kReach]) {
        const T* from = map + min(max(row, 0), problem.height - 1) * row_values;
#pragma unroll
        for (int i = 0; i < kReach; ++i) to[i] = to_float(from[offsets[i]]);
    };
    // Rows of the map, and the two rows of the blurred gradient before the one that is computed.
    float above[kReach], here[kReach], below[kReach], before[kColumns] = {}, previous[kColumns] = {};
    const auto add_row = [&](int row, const float next[kColumns]) {
        float values[kColumns];
#pragma unroll
        for (int i = 0; i < kColumns; ++i) {
            const float blurred = fmaf(kOuterTap, before[i] + next[i], kInnerTap * previous[i]);
            values[i] = counts ? blurred * blurred : 0.0f;
        }
        const float sum = warp_sums(values);
        if (lane < kColumns) squares[(row - tile.row) * kBlockColumns + lane] += sum;
    };

    const int end = min(tile.row + kBlockRows, problem.height);
    const int first = max(tile.row - 1, 0), last = min(end, problem.height - 1);
    load_row(first - 1, above);
    load_row(first, here);
#pragma unroll 1
    for (int row = first; row <= last; ++row) {
        float next[kColumns];
        load_row(row + 1, below);
        blur_row(above, here, below, column == 0, problem.width - column, next);
        if (row > tile.row) add_row(row - 1, next);
#pragma unroll
        for (int i = 0; i < kColumns; ++i) {
            before[i] = row == 0 ? next[i] : previous[i];  // above the border: the border
            previous[i] = next[i];
        }
#pragma unroll
        for (int i = 0; i < kReach; ++i) {
            above[i] = here[i];
            here[i] = below[i];
        }
    }
    if (end == problem.height) add_row(end - 1, previous);
}

// The sum of a value over the threads of a block, for all of them. scratch: a float for each warp.
__device__ float block_sum(float value, float* scratch, int threads) {
#pragma unroll
    for (int distance = kWarp / 2; distance != 0; distance /= 2) {
        value += __shfl_xor_sync(kAllLanes, value, distance);
    }
    if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = value;
    __syncthreads();
    float sum = 0.0f;
    for (int warp = 0; warp < threads / kWarp; ++warp) sum += scratch[warp];
    return sum;
}

template <typename T>
__global__ void __launch_bounds__(kMostThreads, 2) measure(const Problem problem) {
    float* squares = reinterpret_cast<float*>(shared_memory());  // by part, row and column
    const int warp = threadIdx.x / kWarp, group = warp % kGroups, part = warp / kGroups;
    const int threads = problem.parts * kGroups * kWarp;
    const Tile tile(problem, static_cast<int>(blockIdx.x));
    for (int i = threadIdx.x; i < problem.parts * kTile; i += threads) squares[i] = 0.0f;
    __syncthreads();
    const int column = tile.column + group * kColumns;
    if (column < problem.width) {
        for (int slice = part; slice * kWarp < problem.channels; slice += problem.parts) {
            add_slice<T>(problem, tile, column, slice, squares + part * kTile + group * kColumns);
        }
    }
    __syncthreads();
    float sum = 0.0f;
    for (int i = threadIdx.x; i < kTile; i += threads) {
        const int row = tile.row + i / kBlockColumns, own = tile.column + i % kBlockColumns;
        if (row >= problem.height || own >= problem.width) continue;
        float total = squares[i];
        for (int other = 1; other < problem.parts; ++other) total += squares[other * kTile + i];
        const float measured = sqrtf(total / static_cast<float>(problem.channels));
        problem.complexity[(tile.image * problem.height + row) * problem.width + own] = measured;
        sum += measured;
    }
    sum = block_sum(sum, squares + problem.parts * kTile, threads);
    if (threadIdx.x == 0) problem.sums[blockIdx.x] = sum;
}

// Each block adds all sums of its image for itself.
__global__ void __launch_bounds__(kFlattenThreads)
    flatten_contrast(float* complexity, const float* sums, int tiles, int positions, int blocks) {
    const int image = static_cast<int>(blockIdx.x) / blocks, block = static_cast<int>(blockIdx.x) % blocks;
    const float* own = sums + static_cast<size_t>(image) * tiles;
    float sum = 0.0f;
    for (int i = threadIdx.x; i < tiles; i += kFlattenThreads) sum += own[i];
    sum = block_sum(sum, reinterpret_cast<float*>(shared_memory()), kFlattenThreads);
    const float mean = sum / static_cast<float>(positions);
    float* map = complexity + static_cast<size_t>(image) * positions;
    const int first = block * kFlattened + static_cast<int>(threadIdx.x);
#pragma unroll
    for (int i = 0; i < kFlattened / kFlattenThreads; ++i) {
        const int position = first + i * kFlattenThreads;
        if (position < positions) map[position] = mean + (map[position] - mean) * (1.0f / kContrast);
    }
}

int64_t tiles_of(const glic_complexity_map_size& size) {
    return ((size.height + kBlockRows - 1) / kBlockRows) * ((size.width + kBlockColumns - 1) / kBlockColumns);
}

template <typename T>
cudaError_t launch(const glic_complexity_map_size& size, Problem problem, cudaStream_t stream) {
    const int64_t slices = (size.channels + kWarp - 1) / kWarp;
    problem.parts = static_cast<int>(slices < kMostParts ? slices : kMostParts);
    const int64_t tiles = tiles_of(size), positions = size.height * size.width;
    const unsigned threads = static_cast<unsigned>(problem.parts) * kGroups * kWarp;
    const size_t shared = (static_cast<size_t>(problem.parts) * kTile + kMostThreads / kWarp) * sizeof(float);
    const cudaError_t result = launch_kernel(measure<T>, static_cast<unsigned>(size.images * tiles), threads,
                                             shared, stream, problem);
    if (result != cudaSuccess) return result;
    const int64_t blocks = (positions + kFlattened - 1) / kFlattened;
    return launch_kernel(flatten_contrast, static_cast<unsigned>(size.images * blocks), kFlattenThreads,
                         kFlattenThreads / kWarp * sizeof(float), stream, problem.complexity,
                         static_cast<const float*>(problem.sums), static_cast<int>(tiles),
                         static_cast<int>(positions), static_cast<int>(blocks));
}

}  // namespace
}  // namespace glic

size_t glic_complexity_map_workspace(const glic_complexity_map_size* size) {
    return static_cast<size_t>(size->images * glic::tiles_of(*size)) * sizeof(float);
}

int glic_complexity_map_cuda(const glic_complexity_map_size* size, int32_t element, const void* x,
                             float* complexity, void* workspace, void* stream) {
    if (!glic::fits_int(size->images, size->height, size->width) ||
        !glic::fits_int(1, size->width, size->channels)) {
        return cudaErrorInvalidValue;
    }
    const glic::Problem problem{static_cast<int>(size->height),
                                static_cast<int>(size->width),
                                static_cast<int>(size->channels),
                                0,
                                x,
                                complexity,
                                static_cast<float*>(workspace)};
    const auto cuda_stream = static_cast<cudaStream_t>(stream);
    switch (element) {
        case GLIC_FLOAT32:
            return glic::launch<float>(*size, problem, cuda_stream);
        case GLIC_FLOAT16:
            return glic::launch<glic::float16>(*size, problem, cuda_stream);
        case GLIC_BFLOAT16:
            return glic::launch<glic::bfloat16>(*size, problem, cuda_stream);
        default:
            return cudaErrorInvalidValue;
    }
}
