#include <arm_neon.h>

#include "byte_orders.h"
#include "cpu_features.h"
#include "kernels_simd.h"

namespace rans {
namespace {

// Eight lanes in two registers.
struct VectorNeon {
    static constexpr unsigned kWidth = 8;
    struct Vec {
        uint32x4_t low, high;
    };
    using Mask = Vec;

    static Vec set(uint32_t value) { return {vdupq_n_u32(value), vdupq_n_u32(value)}; }
    static Vec load(const uint32_t* from) { return {vld1q_u32(from), vld1q_u32(from + 4)}; }
    static void store(uint32_t* to, Vec v) { vst1q_u32(to, v.low), vst1q_u32(to + 4, v.high); }
    static Vec widen(uint8x8_t bytes) {
        const uint16x8_t all = vmovl_u8(bytes);
        return {vmovl_u16(vget_low_u16(all)), vmovl_high_u16(all)};
    }
    // The low halves of the lanes.
    static uint16x8_t narrow(Vec v) {
        return vuzp1q_u16(vreinterpretq_u16_u32(v.low), vreinterpretq_u16_u32(v.high));
    }
    static Vec load_bytes(const uint8_t* from) { return widen(vld1_u8(from)); }
    static void store_int16(int16_t* to, Vec v) { vst1q_s16(to, vreinterpretq_s16_u16(narrow(v))); }
    static void load_rows(const Row* from, Vec& place, Vec& range) {
        const uint32x4x2_t low = vld2q_u32(&from[0].place), high = vld2q_u32(&from[4].place);
        place = {low.val[0], high.val[0]};
        range = {low.val[1], high.val[1]};
    }
    static uint32x4_t gather(const uint32_t* base, uint32x4_t index) {
        uint32x4_t values = vdupq_n_u32(0);
        values = vld1q_lane_u32(base + vgetq_lane_u32(index, 0), values, 0);
        values = vld1q_lane_u32(base + vgetq_lane_u32(index, 1), values, 1);
        values = vld1q_lane_u32(base + vgetq_lane_u32(index, 2), values, 2);
        return vld1q_lane_u32(base + vgetq_lane_u32(index, 3), values, 3);
    }
    static Vec gather(const uint32_t* base, Vec index) {
        return {gather(base, index.low), gather(base, index.high)};
    }

    static Vec add(Vec a, Vec b) { return {vaddq_u32(a.low, b.low), vaddq_u32(a.high, b.high)}; }
    static Vec sub(Vec a, Vec b) { return {vsubq_u32(a.low, b.low), vsubq_u32(a.high, b.high)}; }
    static Vec mul(Vec a, Vec b) { return {vmulq_u32(a.low, b.low), vmulq_u32(a.high, b.high)}; }
    static Vec bit_and(Vec a, Vec b) { return {vandq_u32(a.low, b.low), vandq_u32(a.high, b.high)}; }
    template <int Bits>
    static Vec shift_left(Vec v) {
        return {vshlq_n_u32(v.low, Bits), vshlq_n_u32(v.high, Bits)};
    }
    template <int Bits>
    static Vec shift_right(Vec v) {
        return {vshrq_n_u32(v.low, Bits), vshrq_n_u32(v.high, Bits)};
    }
    template <int Bits>
    static Vec shift_right_signed(Vec v) {
        return {vreinterpretq_u32_s32(vshrq_n_s32(vreinterpretq_s32_u32(v.low), Bits)),
                vreinterpretq_u32_s32(vshrq_n_s32(vreinterpretq_s32_u32(v.high), Bits))};
    }
    static uint32x4_t shift_right_by(uint32x4_t v, uint32x4_t bits) {
        return vshlq_u32(v, vnegq_s32(vreinterpretq_s32_u32(bits)));
    }
    static Vec shift_right_by(Vec v, Vec bits) {
        return {shift_right_by(v.low, bits.low), shift_right_by(v.high, bits.high)};
    }

    static Mask less(Vec a, Vec b) { return {vcltq_u32(a.low, b.low), vcltq_u32(a.high, b.high)}; }
    static Mask not_less(Vec a, Vec b) { return {vcgeq_u32(a.low, b.low), vcgeq_u32(a.high, b.high)}; }
    static Mask equal(Vec a, Vec b) { return {vceqq_u32(a.low, b.low), vceqq_u32(a.high, b.high)}; }
    static uint32_t bits(Mask mask) {
        static constexpr uint16_t kBits[8] = {1, 2, 4, 8, 16, 32, 64, 128};
        return vaddvq_u16(vandq_u16(narrow(mask), vld1q_u16(kBits)));
    }
    static unsigned count(Mask mask) { return kByteOrders.count[bits(mask)]; }
    static Vec select(Mask mask, Vec a, Vec b) {
        return {vbslq_u32(mask.low, a.low, b.low), vbslq_u32(mask.high, a.high, b.high)};
    }

    static Vec take_bytes(Vec x, Mask mask, const uint8_t* next) {
        const Vec bytes = widen(vtbl1_u8(vld1_u8(next), vld1_u8(kByteOrders.spread[bits(mask)])));
        // SLI keeps the byte that is there, and puts x above it.
        const Vec taken = {vsliq_n_u32(bytes.low, x.low, 8), vsliq_n_u32(bytes.high, x.high, 8)};
        return select(mask, taken, x);
    }
    static void put_bytes(Vec x, Mask mask, uint8_t* next) {
        vst1_u8(next - 8, vtbl1_u8(vmovn_u16(narrow(x)), vld1_u8(kByteOrders.packed[bits(mask)])));
    }
    static uint32x4_t quotient(uint32x4_t x, uint32x4_t divisor) {
        const float32x4_t inverse = vdivq_f32(vdupq_n_f32(1), vcvtq_f32_u32(divisor));
        const float32x4_t estimate = vmulq_f32(vcvtq_f32_u32(x), inverse);
        return vcvtq_u32_f32(vsubq_f32(estimate, vdupq_n_f32(kQuotientBias)));
    }
    static Vec quotient(Vec x, Vec divisor) {
        return {quotient(x.low, divisor.low), quotient(x.high, divisor.high)};
    }
};

using Lanes8 = SimdKernels<VectorNeon, 8>;
using Lanes16 = SimdKernels<VectorNeon, 16>;
using Lanes32 = SimdKernels<VectorNeon, 32>;

}  // namespace

const Kernels neon_kernels = {
    kCompiledFeatures,
    {scalar_decode<1>, scalar_decode<2>, scalar_decode<4>, Lanes8::decode, Lanes16::decode, Lanes32::decode},
    {scalar_encode<1>, scalar_encode<2>, scalar_encode<4>, Lanes8::encode, Lanes16::encode, Lanes32::encode},
};

}  // namespace rans
