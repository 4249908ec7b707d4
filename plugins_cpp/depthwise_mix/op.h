// glic::DepthwiseMix for the glue of the runtimes.
#ifndef GLIC_DEPTHWISE_MIX_OP_H
#define GLIC_DEPTHWISE_MIX_OP_H

#include "../common/op.h"
#include "depthwise_mix.h"

namespace glic {

struct DepthwiseMix : Op<signatures::DepthwiseMix> {
    int check(const glic_shape* in, char* message) {
        return glic_depthwise_mix_check(in[0], in[1], in[2], in[3], &size_, message);
    }
    std::vector<Shape> shapes(const glic_shape* in) const { return {with_channels(in[0], size_.channels)}; }
    int compute(int32_t element, const void* const* in, void* const* out,
                const glic_parallel* threads) const {
        return glic_depthwise_mix_cpu(&size_, element, in[0], floats(in[1]), floats(in[2]), floats(in[3]),
                                      out[0], threads);
    }

  private:
    glic_depthwise_mix_size size_{};
};

}  // namespace glic

#endif
