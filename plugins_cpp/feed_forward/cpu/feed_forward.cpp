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

std::vector<float> padded(const float* values, int64_t count, int64_t size) {
    std::vector<float> result(values, values + count);
    result.resize(static_cast<size_t>(size));
    return result;
}

// A filter channels × kernel × kernel as kernel × kernel × padded channels, where channel c has place(c).
template <typename Place>
std::vector<float> pack_filter(const float* filter, int64_t channels, int64_t kernel, int64_t padded_channels,
                               Place place) {
    const int64_t taps = kernel * kernel;
    std::vector<float> packed(static_cast<size_t>(taps * padded_channels));
    for (int64_t channel = 0; channel < channels; ++channel) {
        for (int64_t tap = 0; tap < taps; ++tap) {
            packed[static_cast<size_t>(tap * padded_channels + place(channel))] =
                filter[channel * taps + tap];
        }
    }
    return packed;
}

// The side of a depthwise filter of so many channels, which is checked.
int64_t check_filter(Checker* check, const char* name, glic_shape filter, int64_t channels) {
    const int64_t kernel = filter.rank == 4 ? filter.dims[3] : 0;
    check->that(kernel % 2 == 1 && kernel <= kLargestDepthwiseSide,
                "%s has side %" PRId64 ", expected an odd number up to %" PRId64, name, kernel,
                kLargestDepthwiseSide);
    if (check->ok()) check->shape(name, filter, {channels, 1, kernel, kernel});
    return kernel;
}

FeedForwardBuild selected(int32_t element) {
    return element == GLIC_BFLOAT16 ? GLIC_SELECTED_BFLOAT16(feed_forward_build)(element)
                                    : GLIC_SELECTED(feed_forward_build)(element);
}

// filter: nullptr where there is none.
std::unique_ptr<FeedForwardBlock> make(const char* op, const Constant& bias, const Constant& expand,
                                       const Constant* filter, const Constant& project, float epsilon,
                                       int32_t element, char* message) {
    Checker check(op, message);
    const glic_shape shape = expand.shape;
    const bool matrix = shape.rank == 2 && shape.dims[0] > 1 && shape.dims[1] > 0 && shape.dims[1] % 2 == 0;
    check.sides("expand", shape)
        .that(matrix, "expand has other sides than expected: channels + 1 by twice the hidden channels")
        .that(std::isfinite(epsilon) && epsilon >= 0, "epsilon is %g, expected a finite number from 0 on",
              static_cast<double>(epsilon));
    if (!check.ok()) return nullptr;
    const int64_t channels = shape.dims[0] - 1, hidden = shape.dims[1] / 2;
    check.shape("bias", bias.shape, {channels}).shape("project", project.shape, {hidden, channels});
    const int64_t kernel = filter ? check_filter(&check, "filter", filter->shape, 2 * hidden) : 0;
    if (!check.ok()) return nullptr;

    const FeedForwardBuild build = selected(element);
    const float* const weight = floats(expand);
    const float* const last_row = weight + channels * 2 * hidden;
    ProductWeights a(weight, channels, hidden, 2 * hidden, build.packing),
        b(weight + hidden, channels, hidden, 2 * hidden, build.packing),
        out(floats(project), hidden, channels, channels, build.packing);
    const int64_t width = a.width(), padded_channels = out.width();
    std::vector<float> packed_filter;
    if (filter) {
        packed_filter = pack_filter(floats(*filter), 2 * hidden, kernel, 2 * width, [=](int64_t channel) {
            return channel / hidden * width + channel % hidden;
        });
    }
    return std::make_unique<FeedForwardBlock>(
        FeedForwardBlock{filter ? build.tile_task : build.positions_task, element, epsilon, nullptr,
                         padded(floats(bias), channels, padded_channels), std::move(a), std::move(b),
                         padded(last_row, hidden, width), padded(last_row + hidden, hidden, width), kernel,
                         std::move(packed_filter), std::move(out)});
}

}  // namespace

std::unique_ptr<FeedForwardBlock> make_feed_forward(const Constant* constants, bool depthwise, float epsilon,
                                                    int32_t element, char* message) {
    return depthwise ? make("glic::DepthwiseFeedForward", constants[0], constants[1], constants + 2,
                            constants[3], epsilon, element, message)
                     : make("glic::FeedForward", constants[0], constants[1], nullptr, constants[2], epsilon,
                            element, message);
}

std::unique_ptr<FeedForwardBlock> make_gated_transform(const Constant* constants, float epsilon,
                                                       int32_t element, char* message) {
    const Constant &expand = constants[0], &filter = constants[1], &filter_bias = constants[2],
                   &project = constants[3];
    auto block = make("glic::GatedTransform", constants[4], constants[5], nullptr, constants[6], epsilon,
                      element, message);
    if (!block) return nullptr;
    Checker check("glic::GatedTransform", message);
    const glic_shape shape = expand.shape;
    const int64_t channels = block->project.outputs();
    check.sides("mix_expand", shape)
        .that(shape.rank == 2 && shape.dims[0] == channels + 1 && shape.dims[1] > 0,
              "mix_expand has other sides than expected: channels + 1 by the mixed channels");
    if (!check.ok()) return nullptr;
    const int64_t mixed = shape.dims[1];
    const int64_t kernel = check_filter(&check, "mix_filter", filter.shape, mixed);
    check.shape("mix_bias", filter_bias.shape, {mixed})
        .shape("mix_project", project.shape, {mixed, channels});
    if (!check.ok()) return nullptr;

    const FeedForwardBuild build = selected(element);
    ProductWeights weights(floats(expand), channels, mixed, mixed, build.packing);
    const int64_t width = weights.width();
    block->task = build.mixer_task;
    block->mixer = std::make_unique<const Mixer>(
        Mixer{std::move(weights), padded(floats(expand) + channels * mixed, mixed, width), kernel,
              pack_filter(floats(filter), mixed, kernel, width, [](int64_t channel) { return channel; }),
              padded(floats(filter_bias), mixed, width),
              ProductWeights(floats(project), mixed, channels, channels, build.packing)});
    return block;
}

int feed_forward(const FeedForwardBlock& block, const float* x, const float* update, int64_t positions,
                 float* out, const glic_parallel* parallel) {
    const FeedForwardProblem problem{&block, x, update, out, positions, 0, 0, 0, 0};
    const size_t scratch = FeedForwardScratch(block, 0).bytes(block.element);
    return run_tasks(parallel, task_count(positions, kFeedForwardPositions, {}), scratch, block.task,
                     &problem);
}

int depthwise_feed_forward(const FeedForwardBlock& block, const float* x, const float* update, int64_t images,
                           int64_t height, int64_t width, float* out, const glic_parallel* parallel) {
    if (images == 0 || height == 0 || width == 0) return GLIC_OK;
    // Tiles share no work but compute their borders each: no more of them than keep all lanes busy.
    const int64_t lanes =
        parallel == nullptr ? 1 : static_cast<int64_t>(std::min<size_t>(parallel->lanes, 1024));
    const int64_t across = divided(width, kTileColumns), columns = divided(width, across);
    const int64_t down = divided(kTilesOfALane * lanes, images * across);
    const int64_t rows = std::min(std::max(divided(height, down), kFewestTileRows), height);
    const FeedForwardProblem problem{&block, x, update, out, 0, height, width, rows, columns};
    const size_t scratch = FeedForwardScratch(block, columns).bytes(block.element);
    const size_t count = static_cast<size_t>(images * across * divided(height, rows));
    return run_tasks(parallel, count, scratch, block.task, &problem);
}

}  // namespace glic
