// One task of DepthwiseMix's CPU kernel, as each instruction set builds it.
#ifndef GLIC_DEPTHWISE_MIX_CPU_KERNEL_H
#define GLIC_DEPTHWISE_MIX_CPU_KERNEL_H

#include <cstddef>
#include <cstdint>

#include "../../common/isa.h"
#include "../depthwise_mix.h"

namespace glic {

struct DepthwiseMixProblem {
    glic_depthwise_mix_size size;
    int32_t element;
    const void* x;
    const float* before;
    const float* filter;  // kernel × kernel × channels
    const float* after;
    void* out;
};

// Rows that a task computes.
constexpr int64_t kMixRows = 8;

GLIC_DECLARE_TASK(depthwise_mix_task)

}  // namespace glic

#endif
