// glic::Projection and glic::NormQkv for the glue of the runtimes.
#ifndef GLIC_PROJECTION_OP_H
#define GLIC_PROJECTION_OP_H

#include <memory>

#include "../common/check.h"
#include "../common/op.h"
#include "projection.h"

namespace glic {

struct Projection : Op<signatures::Projection> {
    using Packed = ProjectionLayer;

    std::unique_ptr<Packed> pack(const Constant* constants, int32_t element, char* message) const {
        return make_projection(constants, element, message);
    }
    static int check_map(const Packed& layer, glic_shape map, char* message) {
        const auto matrices = static_cast<int64_t>(layer.weights.size());
        if (glic::check_map("glic::Projection", map, layer.weights[0].inputs(), 0, message) != GLIC_OK)
            return GLIC_INVALID;
        return Checker("glic::Projection", message)
            .that(matrices == 1 || map.dims[0] == matrices,
                  "the map has %lld parts, expected one for each of the %lld matrices",
                  static_cast<long long>(map.dims[0]), static_cast<long long>(matrices))
            .result();
    }
    static Shape shape(const Packed& layer, glic_shape map, size_t) {
        return with_channels(map, layer.weights[0].outputs());
    }
    static int compute(const Packed& layer, const float* const* maps, glic_shape map, float* const* out,
                       const glic_parallel* threads) {
        return project(layer, maps[0], positions_of(map), out, threads);
    }
};

struct NormQkv : Op<signatures::NormQkv> {
    using Packed = ProjectionLayer;

    template <typename Visitor>
    void visit(Visitor&& visitor) {
        visitor("epsilon", epsilon_);
    }
    std::unique_ptr<Packed> pack(const Constant* constants, int32_t element, char* message) const {
        return make_norm_qkv(constants, epsilon_, element, message);
    }
    static int check_map(const Packed& layer, glic_shape map, char* message) {
        return glic::check_map("glic::NormQkv", map, layer.weights[0].inputs(), 0, message);
    }
    static Shape shape(const Packed& layer, glic_shape map, size_t i) {
        return with_channels(map, layer.weights[i].outputs());
    }
    static int compute(const Packed& layer, const float* const* maps, glic_shape map, float* const* out,
                       const glic_parallel* threads) {
        return project(layer, maps[0], positions_of(map), out, threads);
    }

  private:
    float epsilon_ = 0;
};

}  // namespace glic

#endif
