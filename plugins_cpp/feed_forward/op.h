// glic::FeedForward, glic::DepthwiseFeedForward and glic::GatedTransform for the glue of the runtimes.
#ifndef GLIC_FEED_FORWARD_OP_H
#define GLIC_FEED_FORWARD_OP_H

#include <memory>
#include <string>

#include "../common/op.h"
#include "feed_forward.h"

namespace glic {

// What the ops of this folder share.
template <typename Signature, size_t kRank>
struct BlockOp : Op<Signature> {
    using Packed = FeedForwardBlock;

    template <typename Visitor>
    void visit(Visitor&& visitor) {
        visitor("epsilon", epsilon_);
    }
    static int check_map(const Packed& block, glic_shape map, char* message) {
        const std::string name = std::string("glic::") + Signature::kName;
        return glic::check_map(name.c_str(), map, block.project.outputs(), kRank, message);
    }
    static Shape shape(const Packed& block, glic_shape map, size_t) {
        return Op<Signature>::with_channels(map, block.project.outputs());
    }

  protected:
    float epsilon_ = 0;
};

struct FeedForward : BlockOp<signatures::FeedForward, 0> {
    std::unique_ptr<Packed> pack(const Constant* constants, int32_t element, char* message) const {
        return make_feed_forward(constants, false, epsilon_, element, message);
    }
    static int compute(const Packed& block, const float* const* maps, glic_shape map, float* const* out,
                       const glic_parallel* threads) {
        return feed_forward(block, maps[0], maps[1], positions_of(map), out[0], threads);
    }
};

struct DepthwiseFeedForward : BlockOp<signatures::DepthwiseFeedForward, 4> {
    std::unique_ptr<Packed> pack(const Constant* constants, int32_t element, char* message) const {
        return make_feed_forward(constants, true, epsilon_, element, message);
    }
    static int compute(const Packed& block, const float* const* maps, glic_shape map, float* const* out,
                       const glic_parallel* threads) {
        return depthwise_feed_forward(block, maps[0], maps[1], map.dims[0], map.dims[1], map.dims[2], out[0],
                                      threads);
    }
};

struct GatedTransform : BlockOp<signatures::GatedTransform, 4> {
    std::unique_ptr<Packed> pack(const Constant* constants, int32_t element, char* message) const {
        return make_gated_transform(constants, epsilon_, element, message);
    }
    static int compute(const Packed& block, const float* const* maps, glic_shape map, float* const* out,
                       const glic_parallel* threads) {
        return depthwise_feed_forward(block, maps[0], nullptr, map.dims[0], map.dims[1], map.dims[2], out[0],
                                      threads);
    }
};

}  // namespace glic

#endif
