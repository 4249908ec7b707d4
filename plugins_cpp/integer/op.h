// glic::IntegerLinear and glic::IntegerGatedFfn for the glue of the runtimes: ops whose inputs after the
// first are constant and packed once.
#ifndef GLIC_INTEGER_OP_H
#define GLIC_INTEGER_OP_H

#include <memory>

#include "../common/op.h"
#include "integer.h"

namespace glic {

// An op has, beside its attributes:
//   pack(constants, message): what it computes, as integer.h makes it, or nullptr with a message;
//   inputs(packed), outputs(packed): the channels of the map that goes in, and of the one that comes out;
//   compute(packed, x, positions, y, threads): as the kernels.
struct IntegerLinear : Op<signatures::IntegerLinear> {
    using Packed = Linear;

    template <typename Visitor>
    void visit(Visitor&& visitor) {
        visitor("limit", limit_);
    }
    std::unique_ptr<Packed> pack(const Constant* constants, char* message) const {
        return make_linear(constants, limit_, message);
    }
    static int64_t inputs(const Packed& linear) { return linear.panels.inputs(); }
    static int64_t outputs(const Packed& linear) { return linear.panels.outputs(); }
    static int compute(const Packed& linear, const float* x, int64_t positions, float* y,
                       const glic_parallel* threads) {
        return integer_linear(linear, x, positions, y, threads);
    }

  private:
    int64_t limit_ = 0;
};

struct IntegerGatedFfn : Op<signatures::IntegerGatedFfn> {
    using Packed = GatedFfn;

    template <typename Visitor>
    void visit(Visitor&& visitor) {
        visitor("norm_shift", attributes_.norm_shift);
        visitor("norm_limit", attributes_.norm_limit);
        visitor("gate_limit", attributes_.gate_limit);
    }
    std::unique_ptr<Packed> pack(const Constant* constants, char* message) const {
        return make_gated_ffn(constants, attributes_, message);
    }
    static int64_t inputs(const Packed& ffn) { return ffn.project_in.inputs(); }
    static int64_t outputs(const Packed& ffn) { return ffn.project_in.inputs(); }
    static int compute(const Packed& ffn, const float* stream, int64_t positions, float* out,
                       const glic_parallel* threads) {
        return integer_gated_ffn(ffn, stream, positions, out, threads);
    }

  private:
    GatedFfnAttributes attributes_{};
};

}  // namespace glic

#endif
