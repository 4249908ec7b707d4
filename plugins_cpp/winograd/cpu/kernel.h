// One task of the Winograd ops' CPU kernels, as each instruction set builds it: a row of tiles.
#ifndef GLIC_WINOGRAD_CPU_KERNEL_H
#define GLIC_WINOGRAD_CPU_KERNEL_H

#include <cstddef>
#include <cstdint>

#include "../../common/isa.h"
#include "../winograd.h"

namespace glic {

struct WinogradInputProblem {
    glic_winograd_size size;
    int32_t element;
    const void* x;
    void* out;
};

struct WinogradShuffleProblem {
    glic_winograd_size size;
    int32_t element;
    const void* m;
    const float* bias;
    float* out;
};

// A tile's side in the map, and in the transformed domain.
constexpr int kTile = 4;
constexpr int kPatch = 6;

GLIC_DECLARE_TASK(winograd_input_task)
GLIC_DECLARE_TASK(winograd_shuffle_task)

}  // namespace glic

#endif
