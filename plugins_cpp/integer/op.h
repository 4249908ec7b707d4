// The integer ops for the glue of the runtimes. Their inputs after the first are constant; the kernels of the
// CPU pack them once, those of a GPU read them as they are.
#ifndef GLIC_INTEGER_OP_H
#define GLIC_INTEGER_OP_H

#include <array>
#include <memory>

#include "../common/op.h"
#include "integer.h"
#include "integer_cuda.h"

namespace glic {

// The shapes of constants in the memory of a GPU.
template <size_t kCount>
std::array<Constant, kCount> without_values(const glic_shape* shapes) {
    std::array<Constant, kCount> constants;
    for (size_t i = 0; i < kCount; ++i) constants[i] = {shapes[i], nullptr};
    return constants;
}

// A layer's inputs of a node, from its weight on.
inline glic_integer_layer layer_of(const void* const* in) {
    return {static_cast<const int8_t*>(in[0]), static_cast<const int32_t*>(in[1]),
            static_cast<const int32_t*>(in[2])};
}

struct IntegerLinear : Op<signatures::IntegerLinear> {
    using Packed = Linear;

    template <typename Visitor>
    void visit(Visitor&& visitor) {
        visitor("limit", limit_);
    }
    std::unique_ptr<Packed> pack(const Constant* constants, int32_t, char* message) const {
        return make_linear(constants, limit_, message);
    }
    static int check_map(const Packed& linear, glic_shape map, char* message) {
        return glic::check_map("glic::IntegerLinear", map, linear.panels.inputs(), 0, message);
    }
    static Shape shape(const Packed& linear, glic_shape map, size_t) {
        return with_channels(map, linear.panels.outputs());
    }
    static int compute(const Packed& linear, const float* const* maps, glic_shape map, float* const* out,
                       const glic_parallel* threads) {
        return integer_linear(linear, maps[0], positions_of(map), out[0], threads);
    }

    int check_attributes(char* message) const { return check_linear_attributes(limit_, message); }
    int check_cuda(const glic_shape* in, char* message) {
        if (check_linear(without_values<kInputs - 1>(in + 1).data(), limit_, message) != GLIC_OK ||
            glic::check_map("glic::IntegerLinear", in[0], in[1].dims[0], 0, message) != GLIC_OK) {
            return GLIC_INVALID;
        }
        size_ = {positions_of(in[0]), in[1].dims[0], in[1].dims[1], static_cast<int32_t>(limit_)};
        return GLIC_OK;
    }
    std::vector<Shape> shapes(const glic_shape* in) const { return {with_channels(in[0], size_.outputs)}; }
    int compute_cuda(int32_t, const void* const* in, void* const* out, void*, void* stream) const {
        return glic_integer_linear_cuda(&size_, floats(in[0]), layer_of(in + 1), floats(out[0]), stream);
    }

  private:
    int64_t limit_ = 0;
    glic_integer_linear_size size_{};
};

struct IntegerGatedFfn : Op<signatures::IntegerGatedFfn> {
    using Packed = PackedGatedFfn;

    template <typename Visitor>
    void visit(Visitor&& visitor) {
        visitor("norm_shift", attributes_.norm_shift);
        visitor("norm_limit", attributes_.norm_limit);
        visitor("gate_limit", attributes_.gate_limit);
    }
    std::unique_ptr<Packed> pack(const Constant* constants, int32_t, char* message) const {
        return make_gated_ffn(constants, attributes_, message);
    }
    static int check_map(const Packed& ffn, glic_shape map, char* message) {
        return glic::check_map("glic::IntegerGatedFfn", map, ffn.project_in.inputs(), 0, message);
    }
    static Shape shape(const Packed& ffn, glic_shape map, size_t) {
        return with_channels(map, ffn.project_in.inputs());
    }
    static int compute(const Packed& ffn, const float* const* maps, glic_shape map, float* const* out,
                       const glic_parallel* threads) {
        return integer_gated_ffn(ffn, maps[0], positions_of(map), out[0], threads);
    }

    int check_attributes(char* message) const { return check_gated_ffn_attributes(attributes_, message); }
    int check_cuda(const glic_shape* in, char* message) {
        if (check_gated_ffn(without_values<kInputs - 1>(in + 1).data(), attributes_, message) != GLIC_OK ||
            glic::check_map("glic::IntegerGatedFfn", in[0], in[3].dims[0], 0, message) != GLIC_OK) {
            return GLIC_INVALID;
        }
        size_ = {positions_of(in[0]),
                 in[3].dims[0],
                 in[3].dims[1] / 2,
                 static_cast<int32_t>(attributes_.norm_shift),
                 static_cast<int32_t>(attributes_.norm_limit),
                 static_cast<int32_t>(attributes_.gate_limit)};
        return GLIC_OK;
    }
    std::vector<Shape> shapes(const glic_shape* in) const { return {with_channels(in[0], size_.channels)}; }
    size_t workspace() const { return glic_integer_gated_ffn_workspace(&size_); }
    int compute_cuda(int32_t, const void* const* in, void* const* out, void* workspace, void* stream) const {
        const glic_integer_gated_ffn_constants constants{integers(in[1]), integers(in[2]), layer_of(in + 3),
                                                         integers(in[6]), integers(in[7]), layer_of(in + 8)};
        return glic_integer_gated_ffn_cuda(&size_, floats(in[0]), &constants, floats(out[0]), workspace,
                                           stream);
    }

  private:
    GatedFfnAttributes attributes_{};
    glic_integer_gated_ffn_size size_{};
};

struct IntegerDepthwise : Op<signatures::IntegerDepthwise> {
    using Packed = Depthwise;

    template <typename Visitor>
    void visit(Visitor&& visitor) {
        visitor("limit", limit_);
    }
    std::unique_ptr<Packed> pack(const Constant* constants, int32_t, char* message) const {
        return make_depthwise(constants, limit_, message);
    }
    static int check_map(const Packed& depthwise, glic_shape map, char* message) {
        return glic::check_map("glic::IntegerDepthwise", map, depthwise.channels, 3, message);
    }
    static Shape shape(const Packed& depthwise, glic_shape map, size_t) {
        return with_channels(map, depthwise.channels);
    }
    static int compute(const Packed& depthwise, const float* const* maps, glic_shape map, float* const* out,
                       const glic_parallel* threads) {
        return integer_depthwise(depthwise, maps[0], map.dims[0], map.dims[1], out[0], threads);
    }

    int check_attributes(char* message) const { return check_depthwise_attributes(limit_, message); }
    int check_cuda(const glic_shape* in, char* message) {
        if (check_depthwise(without_values<kInputs - 1>(in + 1).data(), limit_, message) != GLIC_OK ||
            glic::check_map("glic::IntegerDepthwise", in[0], in[1].dims[1], 3, message) != GLIC_OK) {
            return GLIC_INVALID;
        }
        size_ = {in[0].dims[0], in[0].dims[1], in[0].dims[2], static_cast<int32_t>(limit_)};
        return GLIC_OK;
    }
    std::vector<Shape> shapes(const glic_shape* in) const { return {with_channels(in[0], size_.channels)}; }
    int compute_cuda(int32_t, const void* const* in, void* const* out, void*, void* stream) const {
        return glic_integer_depthwise_cuda(&size_, floats(in[0]), layer_of(in + 1), floats(out[0]), stream);
    }

  private:
    int64_t limit_ = 0;
    glic_integer_depthwise_size size_{};
};

}  // namespace glic

#endif
