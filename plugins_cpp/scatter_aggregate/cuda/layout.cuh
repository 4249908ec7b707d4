// How a block of ScatterAggregate divides its shared memory, for one element type and width of heads.
#ifndef GLIC_SCATTER_AGGREGATE_CUDA_LAYOUT_CUH
#define GLIC_SCATTER_AGGREGATE_CUDA_LAYOUT_CUH

#include "../../common/cuda/warp.cuh"
#include "../../common/groups.h"

namespace glic {

constexpr int kRowWarps = 4;  // of 16 queries
constexpr int kSplits = 2;    // of the candidates
constexpr int kThreads = kSplits * kRowWarps * kWarp;
constexpr int kStep = 64;  // candidates whose logits a warp holds at a time

// The most that a block may have on every architecture from sm_80 on.
constexpr int kSharedLimit = 99 * 1024;

// A bias that depends on the difference of positions alone has this many values a side.
constexpr int kDifferences = kWindow + kSample - 1;

// kTiles: the width of a head in units of 8, rounded up.
template <typename T, int kTiles>
struct Layout {
    static constexpr int kWidth = 8 * kTiles;
    static constexpr int kChunks = kWidth * static_cast<int>(sizeof(T)) / kChunk;
    static constexpr int kStride = padded_row(kChunks * kChunk);

    // Candidates that are there at a time, with keys and values.
    static constexpr int kHeld = kCandidates / 2;
    static constexpr int kValues = kHeld * kStride;
    static constexpr int kCandidateBytes = 2 * kHeld * kStride;

    // Queries and edges of a group.
    static constexpr int kMasks = kQueries * kStride;
    static constexpr int kQueryBytes = kMasks + kQueries * kWords * 4;

    static constexpr int kNormBytes = (kQueries + kHeld) * 4;
    static constexpr int kTableBytes = (kDifferences * kDifferences * 4 + 15) / 16 * 16;

    // While the warps work on one stage, the next is on its way, where there is room for two.
    static constexpr int bytes(int stages) {
        return stages * (kCandidateBytes + kQueryBytes) + kNormBytes + kTableBytes;
    }
    static constexpr int kStages = bytes(2) <= kSharedLimit ? 2 : 1;
    static constexpr int kBytes = bytes(kStages);

    static constexpr int kQueryRows = kStages * kCandidateBytes;
    static constexpr int kNorms = kQueryRows + kStages * kQueryBytes;
    static constexpr int kTable = kNorms + kNormBytes;

    static_assert(kBytes <= kSharedLimit, "one block must fit");
    static_assert(kHeld / kSplits % kStep == 0, "each split takes whole steps");
    // The second split leaves its sums in place of the last keys and values.
    static_assert(kRowWarps * kWarp * (4 * kTiles + 4) * 4 <= kCandidateBytes, "partial results must fit");
};

}  // namespace glic

#endif
