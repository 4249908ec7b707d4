// Rows and weights in pairs of int16, for instructions that add two products at a time.
#ifndef GLIC_INTEGER_CPU_PAIRS_H
#define GLIC_INTEGER_CPU_PAIRS_H

#include <cstdint>
#include <cstring>

#include "../integer.h"

namespace glic {
namespace GLIC_SIMD {
namespace {

using Weight = int16_t;
constexpr Packing kPacking = {2, sizeof(Weight), 0};

inline void place(int16_t* group, int64_t row, const int16_t* values) {
    std::memcpy(group + 2 * row, values, 2 * sizeof(int16_t));
}

}  // namespace
}  // namespace GLIC_SIMD
}  // namespace glic

#endif
