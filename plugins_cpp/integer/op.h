// The integer ops for the glue of the runtimes. Their inputs after the first are constant; the kernels of the
// CPU pack them once, those of a GPU read them as they are.
#ifndef GLIC_INTEGER_OP_H
#define GLIC_INTEGER_OP_H

#include <memory>

#include "../common/op.h"
#include "integer.h"

namespace glic {

// An op has, beside its attributes:
//   pack(constants, message): what it computes, as integer.h makes it, or nullptr with a message;
//   check(packed, map, message): whether a map fits;
//   outputs(packed): the channels of the map that comes out;
//   compute(packed, x, map, y, threads): as the kernels, of a map that was checked.
struct IntegerLinear : Op<signatures::IntegerLinear> {
    using Packed = Linear;

    template <typename Visitor>
    void visit(Visitor&& visitor) {
        visitor("limit", limit_);
    }
    std::unique_ptr<Packed> pack(const Constant* constants, char* message) const {
        return make_linear(constants, limit_, message);
    }
    static int check(const Packed& linear, glic_shape map, char* message) {
        return check_map("glic::IntegerLinear", map, linear.panels.inputs(), false, message);
    }
    static int64_t outputs(const Packed& linear) { return linear.panels.outputs(); }
    static int compute(const Packed& linear, const float* x, glic_shape map, float* y,
                       const glic_parallel* threads) {
        return integer_linear(linear, x, positions_of(map), y, threads);
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
    static int check(const Packed& ffn, glic_shape map, char* message) {
        return check_map("glic::IntegerGatedFfn", map, ffn.project_in.inputs(), false, message);
    }
    static int64_t outputs(const Packed& ffn) { return ffn.project_in.inputs(); }
    static int compute(const Packed& ffn, const float* stream, glic_shape map, float* out,
                       const glic_parallel* threads) {
        return integer_gated_ffn(ffn, stream, positions_of(map), out, threads);
    }

  private:
    GatedFfnAttributes attributes_{};
};

struct IntegerDepthwise : Op<signatures::IntegerDepthwise> {
    using Packed = Depthwise;

    template <typename Visitor>
    void visit(Visitor&& visitor) {
        visitor("limit", limit_);
    }
    std::unique_ptr<Packed> pack(const Constant* constants, char* message) const {
        return make_depthwise(constants, limit_, message);
    }
    static int check(const Packed& depthwise, glic_shape map, char* message) {
        return check_map("glic::IntegerDepthwise", map, depthwise.channels, true, message);
    }
    static int64_t outputs(const Packed& depthwise) { return depthwise.channels; }
    static int compute(const Packed& depthwise, const float* x, glic_shape map, float* y,
                       const glic_parallel* threads) {
        return integer_depthwise(depthwise, x, map.dims[0], map.dims[1], y, threads);
    }

  private:
    int64_t limit_ = 0;
};

}  // namespace glic

#endif
