// The transformations of Winograd's minimal filtering F(4, 3), of vectors. Included after a simd header.

#include "kernel.h"

namespace glic {
namespace GLIC_SIMD {
namespace {

// Bᵀ of F(4, 3) times the six values at d, `stride` apart; in place.
inline void to_patch(Vec* d, int stride) {
    Vec v[kPatch];
    for (int i = 0; i < kPatch; ++i) v[i] = d[i * stride];
    const Vec four = set(4.0f), two = set(2.0f), minus_five = set(-5.0f);
    const Vec even = fma(set(-4.0f), v[2], v[4]), odd = fma(set(-4.0f), v[1], v[3]);
    const Vec even_twice = sub(v[4], v[2]), odd_twice = mul(two, sub(v[3], v[1]));
    d[0] = fma(four, v[0], fma(minus_five, v[2], v[4]));
    d[1 * stride] = add(even, odd);
    d[2 * stride] = sub(even, odd);
    d[3 * stride] = add(even_twice, odd_twice);
    d[4 * stride] = sub(even_twice, odd_twice);
    d[5 * stride] = fma(four, v[1], fma(minus_five, v[3], v[5]));
}

// Aᵀ of F(4, 3) times the six values at d, `stride` apart; the first four of them become the result.
inline void from_patch(Vec* d, int stride) {
    Vec v[kPatch];
    for (int i = 0; i < kPatch; ++i) v[i] = d[i * stride];
    const Vec near = add(v[1], v[2]), near_odd = sub(v[1], v[2]);
    const Vec far = add(v[3], v[4]), far_odd = sub(v[3], v[4]);
    d[0] = add(v[0], add(near, far));
    d[1 * stride] = fma(set(2.0f), far_odd, near_odd);
    d[2 * stride] = fma(set(4.0f), far, near);
    d[3 * stride] = add(v[5], fma(set(8.0f), far_odd, near_odd));
}

// The values under a tile to its patch, and the patch of its products to the 16 results, which are the first
// four of the first four rows; in place.
inline void to_patch(Vec (&d)[kPatch * kPatch]) {
    for (int i = 0; i < kPatch; ++i) to_patch(d + i * kPatch, 1);
    for (int j = 0; j < kPatch; ++j) to_patch(d + j, kPatch);
}
inline void from_patch(Vec (&d)[kPatch * kPatch]) {
    for (int j = 0; j < kPatch; ++j) from_patch(d + j, kPatch);
    for (int i = 0; i < kTile; ++i) from_patch(d + i * kPatch, 1);
}

}  // namespace
}  // namespace GLIC_SIMD
}  // namespace glic
