// The products in plain C++, for compilers to vectorise.
#ifndef GLIC_INTEGER_CPU_MULTIPLY_PORTABLE_H
#define GLIC_INTEGER_CPU_MULTIPLY_PORTABLE_H

#include <cstdint>

#include "pairs.h"

namespace glic {
namespace portable {
namespace {

constexpr int64_t kRows = 4;

inline void multiply(const int16_t* a, const int16_t* panel, int64_t pairs, int32_t* sums) {
    for (int64_t i = 0; i < kRows * 32; ++i) sums[i] = 0;
    for (int64_t p = 0; p < pairs; ++p, a += 2 * kRows, panel += 64) {
        for (int64_t r = 0; r < kRows; ++r) {
            const int32_t even = a[2 * r], odd = a[2 * r + 1];
            for (int64_t j = 0; j < 32; ++j) {
                // Unsigned, since sums may wrap around: see plus() in kernel.cpp.
                sums[32 * r + j] = static_cast<int32_t>(static_cast<uint32_t>(sums[32 * r + j]) +
                                                        static_cast<uint32_t>(even * panel[2 * j]) +
                                                        static_cast<uint32_t>(odd * panel[2 * j + 1]));
            }
        }
    }
}

}  // namespace
}  // namespace portable
}  // namespace glic

#endif
