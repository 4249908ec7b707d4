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

// kTiles: the width of a head in units of 8, rounded up.
template <typename T, int kTiles>
struct Layout {
    static constexpr int kWidth = 8 * kTiles;
    static constexpr int kChunks = kWidth * static_cast<int>(sizeof(T)) / kChunk;
    static constexpr int kStride = padded_row(kChunks * kChunk);

    static constexpr int kQueryBytes = kQueries * kStride;
    static constexpr int kMaskBytes = kQueries * kWords * 4;
    static constexpr int kNormBytes = (kQueries + kCandidates) * 4;
    static constexpr int kFixedBytes = kQueryBytes + kMaskBytes + kNormBytes;

    // Candidates that are there at a time: all, or a half where keys and values are too large.
    static constexpr int kHeld =
        kFixedBytes + 2 * kCandidates * kStride <= kSharedLimit ? kCandidates : kCandidates / 2;

    static constexpr int kKeys = 0;
    static constexpr int kValues = kHeld * kStride;
    static constexpr int kQueryRows = 2 * kHeld * kStride;
    static constexpr int kMasks = kQueryRows + kQueryBytes;
    static constexpr int kNorms = kMasks + kMaskBytes;
    static constexpr int kBias = kNorms + kNormBytes;

    // The head's bias stays in shared memory where there is room for it, its rows apart by a quarter of the
    // banks; elsewhere it is read through the cache.
    static constexpr int kBiasStride = kCandidates + 8;
    static constexpr int kBiasBytes = kQueries * kBiasStride * 4;
    static constexpr bool kBiasHeld = kBias + kBiasBytes <= kSharedLimit;
    static constexpr int kBytes = kBiasHeld ? kBias + kBiasBytes : kBias;

    static_assert(kBytes <= kSharedLimit, "one block must fit");
    static_assert(kHeld / kSplits % kStep == 0, "each split takes whole steps");
    // The second split leaves its sums in place of the keys and values.
    static_assert(kRowWarps * kWarp * (4 * kTiles + 4) * 4 <= kQueryRows, "partial results must fit");
};

}  // namespace glic

#endif
