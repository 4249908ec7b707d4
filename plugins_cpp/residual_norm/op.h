// glic::ResidualNorm for the glue of the runtimes.
#ifndef GLIC_RESIDUAL_NORM_OP_H
#define GLIC_RESIDUAL_NORM_OP_H

#include <cmath>

#include "../common/check.h"
#include "../common/op.h"
#include "residual_norm.h"

namespace glic {

struct ResidualNorm : Op<signatures::ResidualNorm> {
    template <typename Visitor>
    void visit(Visitor&& visitor) {
        visitor("epsilon", epsilon_);
    }
    int check(const glic_shape* in, char* message) {
        if (glic_residual_norm_check(in[0], in[1], in[2], &size_, message) != GLIC_OK) return GLIC_INVALID;
        return Checker("glic::ResidualNorm", message)
            .that(epsilon_ >= 0 && std::isfinite(epsilon_),
                  "attribute epsilon is %g, expected a finite number of 0 or more",
                  static_cast<double>(epsilon_))
            .result();
    }
    std::vector<Shape> shapes(const glic_shape* in) const {
        return {with_channels(in[0], size_.channels), with_channels(in[0], size_.channels + 1)};
    }
    int compute(int32_t element, const void* const* in, void* const* out,
                const glic_parallel* threads) const {
        return glic_residual_norm_cpu(&size_, element, epsilon_, floats(in[0]), in[1], floats(in[2]),
                                      floats(out[0]), out[1], threads);
    }

  private:
    glic_residual_norm_size size_{};
    float epsilon_ = 0;
};

}  // namespace glic

#endif
