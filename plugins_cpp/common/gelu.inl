// GELU for the kernels of gates. Included after a simd header.

#include "gelu.h"

namespace glic {
namespace GLIC_SIMD {
namespace {

// x·Φ(x).
inline Vec gelu(Vec x) {
    const Vec zero = set(0.0f), farthest = set(kGeluEnd);
    const Vec distance = max(x, sub(zero, x));
    const Vec d = min(distance, farthest);
    constexpr float kTail[] = GLIC_GELU_TAIL;
    Vec p = set(kTail[0]);
    for (int i = 1; i < 8; ++i) p = fma(p, d, set(kTail[i]));
    const Vec tail = select(greater(distance, farthest), zero, mul(x, exp2_negative(p)));
    return select(greater(x, zero), sub(x, tail), tail);
}

inline Vec gate(Vec a, Vec b) { return mul(gelu(a), b); }

}  // namespace
}  // namespace GLIC_SIMD
}  // namespace glic
