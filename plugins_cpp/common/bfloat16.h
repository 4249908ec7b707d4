// bfloat16 as it lies in memory: the upper half of a float32. Kernels compute in float32 and round what they
// store to the nearest, to even where two are as near.
#ifndef GLIC_COMMON_BFLOAT16_H
#define GLIC_COMMON_BFLOAT16_H

#include <cstdint>

namespace glic {

struct Bfloat16 {
    uint16_t bits;
};

}  // namespace glic

#endif
