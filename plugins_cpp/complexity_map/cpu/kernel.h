// One task of ComplexityMap's CPU kernel, as each instruction set builds it.
#ifndef GLIC_COMPLEXITY_MAP_CPU_KERNEL_H
#define GLIC_COMPLEXITY_MAP_CPU_KERNEL_H

#include <cstddef>
#include <cstdint>

#include "../../common/isa.h"
#include "../complexity_map.h"

namespace glic {

// The rows and columns that a task computes.
constexpr int64_t kBandRows = 16;
constexpr int64_t kStripColumns = 32;

struct ComplexityProblem {
    glic_complexity_map_size size;
    int32_t element;
    const void* x;
    float* complexity;  // before its contrast is flattened

    int64_t bands() const { return divided(size.height, kBandRows); }
    int64_t strips() const { return divided(size.width, kStripColumns); }
};

// Bytes of scratch that a task needs: three rows of gradient magnitudes, with a column on either side.
inline size_t complexity_scratch_bytes(int64_t channels) {
    return sizeof(float) * 3 * static_cast<size_t>((kStripColumns + 2) * channels);
}

GLIC_DECLARE_TASK(complexity_task)

}  // namespace glic

#endif
