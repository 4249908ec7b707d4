// glic::WinogradInput and glic::WinogradShuffle for the glue of the runtimes.
#ifndef GLIC_WINOGRAD_OP_H
#define GLIC_WINOGRAD_OP_H

#include "../common/op.h"
#include "winograd.h"

namespace glic {

struct WinogradInput : Op<signatures::WinogradInput> {
    int check(const glic_shape* in, char* message) {
        return glic_winograd_input_check(in[0], &size_, message);
    }
    std::vector<Shape> shapes(const glic_shape*) const {
        return {{36, size_.images, size_.rows, size_.columns, size_.channels}};
    }
    int compute(int32_t element, const void* const* in, void* const* out,
                const glic_parallel* threads) const {
        return glic_winograd_input_cpu(&size_, element, in[0], out[0], threads);
    }

  private:
    glic_winograd_size size_{};
};

struct WinogradShuffle : Op<signatures::WinogradShuffle> {
    int check(const glic_shape* in, char* message) {
        return glic_winograd_shuffle_check(in[0], in[1], &size_, message);
    }
    std::vector<Shape> shapes(const glic_shape*) const {
        return {{size_.images, 8 * size_.rows, 8 * size_.columns, size_.channels}};
    }
    int compute(int32_t element, const void* const* in, void* const* out,
                const glic_parallel* threads) const {
        return glic_winograd_shuffle_cpu(&size_, element, in[0], floats(in[1]), floats(out[0]), threads);
    }

  private:
    glic_winograd_size size_{};
};

}  // namespace glic

#endif
