// Tasks of the integer kernels, as each instruction set builds them. A task is a tile of positions.
#ifndef GLIC_INTEGER_CPU_KERNEL_H
#define GLIC_INTEGER_CPU_KERNEL_H

#include "../../common/isa.h"
#include "../arithmetic.h"
#include "../integer.h"

namespace glic {

// Positions of a tile: a multiple of the rows that every instruction set multiplies at a time.
constexpr int64_t kTileStep = 12;
constexpr int64_t kMaxTile = 96;

struct LinearProblem {
    const Linear* linear;
    const float* x;
    float* y;
    int64_t positions, tile;
};

struct FfnProblem {
    const PackedGatedFfn* ffn;
    const float* stream;
    float* out;
    int64_t positions, tile;
};

inline size_t linear_scratch_bytes(const Panels& linear, int64_t tile) {
    return sizeof(int16_t) * static_cast<size_t>(tile * linear.padded_inputs());
}

inline size_t ffn_scratch_bytes(const PackedGatedFfn& ffn, int64_t tile) {
    const int64_t rows = ffn.project_in.padded_inputs() + ffn.project_out.padded_inputs();
    return sizeof(int32_t) * static_cast<size_t>(ffn.project_in.inputs()) +
           sizeof(int16_t) * static_cast<size_t>(tile * rows) + 128;
}

// A task of the depthwise convolution: this many rows and columns of a chunk of channels. Scratch holds the
// integers of its window.
constexpr int64_t kTileRows = 4, kTileColumns = 32;
constexpr size_t kDepthwiseScratch =
    sizeof(int32_t) * (kTileRows + kTaps - 1) * (kTileColumns + kTaps - 1) * kChannelChunk;

struct DepthwiseProblem {
    const Depthwise* depthwise;
    const float* x;
    float* y;
    int64_t height, width;

    int64_t tile_rows() const { return (height + kTileRows - 1) / kTileRows; }
    int64_t tile_columns() const { return (width + kTileColumns - 1) / kTileColumns; }
    int64_t chunks() const { return (depthwise->channels + kChannelChunk - 1) / kChannelChunk; }
};

// What an instruction set brings.
struct IntegerBuild {
    Packing packing;
    Task linear_task, gated_ffn_task, depthwise_task;
};

GLIC_DECLARE_BUILDS(extern const IntegerBuild integer_build)

}  // namespace glic

#endif
