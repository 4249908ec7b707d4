// Vectors of 4 floats for the kernels: NEON as every 64-bit ARM processor has it. See simd_avx512.h.
#ifndef GLIC_COMMON_SIMD_NEON_H
#define GLIC_COMMON_SIMD_NEON_H

#include <arm_neon.h>
#include <stdint.h>

#include "bfloat16.h"

namespace glic {
namespace neon {

using Vec = float32x4_t;
using Lanes = uint32x4_t;

constexpr int kWidth = 4;
constexpr int kAccumulators = 24;

static inline Lanes lane_bits() {
    const uint32_t bits[kWidth] = {1, 2, 4, 8};
    return vld1q_u32(bits);
}
static inline Lanes lanes_of(uint32_t bits) { return vtstq_u32(vdupq_n_u32(bits), lane_bits()); }

static inline Vec set(float value) { return vdupq_n_f32(value); }
static inline Vec load(const float* p) { return vld1q_f32(p); }
static inline void store(float* p, Vec v) { vst1q_f32(p, v); }
static inline Vec load(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
static inline void store(uint16_t* p, Vec v) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(v))); }
static inline Vec load(const Bfloat16* p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(reinterpret_cast<const uint16_t*>(p)), 16));
}
static inline void store(Bfloat16* p, Vec v) {
    const uint32x4_t bits = vreinterpretq_u32_f32(v), odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7FFF)));
    const uint32x4_t ordered = vceqq_f32(v, v);
    vst1_u16(reinterpret_cast<uint16_t*>(p),
             vshrn_n_u32(vbslq_u32(ordered, rounded, vdupq_n_u32(0x7FC00000)), 16));
}

static inline Vec load_some(const float* p, int count) {
    const float32x2_t none = vdup_n_f32(0.0f);
    switch (count) {
        case 1:
            return vcombine_f32(vld1_lane_f32(p, none, 0), none);
        case 2:
            return vcombine_f32(vld1_f32(p), none);
        case 3:
            return vcombine_f32(vld1_f32(p), vld1_lane_f32(p + 2, none, 0));
        default:
            return count > 0 ? load(p) : set(0.0f);
    }
}
static inline void store_some(float* p, Vec v, int count) {
    if (count >= kWidth) return store(p, v);
    if (count >= 2) vst1_f32(p, vget_low_f32(v));
    if (count == 3) vst1q_lane_f32(p + 2, v, 2);
    if (count == 1) vst1q_lane_f32(p, v, 0);
}

static inline Vec add(Vec a, Vec b) { return vaddq_f32(a, b); }
static inline Vec sub(Vec a, Vec b) { return vsubq_f32(a, b); }
static inline Vec mul(Vec a, Vec b) { return vmulq_f32(a, b); }
static inline Vec div(Vec a, Vec b) { return vdivq_f32(a, b); }
static inline Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
static inline Vec sqrt(Vec a) { return vsqrtq_f32(a); }
static inline Vec select(Lanes lanes, Vec a, Vec b) { return vbslq_f32(lanes, a, b); }
static inline Lanes greater(Vec a, Vec b) { return vcgtq_f32(a, b); }
// NEON's own maximum and minimum of a number and NaN are NaN.
static inline Vec max(Vec a, Vec b) { return select(greater(a, b), a, b); }
static inline Vec min(Vec a, Vec b) { return select(greater(b, a), a, b); }
static inline uint32_t bits_of(Lanes lanes) { return vaddvq_u32(vandq_u32(lanes, lane_bits())); }
static inline float sum(Vec v) { return vpadds_f32(vadd_f32(vget_low_f32(v), vget_high_f32(v))); }

static inline Vec exp2_negative(Vec x) {
    const Vec lowest = set(-126.0f);
    const Lanes vanishing = greater(lowest, x);
    x = max(lowest, x);
    const Vec n = vrndnq_f32(x);
    const Vec r = sub(x, n);
    Vec p = fma(set(1.53458075e-4f), r, set(1.33999312e-3f));
    p = fma(p, r, set(9.61848897e-3f));
    p = fma(p, r, set(5.55032878e-2f));
    p = fma(p, r, set(2.40226469e-1f));
    p = fma(p, r, set(6.93147206e-1f));
    p = fma(p, r, set(1.0f));
    const int32x4_t exponent = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
    const Vec power = vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23));
    return select(vanishing, set(0.0f), mul(p, power));
}

static inline void transpose(Vec rows[kWidth]) {
    const float64x2_t even0 = vreinterpretq_f64_f32(vtrn1q_f32(rows[0], rows[1])),
                      odd0 = vreinterpretq_f64_f32(vtrn2q_f32(rows[0], rows[1])),
                      even2 = vreinterpretq_f64_f32(vtrn1q_f32(rows[2], rows[3])),
                      odd2 = vreinterpretq_f64_f32(vtrn2q_f32(rows[2], rows[3]));
    rows[0] = vreinterpretq_f32_f64(vtrn1q_f64(even0, even2));
    rows[1] = vreinterpretq_f32_f64(vtrn1q_f64(odd0, odd2));
    rows[2] = vreinterpretq_f32_f64(vtrn2q_f64(even0, even2));
    rows[3] = vreinterpretq_f32_f64(vtrn2q_f64(odd0, odd2));
}

}  // namespace neon
}  // namespace glic

#include "halves.inl"

#endif
