// One task of the Winograd ops' CPU kernels, as each instruction set builds it: a row of tiles.
#ifndef GLIC_WINOGRAD_CPU_KERNEL_H
#define GLIC_WINOGRAD_CPU_KERNEL_H

#include <cstddef>
#include <cstdint>

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

#define GLIC_WINOGRAD_TASKS(isa)                                                  \
    namespace isa {                                                               \
    void winograd_input_task(const void* problem, size_t index, void* scratch);   \
    void winograd_shuffle_task(const void* problem, size_t index, void* scratch); \
    }
GLIC_WINOGRAD_TASKS(portable)
GLIC_WINOGRAD_TASKS(avx2)
GLIC_WINOGRAD_TASKS(avx512)
#undef GLIC_WINOGRAD_TASKS

}  // namespace glic

#endif
