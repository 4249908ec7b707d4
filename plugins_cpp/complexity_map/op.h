// glic::ComplexityMap for the glue of the runtimes.
#ifndef GLIC_COMPLEXITY_MAP_OP_H
#define GLIC_COMPLEXITY_MAP_OP_H

#include "../common/op.h"
#include "complexity_map.h"
#include "complexity_map_cuda.h"

namespace glic {

struct ComplexityMap : Op<signatures::ComplexityMap> {
    int check(const glic_shape* in, char* message) {
        return glic_complexity_map_check(in[0], &size_, message);
    }
    int check_attributes(char*) const { return GLIC_OK; }
    int check_cuda(const glic_shape* in, char* message) { return check(in, message); }
    std::vector<Shape> shapes(const glic_shape*) const { return {{size_.images, size_.height, size_.width}}; }
    static Shape expected(const Shape& x) {
        return x.size() == 4 ? Shape{x[0], x[1], x[2]} : Shape{-1, -1, -1};
    }
    size_t workspace() const { return glic_complexity_map_workspace(&size_); }
    int compute(int32_t element, const void* const* in, void* const* out,
                const glic_parallel* threads) const {
        return glic_complexity_map_cpu(&size_, element, in[0], floats(out[0]), threads);
    }
    int compute_cuda(int32_t element, const void* const* in, void* const* out, void* workspace,
                     void* stream) const {
        return glic_complexity_map_cuda(&size_, element, in[0], floats(out[0]), workspace, stream);
    }

  private:
    glic_complexity_map_size size_{};
};

}  // namespace glic

#endif
