// bfloat16 as it lies in memory: the upper half of a float32. Kernels compute in float32 and round what they
// store to the nearest, to even where two are as near.
#ifndef GLIC_COMMON_BFLOAT16_H
#define GLIC_COMMON_BFLOAT16_H

#include <cstdint>
#include <cstring>

namespace glic {

struct Bfloat16 {
    uint16_t bits;
};

inline Bfloat16 to_bfloat16(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return {0x7FC0};  // not a number
    return {static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16)};
}

}  // namespace glic

#endif
