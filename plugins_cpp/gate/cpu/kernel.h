// One task of the gates' CPU kernels, as each instruction set builds it.
#ifndef GLIC_GATE_CPU_KERNEL_H
#define GLIC_GATE_CPU_KERNEL_H

#include <cstddef>
#include <cstdint>

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

#define GLIC_GATE_TASKS(isa)                                                    \
    namespace isa {                                                             \
    void gate_task(const void* problem, size_t index, void* scratch);           \
    void depthwise_gate_task(const void* problem, size_t index, void* scratch); \
    }
GLIC_GATE_TASKS(portable)
GLIC_GATE_TASKS(avx2)
GLIC_GATE_TASKS(avx512)
#undef GLIC_GATE_TASKS

}  // namespace glic

#endif
