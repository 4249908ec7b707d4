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

    static constexpr int kNormBytes = (kQueries + kCandidates) * 4;
    static constexpr int kTableBytes = (kDifferences * kDifferences * 4 + 15) / 16 * 16;

    // While the warps work on one stage, the next is on its way, where there is room for two.
    static constexpr int bytes(int stages) {
        return stages * (kCandidateBytes + kQueryBytes) + kNormBytes + kTableBytes;
    }
    static constexpr int kStages = bytes(2) <= kSharedLimit ? 2 : 1;

    // The second split leaves its sums in a place of their own where there is room. Both stages together then
    // hold the candidates of a set of groups, and they stay there while the block visits the set.
    static constexpr int kPartialBytes = kRowWarps * kWarp * (4 * kTiles + 4) * 4;
    static constexpr bool kKeeps = kStages == 2 && bytes(2) + kPartialBytes <= kSharedLimit;
    static constexpr int kBytes = bytes(kStages) + (kKeeps ? kPartialBytes : 0);

    static constexpr int kQueryRows = kStages * kCandidateBytes;
    static constexpr int kNorms = kQueryRows + kStages * kQueryBytes;
    static constexpr int kTable = kNorms + kNormBytes;
    static constexpr int kPartial = kTable + kTableBytes;

    static_assert(kBytes <= kSharedLimit, "one block must fit");
    static_assert(kHeld / kSplits % kStep == 0, "each split takes whole steps");
    static_assert(!kKeeps || 2 * kHeld == kCandidates, "the stages hold all candidates");
    // The second split leaves its sums in place of the last keys and values elsewhere.
    static_assert(kPartialBytes <= kCandidateBytes, "partial results must fit");
};

}  // namespace glic

#endif
