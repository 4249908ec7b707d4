// glic::Convolution for the glue of the runtimes.
#ifndef GLIC_CONVOLUTION_OP_H
#define GLIC_CONVOLUTION_OP_H

#include <memory>

#include "../common/check.h"
#include "../common/op.h"
#include "convolution.h"

namespace glic {

struct Convolution : Op<signatures::Convolution> {
    using Packed = ConvolutionLayer;

    template <typename Visitor>
    void visit(Visitor&& visitor) {
        visitor("stride", attributes_.stride);
        visitor("shuffle", attributes_.shuffle);
        visitor("winograd", attributes_.winograd);
    }
    std::unique_ptr<Packed> pack(const Constant* constants, int32_t element, char* message) const {
        return make_convolution(constants, attributes_, element, message);
    }
    static int check_map(const Packed& layer, glic_shape map, char* message) {
        if (glic::check_map("glic::Convolution", map, layer.channels, 4, message) != GLIC_OK)
            return GLIC_INVALID;
        const int64_t stride = layer.attributes.stride;
        return Checker("glic::Convolution", message)
            .that(map.dims[1] % stride == 0 && map.dims[2] % stride == 0,
                  "the map has %lld rows and %lld columns, expected multiples of the stride, %lld",
                  static_cast<long long>(map.dims[1]), static_cast<long long>(map.dims[2]),
                  static_cast<long long>(stride))
            .result();
    }
    static Shape shape(const Packed& layer, glic_shape map, size_t) {
        const auto [stride, shuffle, winograd] = layer.attributes;
        return {map.dims[0], map.dims[1] / stride * shuffle, map.dims[2] / stride * shuffle,
                layer.outputs / (shuffle * shuffle)};
    }
    static int compute(const Packed& layer, const float* const* maps, glic_shape map, float* const* out,
                       const glic_parallel* threads) {
        return convolve(layer, maps[0], map.dims[0], map.dims[1], map.dims[2], out[0], threads);
    }

  private:
    ConvolutionAttributes attributes_{};
};

}  // namespace glic

#endif
