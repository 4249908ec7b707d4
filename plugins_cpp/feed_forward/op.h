// glic::FeedForward and glic::DepthwiseFeedForward for the glue of the runtimes.
#ifndef GLIC_FEED_FORWARD_OP_H
#define GLIC_FEED_FORWARD_OP_H

#include <memory>
#include <string>

#include "../common/op.h"
#include "feed_forward.h"

namespace glic {

template <typename Signature, bool kDepthwise>
struct AnyFeedForward : Op<Signature> {
    using Packed = FeedForwardBlock;

    template <typename Visitor>
    void visit(Visitor&& visitor) {
        visitor("epsilon", epsilon_);
    }
    std::unique_ptr<Packed> pack(const Constant* constants, int32_t element, char* message) const {
        return make_feed_forward(constants, kDepthwise, epsilon_, element, message);
    }
    static int check_map(const Packed& block, glic_shape map, char* message) {
        const std::string name = std::string("glic::") + Signature::kName;
        return glic::check_map(name.c_str(), map, block.project.outputs(), kDepthwise ? 4 : 0, message);
    }
    static int64_t outputs(const Packed& block, size_t) { return block.project.outputs(); }
    static int compute(const Packed& block, const float* const* maps, glic_shape map, float* const* out,
                       const glic_parallel* threads) {
        if constexpr (kDepthwise) {
            return depthwise_feed_forward(block, maps[0], maps[1], map.dims[0], map.dims[1], map.dims[2],
                                          out[0], threads);
        } else {
            return feed_forward(block, maps[0], maps[1], positions_of(map), out[0], threads);
        }
    }

  private:
    float epsilon_ = 0;
};

struct FeedForward : AnyFeedForward<signatures::FeedForward, false> {};
struct DepthwiseFeedForward : AnyFeedForward<signatures::DepthwiseFeedForward, true> {};

}  // namespace glic

#endif
