// glic::PixelShuffle for the glue of the runtimes.
#ifndef GLIC_PIXEL_SHUFFLE_OP_H
#define GLIC_PIXEL_SHUFFLE_OP_H

#include "../common/op.h"
#include "pixel_shuffle.h"

namespace glic {

struct PixelShuffle : Op<signatures::PixelShuffle> {
    int check(const glic_shape* in, char* message) {
        return glic_pixel_shuffle_check(in[0], &size_, message);
    }
    std::vector<Shape> shapes(const glic_shape*) const {
        return {{size_.images, size_.channels / 4, 2 * size_.height, 2 * size_.width}};
    }
    int compute(int32_t, const void* const* in, void* const* out, const glic_parallel* threads) const {
        return glic_pixel_shuffle_cpu(&size_, floats(in[0]), floats(out[0]), threads);
    }

  private:
    glic_pixel_shuffle_size size_{};
};

}  // namespace glic

#endif
