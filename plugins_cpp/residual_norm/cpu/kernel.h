// One task of ResidualNorm's CPU kernel, as each instruction set builds it.
#ifndef GLIC_RESIDUAL_NORM_CPU_KERNEL_H
#define GLIC_RESIDUAL_NORM_CPU_KERNEL_H

#include <cstddef>
#include <cstdint>

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

#define GLIC_RESIDUAL_NORM_TASK(isa)                                           \
    namespace isa {                                                            \
    void residual_norm_task(const void* problem, size_t index, void* scratch); \
    }
GLIC_RESIDUAL_NORM_TASK(portable)
GLIC_RESIDUAL_NORM_TASK(avx2)
GLIC_RESIDUAL_NORM_TASK(avx512)
#undef GLIC_RESIDUAL_NORM_TASK

}  // namespace glic

#endif
