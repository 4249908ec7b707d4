// One task of ResidualNorm's CPU kernel, as each instruction set builds it.
#ifndef GLIC_RESIDUAL_NORM_CPU_KERNEL_H
#define GLIC_RESIDUAL_NORM_CPU_KERNEL_H

#include <cstddef>
#include <cstdint>

#include "../../common/isa.h"
#include "../residual_norm.h"

namespace glic {

struct ResidualNormProblem {
    glic_residual_norm_size size;
    int32_t element;
    float epsilon;
    const float* x;
    const void* update;
    const float* bias;
    float* sum;
    void* normed;
};

// Positions that a task computes.
constexpr int64_t kNormPositions = 64;

GLIC_DECLARE_TASK(residual_norm_task)

}  // namespace glic

#endif
