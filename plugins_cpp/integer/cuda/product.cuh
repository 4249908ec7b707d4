// Products of rows of integers with a layer's weights, on the tensor cores. A factor of 16 bits is 256 · high
// + low with a signed high and an unsigned low byte; both are multiplied with the weights' signed bytes into
// int32 sums, which wrap around. So a product is exact by the definition of the instructions, whatever its
// shape.
//
// A block computes a tile of kRows positions by kColumns outputs. It passes along the inputs in stages of
// kDepth, which lie in shared memory as rows of bytes, those of the weights transposed. While the warps
// multiply one stage, the values of the next one are on their way into registers.
#ifndef GLIC_INTEGER_CUDA_PRODUCT_CUH
#define GLIC_INTEGER_CUDA_PRODUCT_CUH

#include "../../common/cuda/launch.cuh"
#include "../../common/cuda/warp.cuh"
#include "../arithmetic.h"
#include "../integer_cuda.h"

namespace glic {

constexpr int kRows = 64, kColumns = 64, kDepth = 64;
constexpr int kWarpRows = 32, kWarpColumns = 32;
constexpr int kProductThreads = kRows / kWarpRows * (kColumns / kWarpColumns) * kWarp;
constexpr int kRowTiles = kWarpRows / 16, kColumnTiles = kWarpColumns / 8;  // of a warp
constexpr int kStepBytes = 2 * kChunk;                                      // of a row, in one instruction
constexpr int kStride = padded_row(kDepth);
constexpr int kPlane = kRows * kStride;
constexpr int kStage = 2 * kPlane + kColumns * kStride;  // low bytes, high bytes, weights
constexpr int kSharedBytes = 2 * kStage;
constexpr int kQuads = kDepth / 4;  // four inputs, one word of bytes

static_assert(kRows * kQuads % kProductThreads == 0 && kColumns / 4 * kQuads % kProductThreads == 0);
constexpr int kRowLoads = kRows * kQuads / kProductThreads;
constexpr int kWeightLoads = kColumns / 4 * kQuads / kProductThreads;

// Four factors as two words of bytes.
struct SplitQuad {
    uint32_t low, high;
};
__device__ __forceinline__ SplitQuad split(const int32_t values[4]) {
    SplitQuad words = {0, 0};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        words.low |= (static_cast<uint32_t>(values[i]) & 0xFFu) << 8 * i;
        words.high |= (static_cast<uint32_t>(values[i]) >> 8 & 0xFFu) << 8 * i;
    }
    return words;
}

// Rows of a map of float32 that holds integers.
struct FloatRows {
    const float* values;
    int rows, inputs;
    bool aligned;  // whether four values may be loaded at once

    struct Quad {
        float values[4];
    };
    __device__ __forceinline__ Quad load(int row, int first) const {
        Quad quad = {};
        if (row >= rows || first >= inputs) return quad;
        const float* from = values + static_cast<size_t>(row) * inputs + first;
        if (aligned) {
            const uint4 bits = *reinterpret_cast<const uint4*>(from);
            return {{__uint_as_float(bits.x), __uint_as_float(bits.y), __uint_as_float(bits.z),
                     __uint_as_float(bits.w)}};
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if (first + i < inputs) quad.values[i] = from[i];
        }
        return quad;
    }
    __device__ __forceinline__ static SplitQuad split_quad(const Quad& quad) {
        int32_t integers[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) integers[i] = integer_of(quad.values[i], kProductInput);
        return split(integers);
    }
};

// Inputs up to whole stages, which rows of the workspace have.
__host__ __device__ constexpr int64_t padded_inputs(int64_t inputs) {
    return (inputs + kDepth - 1) / kDepth * kDepth;
}

// Rows of int16 of the workspace, padded with zeros to whole stages.
struct ShortRows {
    const int16_t* values;
    int rows, inputs;

    using Quad = uint2;
    __device__ __forceinline__ Quad load(int row, int first) const {
        if (row >= rows || first >= inputs) return {0, 0};
        return *reinterpret_cast<const uint2*>(values + row * padded_inputs(inputs) + first);
    }
    __device__ __forceinline__ static SplitQuad split_quad(const Quad& quad) {
        const int32_t integers[4] = {
            static_cast<int32_t>(quad.x & 0xFFFFu), static_cast<int32_t>(quad.x >> 16),
            static_cast<int32_t>(quad.y & 0xFFFFu), static_cast<int32_t>(quad.y >> 16)};
        return split(integers);
    }
};

// A layer, and which of its outputs are the columns of a tile. In halves, each warp has 16 outputs of the
// first half and the same 16 of the second.
template <bool kHalves>
struct Weights {
    glic_integer_layer layer;
    int inputs, outputs;
    bool aligned;  // whether four outputs may be loaded at once

    static constexpr int kUnits = kHalves ? kColumns / 2 : kColumns;  // outputs, or pairs of them, of a tile

    __host__ __device__ int units() const { return kHalves ? outputs / 2 : outputs; }

    // The output of a tile's column, or `outputs` and more where there is none.
    __device__ __forceinline__ int output(int tile, int column) const {
        if (!kHalves) return tile * kColumns + column;
        constexpr int kHalf = kWarpColumns / 2;
        const int unit = tile * kUnits + column / kWarpColumns * kHalf + column % kHalf;
        return unit < units() ? unit + column / kHalf % 2 * units() : outputs;
    }

    // Four columns from `column` on of four inputs from `first` on, an input a word.
    struct Block {
        uint32_t words[4];
    };
    __device__ __forceinline__ Block load(int tile, int column, int first) const {
        Block block = {};
        const int from = output(tile, column);
        const int end = kHalves && from < units() ? units() : outputs;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            if (first + k >= inputs || from >= end) continue;
            const int8_t* row = layer.weight + static_cast<size_t>(first + k) * outputs + from;
            if (aligned) {
                block.words[k] = *reinterpret_cast<const uint32_t*>(row);
                continue;
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                if (from + i < end) {
                    block.words[k] |= static_cast<uint32_t>(static_cast<uint8_t>(row[i])) << 8 * i;
                }
            }
        }
        return block;
    }
};

// The sums of a warp, as the instructions spread them: of a tile of 16×8, a lane has rows g and g + 8 of
// columns 2t and 2t + 1.
struct Sums {
    int32_t low[kRowTiles][kColumnTiles][4] = {}, high[kRowTiles][kColumnTiles][4] = {};

    __device__ __forceinline__ int32_t whole(int row_tile, int column_tile, int index) const {
        return plus(times(high[row_tile][column_tile][index], 256), low[row_tile][column_tile][index]);
    }
};

// What the block's threads load of a stage, until shared memory has room for it.
template <typename Rows, bool kHalves>
struct Loaded {
    typename Rows::Quad rows[kRowLoads];
    typename Weights<kHalves>::Block weights[kWeightLoads];

    __device__ __forceinline__ void load(const Rows& from, const Weights<kHalves>& layer, int row_tile,
                                         int column_tile, int first) {
        const int quad = first + threadIdx.x % kQuads * 4;
#pragma unroll
        for (int i = 0; i < kRowLoads; ++i) {
            const int row = threadIdx.x / kQuads + i * (kProductThreads / kQuads);
            rows[i] = from.load(row_tile * kRows + row, quad);
        }
#pragma unroll
        for (int i = 0; i < kWeightLoads; ++i) {
            weights[i] = layer.load(column_tile, weight_column(), first + weight_quad(i) * 4);
        }
    }

    __device__ __forceinline__ void store(unsigned char* stage) const {
        const int quad = threadIdx.x % kQuads;
#pragma unroll
        for (int i = 0; i < kRowLoads; ++i) {
            const SplitQuad words = Rows::split_quad(rows[i]);
            unsigned char* to =
                stage + (threadIdx.x / kQuads + i * (kProductThreads / kQuads)) * kStride + quad * 4;
            *reinterpret_cast<uint32_t*>(to) = words.low;
            *reinterpret_cast<uint32_t*>(to + kPlane) = words.high;
        }
#pragma unroll
        for (int i = 0; i < kWeightLoads; ++i) {
            unsigned char* to = stage + 2 * kPlane + weight_column() * kStride + weight_quad(i) * 4;
#pragma unroll
            for (int column = 0; column < 4; ++column) {
                uint32_t word = 0;
#pragma unroll
                for (int k = 0; k < 4; ++k) word |= (weights[i].words[k] >> 8 * column & 0xFFu) << 8 * k;
                *reinterpret_cast<uint32_t*>(to + column * kStride) = word;
            }
        }
    }

  private:
    __device__ __forceinline__ static int weight_column() { return threadIdx.x % (kColumns / 4) * 4; }
    __device__ __forceinline__ static int weight_quad(int i) {
        return threadIdx.x / (kColumns / 4) + i * (kProductThreads / (kColumns / 4));
    }
};

__device__ __forceinline__ void multiply_stage(Sums& sums, const unsigned char* stage, int warp_row,
                                               int warp_column) {
#pragma unroll
    for (int step = 0; step < kDepth; step += kStepBytes) {
        const unsigned char* rows = stage + warp_row * kStride + step;
        const unsigned char* columns = stage + 2 * kPlane + warp_column * kStride + step;
        uint32_t b[kColumnTiles][2];
#pragma unroll
        for (int n = 0; n < kColumnTiles; ++n) {
#pragma unroll
            for (int i = 0; i < 2; ++i) b[n][i] = fragment(columns + n * 8 * kStride + i * kChunk, kStride);
        }
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
            uint32_t low[4], high[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const unsigned char* chunk = rows + (m * 16 + i % 2 * 8) * kStride + i / 2 * kChunk;
                low[i] = fragment(chunk, kStride);
                high[i] = fragment(chunk + kPlane, kStride);
            }
#pragma unroll
            for (int n = 0; n < kColumnTiles; ++n) {
                multiply_unsigned_16x8x32(sums.low[m][n], low, b[n]);
                multiply_signed_16x8x32(sums.high[m][n], high, b[n]);
            }
        }
    }
}

// finish(sums, layer, tile of columns, column of the warp in it, row of the lane's first sums) stores the
// results.
template <typename Rows, typename Finish>
__global__ void __launch_bounds__(kProductThreads, 3)
    multiply(const Rows rows, const Weights<Finish::kHalves> layer, const Finish finish, int column_tiles) {
    unsigned char* stages = shared_memory();
    const int row_tile = static_cast<int>(blockIdx.x) / column_tiles;
    const int column_tile = static_cast<int>(blockIdx.x) % column_tiles;
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    const int warp_row = warp / (kColumns / kWarpColumns) * kWarpRows;
    const int warp_column = warp % (kColumns / kWarpColumns) * kWarpColumns;

    Sums sums;
    Loaded<Rows, Finish::kHalves> loaded;
    loaded.load(rows, layer, row_tile, column_tile, 0);
    for (int first = 0, turn = 0; first < rows.inputs; first += kDepth, turn ^= 1) {
        unsigned char* stage = stages + turn * kStage;
        // The barrier of the turn between lets nobody still read this stage.
        loaded.store(stage);
        __syncthreads();
        if (first + kDepth < rows.inputs) loaded.load(rows, layer, row_tile, column_tile, first + kDepth);
        multiply_stage(sums, stage, warp_row, warp_column);
    }
    finish(sums, layer, column_tile, warp_column, row_tile * kRows + warp_row + lane / 4);
}

template <typename Rows, typename Finish>
cudaError_t launch_product(const Rows& rows, const Weights<Finish::kHalves>& layer, const Finish& finish,
                           int64_t units, cudaStream_t stream) {
    const int64_t column_tiles = (units + layer.kUnits - 1) / layer.kUnits;
    const int64_t blocks = (rows.rows + kRows - 1) / kRows * column_tiles;
    if (blocks == 0) return cudaSuccess;
    if (blocks >= INT64_C(1) << 31) return cudaErrorInvalidValue;
    return launch_kernel(multiply<Rows, Finish>, static_cast<unsigned>(blocks), kProductThreads, kSharedBytes,
                         stream, rows, layer, finish, static_cast<int>(column_tiles));
}

}  // namespace glic

#endif
