// One task of the ScatterAggregate CPU kernel, as each instruction set builds it.
#ifndef GLIC_SCATTER_AGGREGATE_CPU_KERNEL_H
#define GLIC_SCATTER_AGGREGATE_CPU_KERNEL_H

#include <cstddef>
#include <cstdint>

#include "../../common/groups.h"
#include "../../common/isa.h"

namespace glic {

struct AggregateProblem {
    Grid grid;
    int64_t channels, heads;
    int32_t element;
    const void* q;
    const void* kv;
    const int32_t* graph;
    const float* bias;   // heads × 2 × 256 × 32: of candidates in order, for the first and last 32 queries
    const float* scale;  // heads
    const uint8_t*
        negligible;  // heads: whether a non-edge's weight is exactly zero in a row that has an edge
    void* out;
};

// Queries whose bias lies together; a whole number of tiles.
constexpr int kBiasQueries = 32;

// Room for blocks of candidates that run over the last one.
constexpr int kPadding = 8;

// Floats from one head's gathered keys to the next: off the power of two that would put all heads into one
// cache set.
inline int64_t aggregate_head_stride(int64_t width) { return kCandidates * width + 16; }

// Bytes of scratch that a task needs: keys and values of all heads; queries, results and logits of one tile,
// which has at most 32 queries.
inline size_t aggregate_scratch_bytes(int64_t channels, int64_t heads) {
    const int64_t width = channels / heads;
    const int64_t floats =
        2 * heads * aggregate_head_stride(width) + kQueries * channels + 32 * (kCandidates + kPadding);
    return sizeof(float) * static_cast<size_t>(floats);
}

GLIC_DECLARE_TASK(aggregate_task)

}  // namespace glic

#endif
