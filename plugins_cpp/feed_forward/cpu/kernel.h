// One task of a feed-forward block, as each instruction set builds it.
#ifndef GLIC_FEED_FORWARD_CPU_KERNEL_H
#define GLIC_FEED_FORWARD_CPU_KERNEL_H

#include <cstdint>

#include "../../common/isa.h"
#include "../feed_forward.h"

namespace glic {

// kernel 0: positions. Else tiles of `rows` × `columns` positions of maps of height × width, row after row of
// tiles and image after image.
struct FeedForwardProblem {
    const FeedForwardBlock* block;
    const float* x;
    const float* update;
    float* out;
    int64_t positions;
    int64_t height, width, rows, columns;
};

// The positions of a task without a depthwise filter.
constexpr int64_t kFeedForwardPositions = 48;

// What is built for an instruction set and a type of products.
struct FeedForwardBuild {
    ProductPacking packing;
    Task positions_task, tile_task;
};

GLIC_DECLARE_BUILDS(FeedForwardBuild feed_forward_build(int32_t element))

// The parts of a task's scratch memory, from an address aligned to 64 on.
struct FeedForwardScratch {
    // Elements of the products' type from the start of scratch: normalised positions, the hidden channels, and
    // the wide maps of the rows under the filter.
    int64_t normed, hidden, wide;
    // Floats: the sums of a position that another task writes.
    int64_t sums;

    FeedForwardScratch(const FeedForwardBlock& block, int64_t positions, int64_t border)
        : normed((positions + border) * block.expand_a.depth()),
          hidden(positions * block.expand_a.width()),
          wide(block.kernel * (positions + border) * 2 * block.expand_a.width()),
          sums(border > 0 ? block.project.outputs() : 0) {}
    size_t bytes(int32_t element) const {
        const auto elements = static_cast<size_t>(round(normed) + round(hidden) + round(wide));
        return elements * element_size(element) + static_cast<size_t>(sums) * sizeof(float);
    }
    // Elements up to whole cache lines.
    static int64_t round(int64_t elements) { return (elements + 31) / 32 * 32; }
};

}  // namespace glic

#endif
