// One task of a feed-forward block, as each instruction set builds it.
#ifndef GLIC_FEED_FORWARD_CPU_KERNEL_H
#define GLIC_FEED_FORWARD_CPU_KERNEL_H

#include <algorithm>
#include <cstdint>

#include "../../common/isa.h"
#include "../feed_forward.h"

namespace glic {

// Without a depthwise filter: positions. Else tiles of `rows` × `columns` positions of maps of height ×
// width, row after row of tiles and image after image.
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
    Task positions_task, tile_task, mixer_task;
};

GLIC_DECLARE_BUILDS(FeedForwardBuild feed_forward_build(int32_t element))

// The parts of a task's scratch memory, in elements of the products' type, whole cache lines each.
struct FeedForwardScratch {
    // Positions before a product; the hidden channels of the feed-forward; the wide maps of the rows under a
    // filter; what a mixer's filter makes of a row.
    int64_t rows, hidden, wide, mixed;
    // The sums of a position that another task writes, float32.
    int64_t sums;

    // columns: of a tile, without its border; 0 where tasks take positions.
    FeedForwardScratch(const FeedForwardBlock& block, int64_t columns) {
        const int64_t reach = (block.mixer ? block.mixer->kernel : block.kernel) / 2,
                      row = columns + 2 * reach;
        const int64_t width = block.expand_a.width(), depth = block.expand_a.depth();
        // A feed-forward without a filter takes as many positions at a time as a task of positions.
        const int64_t together = block.kernel > 0 ? columns : kFeedForwardPositions;
        const int64_t before = std::max(depth, block.mixer ? block.mixer->expand.depth() : 0);
        rows = lines(std::max(row, together) * before);
        hidden = lines(together * width);
        wide = lines(block.mixer ? block.mixer->kernel * row * block.mixer->expand.width()
                                 : block.kernel * row * 2 * width);
        mixed = lines(block.mixer ? columns * block.mixer->expand.width() : 0);
        sums = lines(block.project.outputs());
    }
    size_t bytes(int32_t element) const {
        return static_cast<size_t>(rows + hidden + wide + mixed) * element_size(element) +
               static_cast<size_t>(sums) * sizeof(float);
    }

  private:
    static int64_t lines(int64_t elements) { return (elements + 31) / 32 * 32; }
};

}  // namespace glic

#endif
