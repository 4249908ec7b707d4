#include "../feed_forward.h"

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <utility>

#include "../../common/check.h"
#include "../../common/depthwise.h"
#include "../../common/isa.h"
#include "kernel.h"

namespace glic {
namespace {

constexpr int64_t kTileColumns = 96, kFewestTileRows = 8, kTilesOfALane = 2;

int64_t divided(int64_t whole, int64_t parts) { return (whole + parts - 1) / parts; }

const float* floats(const Constant& constant) { return static_cast<const float*>(constant.values); }

std::vector<float> padded(const float* values, int64_t count, int64_t size) {
    std::vector<float> result(values, values + count);
    result.resize(static_cast<size_t>(size));
    return result;
}

// A filter 2·hidden × kernel × kernel as kernel × kernel × 2·width.
std::vector<float> pack_filter(const float* filter, int64_t hidden, int64_t kernel, int64_t width) {
    const int64_t taps = kernel * kernel;
    std::vector<float> packed(static_cast<size_t>(taps * 2 * width));
    for (int64_t channel = 0; channel < 2 * hidden; ++channel) {
        const int64_t at = channel / hidden * width + channel % hidden;
        for (int64_t tap = 0; tap < taps; ++tap) {
            packed[static_cast<size_t>(tap * 2 * width + at)] = filter[channel * taps + tap];
        }
    }
    return packed;
}

}  // namespace

std::unique_ptr<FeedForwardBlock> make_feed_forward(const Constant* constants, bool depthwise, float epsilon,
                                               int32_t element, char* message) {
    const Constant &bias = constants[0], &expand = constants[1], &project = constants[depthwise ? 3 : 2];
    const glic_shape shape = expand.shape, filter = constants[2].shape;
    Checker check(depthwise ? "glic::DepthwiseFeedForward" : "glic::FeedForward", message);
    const bool matrix = shape.rank == 2 && shape.dims[0] > 1 && shape.dims[1] > 0 && shape.dims[1] % 2 == 0;
    check.sides("expand", shape)
        .that(matrix, "expand has other sides than expected: channels + 1 by twice the hidden channels");
    check.that(std::isfinite(epsilon) && epsilon >= 0, "epsilon is %g, expected a finite number from 0 on",
               static_cast<double>(epsilon));
    if (!check.ok()) return nullptr;
    const int64_t channels = shape.dims[0] - 1, hidden = shape.dims[1] / 2;
    check.shape("bias", bias.shape, {channels}).shape("project", project.shape, {hidden, channels});
    int64_t kernel = 0;
    if (depthwise) {
        kernel = filter.rank == 4 ? filter.dims[3] : 0;
        check.that(kernel % 2 == 1 && kernel <= kLargestDepthwiseSide,
                   "filter has side %" PRId64 ", expected an odd number up to %" PRId64, kernel,
                   kLargestDepthwiseSide);
        if (check.ok()) check.shape("filter", filter, {2 * hidden, 1, kernel, kernel});
    }
    if (!check.ok()) return nullptr;

    const FeedForwardBuild build = element == GLIC_BFLOAT16
                                       ? GLIC_SELECTED_BFLOAT16(feed_forward_build)(element)
                                       : GLIC_SELECTED(feed_forward_build)(element);
    const float* const weight = floats(expand);
    const float* const last_row = weight + channels * 2 * hidden;
    ProductWeights a(weight, channels, hidden, 2 * hidden, build.packing),
        b(weight + hidden, channels, hidden, 2 * hidden, build.packing);
    const int64_t width = a.width();
    return std::make_unique<FeedForwardBlock>(
        FeedForwardBlock{depthwise ? build.tile_task : build.positions_task, element, epsilon,
                    padded(floats(bias), channels, channels), std::move(a), std::move(b),
                    padded(last_row, hidden, width), padded(last_row + hidden, hidden, width), kernel,
                    depthwise ? pack_filter(floats(constants[2]), hidden, kernel, width) : std::vector<float>(),
                    ProductWeights(floats(project), hidden, channels, channels, build.packing)});
}

int feed_forward(const FeedForwardBlock& block, const float* x, const float* update, int64_t positions, float* out,
                 const glic_parallel* parallel) {
    const FeedForwardProblem problem{&block, x, update, out, positions, 0, 0, 0, 0};
    const size_t scratch = FeedForwardScratch(block, kFeedForwardPositions, 0).bytes(block.element);
    return run_tasks(parallel, task_count(positions, kFeedForwardPositions, {}), scratch, block.task, &problem);
}

int depthwise_feed_forward(const FeedForwardBlock& block, const float* x, const float* update, int64_t images,
                           int64_t height, int64_t width, float* out, const glic_parallel* parallel) {
    if (images == 0 || height == 0 || width == 0) return GLIC_OK;
    // Tiles share no work but compute their borders each: no more of them than keep all lanes busy.
    const int64_t lanes = parallel == nullptr ? 1 : static_cast<int64_t>(std::min<size_t>(parallel->lanes, 1024));
    const int64_t across = divided(width, kTileColumns), columns = divided(width, across);
    const int64_t down = divided(kTilesOfALane * lanes, images * across);
    const int64_t rows = std::min(std::max(divided(height, down), kFewestTileRows), height);
    const FeedForwardProblem problem{&block, x, update, out, 0, height, width, rows, columns};
    const size_t scratch = FeedForwardScratch(block, columns, block.kernel - 1).bytes(block.element);
    const size_t count = static_cast<size_t>(images * across * divided(height, rows));
    return run_tasks(parallel, count, scratch, block.task, &problem);
}

}  // namespace glic
