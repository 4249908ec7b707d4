// One task of the gates' CPU kernels, as each instruction set builds it.
#ifndef GLIC_GATE_CPU_KERNEL_H
#define GLIC_GATE_CPU_KERNEL_H

#include <cstddef>
#include <cstdint>

#include "../../common/isa.h"
#include "../gate.h"

namespace glic {

struct GateProblem {
    glic_gate_size size;
    int32_t element;
    const void* x;
    void* out;
};

struct DepthwiseGateProblem {
    glic_depthwise_gate_size size;
    int32_t element;
    const void* x;
    const float* filter;  // kernel × kernel × 2·channels
    void* out;
};

// What a task computes: positions of Gate, rows of DepthwiseGate.
constexpr int64_t kGatePositions = 32;
constexpr int64_t kGateRows = 8;

GLIC_DECLARE_TASK(gate_task)
GLIC_DECLARE_TASK(depthwise_gate_task)

}  // namespace glic

#endif
