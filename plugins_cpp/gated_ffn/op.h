// glic::GatedFfn and glic::DepthwiseGatedFfn for the glue of the runtimes.
#ifndef GLIC_GATED_FFN_OP_H
#define GLIC_GATED_FFN_OP_H

#include "../common/op.h"
#include "gated_ffn_cuda.h"

namespace glic {

struct GatedFfn : Op<signatures::GatedFfn> {
    // The kernel reads a position before it writes its result.
    static constexpr bool kInPlace = true;

    template <typename Visitor>
    void visit(Visitor&& visitor) {
        visitor("epsilon", epsilon_);
    }
    static int check_attributes(char*) { return GLIC_OK; }
    int check_cuda(const glic_shape* in, char* message) {
        return glic_gated_ffn_check(in[0], in[1], in[2], in[3], &size_, message);
    }
    std::vector<Shape> shapes(const glic_shape* in) const { return {with_channels(in[0], size_.channels)}; }
    int compute_cuda(int32_t element, const void* const* in, void* const* out, void*, void* stream) const {
        return glic_gated_ffn_cuda(&size_, epsilon_, element, in[0], in[1], floats(in[2]), in[3], out[0],
                                   stream);
    }

  private:
    glic_gated_ffn_size size_{};
    float epsilon_ = 0;
};

struct DepthwiseGatedFfn : Op<signatures::DepthwiseGatedFfn> {
    template <typename Visitor>
    void visit(Visitor&& visitor) {
        visitor("epsilon", epsilon_);
    }
    static int check_attributes(char*) { return GLIC_OK; }
    int check_cuda(const glic_shape* in, char* message) {
        return glic_depthwise_gated_ffn_check(in[0], in[1], in[2], in[3], in[4], &size_, message);
    }
    std::vector<Shape> shapes(const glic_shape* in) const { return {with_channels(in[0], size_.channels)}; }
    int compute_cuda(int32_t element, const void* const* in, void* const* out, void*, void* stream) const {
        return glic_depthwise_gated_ffn_cuda(&size_, epsilon_, element, in[0], in[1], floats(in[2]),
                                             floats(in[3]), in[4], out[0], stream);
    }

  private:
    glic_depthwise_gated_ffn_size size_{};
    float epsilon_ = 0;
};

}  // namespace glic

#endif
