// Vectors of 4 floats for the kernels, in the vector extensions of GCC and Clang: any processor. See
// simd_avx512.h.
#ifndef GLIC_COMMON_SIMD_PORTABLE_H
#define GLIC_COMMON_SIMD_PORTABLE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "bfloat16.h"

namespace glic {
namespace portable {

typedef float Vec __attribute__((vector_size(16)));
typedef int32_t Lanes __attribute__((vector_size(16)));

constexpr int kWidth = 4;
constexpr int kAccumulators = 8;

static inline Lanes lanes_of(uint32_t bits) {
    const Lanes lane = {1, 2, 4, 8};
    const int32_t all = static_cast<int32_t>(bits);
    return ((Lanes{all, all, all, all}) & lane) == lane;
}

static inline Vec set(float value) { return Vec{value, value, value, value}; }
static inline Vec load(const float* p) {
    Vec v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void store(float* p, Vec v) { memcpy(p, &v, sizeof v); }

static inline float bits_to_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
static inline uint32_t float_to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
static inline float half_to_float(uint16_t half) {
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16, magnitude = half & 0x7FFFu;
    // Shifted into place, the exponent is short of float's bias by 112; a product with 2^112 mends subnormals
    // too.
    const float value = magnitude >= 0x7C00u ? bits_to_float(0x7F800000u | magnitude << 13)
                                             : bits_to_float(magnitude << 13) * bits_to_float(0x77800000u);
    return bits_to_float(sign | float_to_bits(value));
}
static inline uint16_t float_to_half(float value) {
    const uint32_t sign = float_to_bits(value) >> 16 & 0x8000u,
                   magnitude = float_to_bits(value) & 0x7FFFFFFFu;
    uint32_t half;
    if (magnitude > 0x7F800000u) {
        half = 0x7E00u;
    } else if (magnitude >= 0x477FF000u) {  // rounds to 65536 or more
        half = 0x7C00u;
    } else if (magnitude < 0x38800000u) {  // subnormal: 0.5's last bit is worth the smallest half
        half = float_to_bits(bits_to_float(magnitude) + 0.5f) - 0x3F000000u;
    } else {
        half = (magnitude - 0x38000000u + 0xFFFu + (magnitude >> 13 & 1u)) >> 13;
    }
    return static_cast<uint16_t>(sign | half);
}

static inline Vec load_some(const float* p, int count) {
    Vec v = set(0.0f);
    for (int i = 0; i < count; ++i) v[i] = p[i];
    return v;
}
static inline void store_some(float* p, Vec v, int count) {
    for (int i = 0; i < count; ++i) p[i] = v[i];
}

static inline Vec load(const uint16_t* p) {
    return Vec{half_to_float(p[0]), half_to_float(p[1]), half_to_float(p[2]), half_to_float(p[3])};
}
static inline void store(uint16_t* p, Vec v) {
    for (int i = 0; i < kWidth; ++i) p[i] = float_to_half(v[i]);
}
static inline Vec load(const Bfloat16* p) {
    Vec v;
    for (int i = 0; i < kWidth; ++i) v[i] = bits_to_float(static_cast<uint32_t>(p[i].bits) << 16);
    return v;
}
static inline void store(Bfloat16* p, Vec v) {
    for (int i = 0; i < kWidth; ++i) {
        const uint32_t bits = float_to_bits(v[i]), rounded = bits + (0x7FFFu + (bits >> 16 & 1u));
        p[i].bits = v[i] == v[i] ? static_cast<uint16_t>(rounded >> 16) : 0x7FC0;
    }
}

static inline Vec add(Vec a, Vec b) { return a + b; }
static inline Vec sub(Vec a, Vec b) { return a - b; }
static inline Vec mul(Vec a, Vec b) { return a * b; }
static inline Vec div(Vec a, Vec b) { return a / b; }
static inline Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
static inline Vec sqrt(Vec a) { return Vec{sqrtf(a[0]), sqrtf(a[1]), sqrtf(a[2]), sqrtf(a[3])}; }
static inline Vec select(Lanes lanes, Vec a, Vec b) {
    return (Vec)(((Lanes)a & lanes) | ((Lanes)b & ~lanes));
}
static inline Lanes greater(Vec a, Vec b) { return a > b; }
static inline Vec max(Vec a, Vec b) { return select(a > b, a, b); }
static inline Vec min(Vec a, Vec b) { return select(a < b, a, b); }
static inline uint32_t bits_of(Lanes lanes) {
    return static_cast<uint32_t>((lanes[0] & 1) | (lanes[1] & 2) | (lanes[2] & 4) | (lanes[3] & 8));
}
static inline float sum(Vec v) { return (v[0] + v[2]) + (v[1] + v[3]); }

static inline Vec exp2_negative(Vec x) {
    const Vec lowest = set(-126.0f);
    const Lanes vanishing = x < lowest;
    x = max(lowest, x);
    // Adding 1.5·2^23 rounds to an integer and leaves it in the low bits.
    const Vec shift = set(12582912.0f);
    const Vec shifted = x + shift;
    const Vec r = x - (shifted - shift);
    Vec p = fma(set(1.53458075e-4f), r, set(1.33999312e-3f));
    p = fma(p, r, set(9.61848897e-3f));
    p = fma(p, r, set(5.55032878e-2f));
    p = fma(p, r, set(2.40226469e-1f));
    p = fma(p, r, set(6.93147206e-1f));
    p = fma(p, r, set(1.0f));
    const Lanes exponent = ((Lanes)shifted - (Lanes)shift) + 127;
    return select(vanishing, set(0.0f), p * (Vec)(exponent << 23));
}

static inline void transpose(Vec rows[kWidth]) {
    float flat[kWidth][kWidth];
    for (int i = 0; i < kWidth; ++i) store(flat[i], rows[i]);
    for (int i = 0; i < kWidth; ++i) rows[i] = Vec{flat[0][i], flat[1][i], flat[2][i], flat[3][i]};
}

}  // namespace portable
}  // namespace glic

#include "halves.inl"

#endif
