// Tasks of the integer kernels, as each instruction set builds them. A task is a tile of positions.
#ifndef GLIC_INTEGER_CPU_KERNEL_H
#define GLIC_INTEGER_CPU_KERNEL_H

#include "../../common/isa.h"
#include "../integer.h"

namespace glic {

constexpr int32_t kWide = (1 << 23) - 1;
constexpr int32_t kNormInput = 8191;
constexpr int32_t kNormDeviation = 4095;
constexpr int32_t kGateInput = 2047;
constexpr int32_t kRsqrtBits = 11;
constexpr int64_t kRsqrtEntries = 3072;
constexpr int64_t kGeluEntries = 4096;

// The largest shift, and the widest norm whose deviations fit 32 bits: with it no shift of a unit passes 30.
constexpr int32_t kMostShift = 30;
constexpr int64_t kMostChannels = int64_t{1} << 16;

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
    const GatedFfn* ffn;
    const float* stream;
    float* out;
    int64_t positions, tile;
};

inline size_t linear_scratch_bytes(const Panels& linear, int64_t tile) {
    return sizeof(int16_t) * static_cast<size_t>(tile * linear.padded_inputs());
}

inline size_t ffn_scratch_bytes(const GatedFfn& ffn, int64_t tile) {
    const int64_t rows = ffn.project_in.padded_inputs() + ffn.project_out.padded_inputs();
    return sizeof(int32_t) * static_cast<size_t>(ffn.project_in.inputs()) +
           sizeof(int16_t) * static_cast<size_t>(tile * rows) + 128;
}

// What an instruction set brings.
struct IntegerBuild {
    Packing packing;
    Task linear_task, gated_ffn_task;
};

GLIC_DECLARE_BUILDS(extern const IntegerBuild integer_build)

}  // namespace glic

#endif
